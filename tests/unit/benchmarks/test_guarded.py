import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.acceptance.served import all_gone

GUARD = (sys.executable, "-m", "benchmarks.guarded", sys.executable, "-c")
FOREVER = "import signal; signal.pause()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}])
print(child.pid, flush=True)
child.wait()
"""


@contextmanager
def guarded(program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen((*GUARD, program), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guard:
        try:
            yield guard
        finally:
            guard.kill()


def family(guard: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The guarded program and what it has started, once it has said so."""
    assert guard.stdout is not None
    assert guard.stdout.readline()
    found = psutil.Process(guard.pid).children(recursive=True)
    assert len(found) == 2
    return found


def test_the_end_of_standard_input_ends_the_program_and_all_it_started() -> None:
    with guarded(PARENT) as guard:
        started = family(guard)
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(60)
        assert all_gone(started)


OTHERS = [pytest.param(how, marks=pytest.mark.long) for how in (signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize("how", [signal.SIGTERM, *OTHERS], ids=lambda number: number.name)
def test_a_signal_ends_the_program_and_all_it_started(how: signal.Signals) -> None:
    with guarded(PARENT) as guard:
        started = family(guard)
        guard.send_signal(how)
        assert guard.wait(60) == 0
        assert all_gone(started)


def test_a_program_that_ends_by_itself_leaves_its_status() -> None:
    with guarded("raise SystemExit(3)") as guard:
        assert guard.wait(60) == 3
