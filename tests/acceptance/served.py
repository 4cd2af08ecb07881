"""Runs `icm serve` as people do, and its command line against it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from typer.testing import CliRunner

from icm.cli import build_app

TWIN = json.dumps([{"name": "default", "kind": "deterministic"}])
ICM = (sys.executable, "-P", "-m", "icm")


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    url: str
    data_dir: Path

    def parts(self) -> list[psutil.Process]:
        """The processes of the service, this one included."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def pids_of(self, module: str) -> list[int]:
        """The ids of the parts that run this module."""
        return [part.pid for part in self.parts() if is_alive(part) and f" -m {module}" in " ".join(part.cmdline())]

    def pids_of_labellers(self) -> list[int]:
        """The ids of the workers that label; a worker that trains may run beside them."""
        return [pid for pid in self.pids_of("workers") if pid not in self.pids_of("workers --kinds train")]

    def pids_of_server(self) -> list[int]:
        """The ids of the embedded Postgres servers."""
        own = psutil.Process(self.process.pid)
        return [part.pid for part in own.children() if is_alive(part) and part.name() == "postgres"]


@contextmanager
def data_folder() -> Iterator[Path]:
    """A folder that the user of Postgres can enter if we are root, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="icm-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "data"


@contextmanager
def served(data_dir: Path, *arguments: str) -> Iterator[Served]:
    """Run a service with the deterministic backend; the test fails if a part is left at the end."""
    command = (*ICM, "serve", "--port", "0", "--data-dir", str(data_dir), "--backends", TWIN, "--json", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(process, json.loads(process.stdout.readline())["url"], data_dir)
        finally:
            process.terminate()


def icm(*arguments: str | Path, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process."""
    environment = {name: value for name, value in os.environ.items() if name != "ICM_URL"}
    if url is not None:
        environment["ICM_URL"] = url
    return subprocess.run([*ICM, *arguments], capture_output=True, text=True, check=False, env=environment)


def icm_here(*arguments: str | Path, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, without the second that a separate process takes to start."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(build_app(), words, env={"ICM_URL": url}, catch_exceptions=False)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def documents(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The output of a command with --json: each line is a document."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def all_gone(processes: Sequence[psutil.Process], seconds: float = 30) -> bool:
    """Whether all processes end in time."""
    return until(lambda: not any(is_alive(process) for process in processes), seconds)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
