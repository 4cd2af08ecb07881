"""Runs `icm serve` as people do, with a taken port, a dying inference server, or a shard that kills its workers."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from icm import Client, Job
from icm.local_stack.free_ports import free_port
from tests.chaos.poisoned_worker import POISON

ROOT = Path(__file__).parents[2]
MORTAL = Path(__file__).parent / "mortal"
ICM = (sys.executable, "-P", "-m", "icm")
TWIN = ("--backends", json.dumps([{"name": "default", "kind": "deterministic"}]))
PATIENCE_SECONDS = 600.0  # on a busy machine; elsewhere a minute is enough
LEASE_SECONDS = 8
USAGE = 2  # the exit code for unusable arguments


@dataclass
class Service:
    """A process of `icm serve` with its files."""

    process: "subprocess.Popen[str]"
    folder: Path

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return (self.folder / "stderr").read_text()

    def url(self) -> str | None:
        """Its address once it is ready; None if it ends before."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line)["url"] if line else None

    def pid_of(self, module: str) -> int | None:
        """The process id of the part that runs this module, if it lives."""
        for part in psutil.Process(self.process.pid).children():
            words = part.cmdline() if part.status() != psutil.STATUS_ZOMBIE else []
            if module in words and words[words.index(module) - 1] == "-m":
                return part.pid
        return None


@contextmanager
def serving(*arguments: str, port: int = 0, **environment: str) -> Iterator[Service]:
    """Run a service in its own folder; its parts end with the block."""
    paths = os.pathsep.join([str(MORTAL), str(ROOT)])
    with tempfile.TemporaryDirectory(prefix="icm-endure-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # for the user of Postgres if we are root
        command = (*ICM, "serve", "--json", "--port", str(port), "--data-dir", str(folder / "data"), *arguments)
        with (folder / "stderr").open("w") as stderr:
            environ = {**os.environ, "PYTHONPATH": paths, **environment}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ)
        with process:
            try:
                yield Service(process, folder)
            finally:
                process.terminate()  # also after a failed trial, or the test would wait for ever


def taken_port(rivals: int) -> dict[str, Any]:
    """Start several services with one port at the same moment, and one later."""
    port = free_port()
    with ExitStack() as exits:
        began = time.monotonic()
        services = [exits.enter_context(serving(*TWIN, port=port)) for _ in range(rivals)]
        urls = [service.url() for service in services]
        ready_seconds = time.monotonic() - began
        late = exits.enter_context(serving(*TWIN, port=port))
        began = time.monotonic()
        urls.append(late.url())
        refused_seconds = time.monotonic() - began
        losers = [service for service, url in zip([*services, late], urls, strict=True) if url is None]
        return {
            "serve": sum(url is not None for url in urls),
            "exit codes": [loser.process.wait(PATIENCE_SECONDS) for loser in losers],
            "said": sorted({json.loads(loser.said)["error"]["detail"].replace(str(port), "N") for loser in losers}),
            "ready seconds": round(ready_seconds, 1),
            "refused seconds": round(refused_seconds, 1),
        }


def dead_inference(rows: int, kills: int) -> dict[str, Any]:
    """Run a job, kill its inference server several times, and let its last row kill it each time."""
    lines = (ROOT / "examples" / "demo.jsonl").read_text().splitlines()[: rows - 1]
    config = json.loads((ROOT / "examples" / "demo.json").read_text())
    config["task"] = {**config["task"], "relations": []}
    examples = [json.loads(line) for line in lines]
    examples.append({**examples[0], "id": "fatal", "claim": "POISON is larger than 7."})
    with serving() as service, Client(str(service.url())) as client:
        job = client.create_job(examples, config)
        began, killed = time.monotonic(), 0
        while killed < kills and not client.job(job.id).is_final:
            if pid := service.pid_of("inference"):
                os.kill(pid, signal.SIGKILL)
                killed += 1
            time.sleep(1.0)
        ended = client.wait(job.id, timeout_seconds=PATIENCE_SECONDS)
        states = list(client.labels(job.id))
        return {
            **_told(ended),
            "killed": killed,
            "deaths": service.said.count("inference was ended"),
            "unlabeled rows": [state["id"] for state in states if state["icm_status"] == "unlabeled"],
            "warning": ended.warnings[-1:],
            "serves on": service.process.poll() is None,
            "seconds": round(time.monotonic() - began, 1),
        }


def poison_lease() -> dict[str, Any]:
    """Run a job whose shard kills its worker each time, with a short lease, and a later healthy job."""
    task = {"template": "{text}"}
    rows = [{"text": f"claim {number}"} for number in range(12)]
    with serving(*TWIN, ICM_QUEUE__LEASE_SECONDS=str(LEASE_SECONDS)) as service, Client(str(service.url())) as client:
        began = time.monotonic()
        poisoned = client.create_job([*rows, {"text": POISON}], {"task": task})
        healthy = client.create_job(rows, {"task": task})
        ends = [_told(client.wait(job.id, timeout_seconds=PATIENCE_SECONDS)) for job in (poisoned, healthy)]
        return {
            "poisoned": ends[0],
            "healthy": ends[1],
            "deaths": service.said.count("worker-1 ended"),
            "serves on": service.process.poll() is None,
            "seconds": round(time.monotonic() - began, 1),
        }


def _told(job: Job) -> dict[str, Any]:
    return {"status": job.status, "error": job.error and job.error.get("code"), "labeled": job.progress.labeled}
