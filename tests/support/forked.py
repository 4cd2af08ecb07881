"""Processes of the project's programs, forked from one that has imported them: they start in milliseconds, not seconds.

A process of tests that runs no such program pays nothing, for the first call starts the fork server.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import parent_process
from pathlib import Path
from typing import Any

# What takes seconds to import; there is one fork server, so it has all of it.
PROGRAMS = ("api.__main__", "workers.__main__", "service.scoring.deterministic", "training.command")
# As `training/__main__.py` has it before the libraries are loaded, which happens in the fork server.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class _Start:
    """What a process does: the `main` of a module, with an environment of its own."""

    module: str
    arguments: Sequence[Any]
    environment: Mapping[str, str]
    output: Path | None

    def __call__(self) -> None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv = [self.module]  # not the words that the tests were started with
        if self.output is not None:
            _write_to(self.output)
        main: Callable[..., None] = importlib.import_module(self.module).main
        main(*self.arguments)


def forked(
    module: str, *arguments: object, environment: Mapping[str, str], output: Path | None = None
) -> ForkServerProcess:
    """A process that runs `main` of this module, with these settings beside the present environment.

    What it prints goes into `output`, if that is given. Whoever asks for it ends it (`kill`, then `join`); with the
    process of tests it ends by itself.
    """
    start = _Start(module, arguments, {**os.environ, **environment}, output)
    process = context().Process(target=start, name=module, daemon=True)
    process.start()
    return process


def context() -> ForkServerContext:
    """What starts processes that find all programs loaded."""
    os.environ.update(OFFLINE)
    _CONTEXT.set_forkserver_preload(list(PROGRAMS))
    return _CONTEXT


def end(process: ForkServerProcess) -> None:
    """Kill it if it runs, and wait until it is gone."""
    process.kill()
    process.join()


def _end_with_parent() -> None:
    """Nothing outlives the tests, not even where they are killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _write_to(path: Path) -> None:
    with path.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
