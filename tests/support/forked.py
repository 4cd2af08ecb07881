"""Starts the project's programs as processes in milliseconds, forked from a server that has imported them.

The first call starts the fork server, so a test process without such programs pays nothing.
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

# The programs that take seconds to import. There is one fork server, so it imports all of them.
PROGRAMS = ("api.__main__", "workers.__main__", "service.scoring.deterministic", "training.command")
# The settings of `training/__main__.py` before it loads the libraries, which the fork server does.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class _Start:
    """The start of a process: the `main` of a module, its arguments and its environment."""

    module: str
    arguments: Sequence[Any]
    environment: Mapping[str, str]
    output: Path | None

    def __call__(self) -> None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv = [self.module]  # not pytest's arguments
        if self.output is not None:
            _write_to(self.output)
        main: Callable[..., None] = importlib.import_module(self.module).main
        main(*self.arguments)


def forked(
    module: str, *arguments: object, environment: Mapping[str, str], output: Path | None = None
) -> ForkServerProcess:
    """Start a process that runs `main` of this module, with these settings added to the environment.

    Its output goes into the file `output`, if given. The caller ends it (`kill`, then `join`); it also ends with the
    test process.
    """
    start = _Start(module, arguments, {**os.environ, **environment}, output)
    process = context().Process(target=start, name=module, daemon=True)
    process.start()
    return process


def context() -> ForkServerContext:
    """The multiprocessing context of the fork server, which has imported all programs."""
    os.environ.update(OFFLINE)
    _CONTEXT.set_forkserver_preload(list(PROGRAMS))
    return _CONTEXT


def end(process: ForkServerProcess) -> None:
    """Kill the process if it runs, and wait for its end."""
    process.kill()
    process.join()


def _end_with_parent() -> None:
    """End this process with the test process, even if that is killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _write_to(path: Path) -> None:
    with path.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
