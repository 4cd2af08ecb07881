"""Runs a separate process with limited memory and time to convert Parquet files and Excel workbooks to JSON lines."""

import os
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import asdict
from signal import SIGXCPU, Signals
from typing import IO

import orjson
from pydantic import TypeAdapter

from service.errors import Fault, PayloadTooLarge, SpoolFull
from service.intake.bounds.limits import Limits
from service.intake.text.jsonl import read_jsonl
from service.intake.unpacked.exchange import CPU_SECONDS, Arguments, Outcome
from service.jobs.checks.rows import Alike, FaultLog, SourceRow

_WALL_SECONDS = 2.0 * CPU_SECONDS  # other processes may slow this one down
_LOOK_SECONDS = 0.5  # interval of the checks whether the client still waits
_OUTCOME = TypeAdapter(Outcome)
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")


class ReaderDidNotStart(RuntimeError):
    """The process could not be started, most likely because a library is missing."""


class UnpackedParquet:
    """The rows of a Parquet file or workbook as JSON lines in a temporary file, which can be read repeatedly."""

    def __init__(self, lines: IO[bytes], outcome: Outcome, limits: Limits) -> None:
        self._lines = lines
        self._outcome = outcome
        self._limits = limits

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """Every row without a fault, with its number in the file; adds the faults of the others."""
        faults.add_all(self._outcome.faults, dict(self._outcome.counts))
        for assumption in self._outcome.assumptions:
            faults.assume(assumption)
        packed = self._outcome.arrow_schema
        faults.arrow_schema = None if packed is None else b64decode(packed)
        faults.doubt_about_names = self._outcome.doubt_about_names
        self._lines.seek(0)
        yield from read_jsonl(self._lines, self._limits, faults)

    def close(self) -> None:
        """Delete the temporary file."""
        self._lines.close()


def unpack_parquet(
    file: IO[bytes], limits: Limits, check_wanted: Callable[[], None] = lambda: None, *, form: str = "Parquet"
) -> UnpackedParquet:
    """Convert a file, which must have a file descriptor. Raises PayloadTooLarge, SpoolFull, ReaderDidNotStart.

    Blocks until the process has ended, a few minutes at most, so call it in a thread. `check_wanted` is called
    regularly and may raise an error, which ends the process.
    """
    lines = tempfile.TemporaryFile()  # noqa: SIM115 - the result keeps it open
    try:
        return UnpackedParquet(lines, _outcome(_run(file, lines, limits, check_wanted, form), form), limits)
    except BaseException:
        lines.close()
        raise


def _run(
    file: IO[bytes], lines: IO[bytes], limits: Limits, check_wanted: Callable[[], None], form: str = "Parquet"
) -> "subprocess.CompletedProcess[bytes]":
    arguments = Arguments(lines_fd=lines.fileno(), limits=limits, form=form)
    with subprocess.Popen(  # noqa: S603 - no argument comes from a user
        [sys.executable, "-P", "-m", "service.intake.unpacked.process", orjson.dumps(asdict(arguments)).decode()],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[arguments.lines_fd],
        env=_environment(),
    ) as process:
        try:
            result, errors = _communicate(process, check_wanted)
        finally:
            process.kill()  # does nothing to one that has ended
        return subprocess.CompletedProcess(process.args, process.returncode, result, errors)


def _communicate(process: "subprocess.Popen[bytes]", check_wanted: Callable[[], None]) -> tuple[bytes, bytes]:
    """The process's standard output and error. Raises PayloadTooLarge if it takes too long, and by `check_wanted`."""
    deadline = time.monotonic() + _WALL_SECONDS
    while True:
        try:
            return process.communicate(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired as error:
            check_wanted()
            if time.monotonic() > deadline:
                raise _too_slow() from error


def _environment() -> dict[str, str]:
    """The process's environment: no secrets, this process's module path, and the system's memory allocator."""
    known = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **known,
        "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


def _outcome(done: "subprocess.CompletedProcess[bytes]", form: str = "Parquet") -> Outcome:
    """Read the process's outcome. Raises PayloadTooLarge, SpoolFull and ReaderDidNotStart."""
    if done.returncode == -SIGXCPU:
        raise _too_slow()
    if done.returncode < 0:
        name = Signals(-done.returncode).name
        message = f"the file is not readable as {form} within the limits of memory: its reader crashed ({name})"
        return Outcome(faults=(Alike(message, [Fault(message)], 1),), counts=((None, 1),))
    if done.returncode:
        raise ReaderDidNotStart(f"{form} files cannot be read here: {done.stderr.decode(errors='replace')[-1_000:]}")
    outcome = _OUTCOME.validate_json(done.stdout)
    if outcome.too_large is not None:
        raise PayloadTooLarge(outcome.too_large)
    if outcome.no_room:
        raise SpoolFull("the disk for uploads is full")
    return outcome


def _too_slow() -> PayloadTooLarge:
    return PayloadTooLarge(f"reading the Parquet file takes more than {CPU_SECONDS} seconds")
