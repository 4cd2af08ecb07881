"""Stands in for `python -m training rewards`: rewards a text by its length, or does what the text says.

The manifest in its folder may tell it to refuse. Its first word is its process id.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(sys.argv[2])
manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
base = sys.argv[sys.argv.index("--base") + 1]


def tell(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def reward_of(text: str) -> float | None:
    match text.split(" "):
        case ["pid"]:
            return float(os.getpid())
        case ["secrets"]:
            return float(sum(name.startswith("ICM_") for name in os.environ))
        case ["files"]:
            return float(len(list(folder.glob("adapter/*"))))
        case ["long"]:
            return None
        case ["wait", path]:
            while not Path(path).exists():
                time.sleep(0.01)
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
    return float(len(text))


if "refuse" in manifest:
    tell("end", outcome="failed", status=2, reason=f"DIR: {manifest['refuse']}: {folder} and {base}")
    raise SystemExit(2)
sys.stderr.write("words of a library\n")
sys.stdout.write("no event\n")
tell("ready")
for line in sys.stdin:
    asked = json.loads(line)
    rewards = [reward_of(text) for text in asked["texts"]]
    tell("rewards", id=asked["id"], rewards=rewards, tokens=[len(text) for text in asked["texts"]])
