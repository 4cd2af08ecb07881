"""Runs a program that must not outlive whoever started it, with everything that it starts in turn.

    python -m benchmarks.guarded PROGRAM [ARGUMENT ...]

The program gets its own process group. This process ends it when standard input ends, which happens however the
process at the other end of the pipe ends, or on a signal. It kills processes of the group that are left after a grace
period, and ends with the program's status.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
REST_SECONDS = 10.0  # for processes that the program leaves behind


class _Signalled(Exception):
    """A signal asks for the end."""


def guard(command: Sequence[str]) -> int:
    """Run the program until it ends, standard input ends or a signal comes; returns its status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603 - the command line names it
    try:
        while process.poll() is None and not _input_has_ended():
            pass
    except _Signalled:
        return 0
    finally:
        _end(process)
    return process.returncode


def _input_has_ended() -> bool:
    """Wait for a moment; returns whether standard input has ended."""
    readable, _, _ = select.select([0], [], [], POLL_SECONDS)
    return bool(readable) and not os.read(0, 1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program in good order, then whatever is left of its group, which may have shared memory to give back."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    deadline = time.monotonic() + REST_SECONDS
    is_left = _signal_group(process, signal.SIGTERM)
    while is_left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 4)
        is_left = _signal_group(process, 0)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal (0: none) to the program's group; returns whether a process of it is left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return False
    return True


def _end_on_signal(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Signalled


def main() -> int:
    """Guard the command of the command line."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end_on_signal)
    return guard(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
