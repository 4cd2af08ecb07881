"""Forks worker processes on demand: everything is imported once, so a worker starts in milliseconds.

`python -m tests.integration.forker MODULE` runs that module's `main` in each: `workers.__main__`, or one
that goes wrong on purpose. For each line on standard input a worker is forked and its process id printed.
At the end of the input all workers are killed, so none outlives the tests.
"""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable


def fork(main: Callable[[], None]) -> int:
    """A worker in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(0)
        try:
            main()
        finally:
            os._exit(0)
    return child


def serve(main: Callable[[], None]) -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers, so none becomes a zombie
    children = []
    for _ in sys.stdin:
        children.append(fork(main))
        sys.stdout.write(f"{children[-1]}\n")
        sys.stdout.flush()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    serve(importlib.import_module(sys.argv[1]).main)
