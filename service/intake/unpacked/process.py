"""A separate process that converts a Parquet file or Excel workbook to JSON lines, so that a crash harms nothing else.

It reads the file from standard input, writes the lines to an inherited file descriptor, and writes an
`Outcome` to standard output. It limits its own memory and CPU time. The memory limit needs Linux; on other
systems only small batches and the count of uncompressed bytes protect against decompression bombs.
"""

import resource
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import orjson

from service.errors import PayloadTooLarge
from service.intake.bounds.limits import Limits
from service.intake.bounds.scratch import is_no_room
from service.intake.unpacked.columnar import parquet_as_lines
from service.intake.unpacked.damage import unreadable
from service.intake.unpacked.exchange import CPU_SECONDS, Outcome
from service.intake.unpacked.spreadsheet import spreadsheet_as_lines
from service.jobs.checks.rows import FaultLog

MAX_FAULTS = 1_000  # causes that the process lists; it only counts faults of further ones
_STATM = Path("/proc/self/statm")
_SMALLER = {"Parquet": "write smaller pages and row groups", "Excel": "send the sheet as CSV"}


def unpack(file: IO[bytes], lines_fd: int, limits: Limits, form: str = "Parquet") -> Outcome:
    """Write every row as a line to this file descriptor, and close it; a row with a fault gives an empty line."""
    log = FaultLog(MAX_FAULTS)
    try:
        with open(lines_fd, "wb") as lines:
            lines.writelines(line + b"\n" for line in _reader(form)(file, limits, log))
    except PayloadTooLarge as error:
        return Outcome(too_large=str(error))
    except MemoryError:
        _lift_limits()
        needed = f"reading the {form} file takes more than {limits.max_parquet_memory_bytes} bytes of memory"
        return Outcome(too_large=f"{needed}; {_SMALLER[form]}")
    except OSError as error:
        if is_no_room(error):
            return Outcome(no_room=True)
        log.add(unreadable(file, form, error))
    except Exception as error:  # noqa: BLE001 - a malicious file may raise any error; the file is at fault in every case
        log.add(unreadable(file, form, error))
    return Outcome(
        faults=tuple(log.alike),
        counts=tuple(log.counts.items()),
        assumptions=log.assumptions,
        arrow_schema=None if log.arrow_schema is None else b64encode(log.arrow_schema).decode(),
        doubt_about_names=log.doubt_about_names,
    )


def _reader(form: str) -> Callable[[IO[bytes], Limits, FaultLog], Iterator[bytes]]:
    return spreadsheet_as_lines if form == "Excel" else parquet_as_lines


def main() -> None:
    """Read the argument, limit this process, convert the file, and write the outcome."""
    arguments = orjson.loads(sys.argv[1])
    limits = Limits(**arguments["limits"])
    _limit_self(limits.max_parquet_memory_bytes)
    with open(0, "rb", buffering=0) as file:
        outcome = unpack(file, arguments["lines_fd"], limits, arguments["form"])
    sys.stdout.buffer.write(orjson.dumps(outcome, default=str))


def _limit_self(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    if _STATM.exists():
        mapped = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, resource.RLIM_INFINITY))


def _lift_limits() -> None:
    """Remove the memory limit, so that the process can report the outcome."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
