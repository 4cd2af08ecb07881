"""A stand-in for `python -m training`: does the steps that its specification lists under `base`."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--out") + 1])
spec = Path(sys.argv[2])


def tell(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def end(status: int, outcome: str, reason: str) -> None:
    tell("end", outcome=outcome, reason=reason, status=status)
    raise SystemExit(status)


def wait(_rest: str) -> None:
    tell("waiting", pid=os.getpid())
    while True:
        time.sleep(60)


def leave(_rest: str) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    tell("left", pid=child.pid)


def taken(_rest: str) -> None:
    if not folder.exists():
        folder.mkdir()
        end(4, "failed", "another process is training")


def make(content: str) -> None:
    """Write an artifact and report it with the hash of its files."""
    adapter = folder / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / "weights").write_text(content)
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    named = hashlib.sha256(f"{sha256}  weights\n".encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"artifact": {"folder": "adapter", "sha256": named}}))
    (folder / "report.json").write_text(json.dumps({"training": {"steps": 2, "tokens": 20, "seconds": 0.5}}))
    tell("end", outcome="finished", artifact="adapter", sha256=named)


def note(content: str) -> None:
    """Write a file from which a restart resumes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / content).touch()


def left(_rest: str) -> None:
    rows = len((spec.parent / "examples.jsonl").read_text("utf-8").splitlines())
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    tell("evaluation", found=names, rows=rows)


def once(step: str) -> None:
    """Do a step at the first start alone."""
    if not (folder / "once").exists():
        note("once")
        word, _, rest = step.partition(" ")
        STEPS[word](rest)


STEPS: dict[str, Callable[[str], object]] = {
    "tell": lambda loss: tell("step", loss=float(loss)),
    "base": lambda sha: tell("rows", base={"name": "pretended", "fingerprint": sha, "revision": None}),
    "say": lambda words: sys.stderr.write(words + "\n"),
    "write": lambda words: sys.stdout.write(words + "\n"),
    "long": lambda length: sys.stdout.write("x" * int(length) + "\n"),
    "environment": lambda _: tell("environment", names=sorted(os.environ)),
    "deaf": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "polite": lambda _: signal.signal(signal.SIGTERM, lambda *_: end(75, "stopped", "told to stop")),
    "wait": wait,
    "leave": leave,
    "taken": taken,
    "fail": lambda status: end(int(status), "failed", "rank: must be greater"),
    "refuse": lambda _: end(2, "failed", f"{folder}: refuse cannot be read"),
    "die": lambda number: os.kill(os.getpid(), int(number)),
    "quit": lambda status: sys.exit(int(status)),
    "make": make,
    "note": note,
    "left": left,
    "once": once,
    "checkpoint": lambda step: tell("checkpoint", stage="training", step=int(step)),
    "finish": lambda _: tell("end", outcome="finished", artifact="adapter", sha256="abc"),
}

if __name__ == "__main__":
    for step in json.loads(spec.read_text("utf-8"))["base"].split("\n"):
        word, _, rest = step.partition(" ")
        STEPS[word](rest)
