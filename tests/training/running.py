"""Runs `python -m training` as a process, forked from one that has loaded the libraries, so it starts at once.

Every attempt to reach another machine is noted by an audit hook and fails.
"""

import io
import json
import os
import runpy
import sys
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from training.command import main
from training.progress import Progress
from training.supervision import StopRequest

REACHED_OUT = "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"
PATIENCE_SECONDS = 100


@dataclass
class Training:
    """A process that trains, and its output."""

    process: BaseProcess
    output: Path
    errors: Path

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The events on standard output so far; a line that is no JSON fails the test."""
        whole = self.output.read_text("utf-8").rpartition("\n")[0] if self.output.exists() else ""
        told = [json.loads(line) for line in whole.splitlines()]
        return [event for event in told if kind in {None, event["event"]}]

    def wait(self) -> int:
        """Wait for the end; returns the exit status, negative for a signal."""
        self.process.join(PATIENCE_SECONDS)
        assert self.process.exitcode is not None, "the training does not end"
        return self.process.exitcode

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait until the process has reported this many events, or has ended."""
        while len(self.events(kind)) < count and self.process.exitcode is None:
            self.process.join(0.01)

    @property
    def connections(self) -> str:
        """The addresses that the process tried to reach."""
        return self.output.with_suffix(".net").read_text("utf-8")


def start(forks: ForkServerContext, spec: Path, out: Path, *options: str) -> Training:
    """Start the training of a specification; its output is stored beside the specification."""
    count = len(list(spec.parent.glob("*.out")))
    output, errors = spec.parent / f"{count}.out", spec.parent / f"{count}.err"
    output.touch()
    arguments = ["run", str(spec), "--out", str(out), *options]
    process = forks.Process(target=train, args=(arguments, str(output), str(errors)))
    process.start()
    return Training(process, output, errors)


def run(forks: ForkServerContext, spec: Path, out: Path, *options: str) -> tuple[int, Training]:
    """Train to the end; returns the exit status and the process."""
    training = start(forks, spec, out, *options)
    return training.wait(), training


def refused(spec: Path, out: Path) -> tuple[int, dict[str, Any]]:
    """Run in this process a training that is refused; returns the status and the only event."""
    told = io.StringIO()
    status = main(Progress(told), StopRequest(), ["run", str(spec), "--out", str(out)])
    [line] = told.getvalue().splitlines()
    return status, json.loads(line)


def train(arguments: list[str], output: str, errors: str) -> None:
    """Run the command in the child, with its standard streams in files."""
    for descriptor, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    note = Path(output).with_suffix(".net").open("w", encoding="utf-8")

    def watch(event: str, given: tuple[object, ...]) -> None:
        if event in REACHED_OUT:
            note.write(f"{event} {given}\n")
            note.flush()
            raise ConnectionError(event)

    sys.addaudithook(watch)
    sys.argv = ["training", *arguments]
    runpy.run_module("training", run_name="__main__")
