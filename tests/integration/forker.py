"""Forks processes on demand: everything is imported once, so one starts in milliseconds.

For each line on standard input one is forked and its process id printed. At the end of the input all are
killed, so none outlives the tests. `python -m tests.integration.forker MODULE` runs that module's `main` in
each, whatever the line says: `workers.__main__`, or one that goes wrong on purpose.
"""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable

Run = Callable[[str], None]  # of the line that asked for the process


def fork(run: Run, line: str) -> int:
    """A process of its own that runs and ends; its id."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(0)
        try:
            run(line)
        finally:
            os._exit(0)
    return child


def serve(run: Run) -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them, so none becomes a zombie
    children = []
    for line in sys.stdin:
        children.append(fork(run, line))
        sys.stdout.write(f"{children[-1]}\n")
        sys.stdout.flush()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main = importlib.import_module(sys.argv[1]).main
    serve(lambda _: main())
