"""Turns a Parquet file or an Excel workbook into JSON lines, as a process that may fall over it and take nothing down.

Reads the file from its standard input, writes the lines to the open file whose number it is
given, and says on its standard output what came of it: see `Outcome`. It keeps itself within a
limit of memory and one of CPU time. The memory limit needs Linux; elsewhere nothing but the
batches and the count of unpacked bytes stand between a bomb and the machine.
"""

import resource
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from service.errors import Fault, PayloadTooLarge
from service.intake.bounds.limits import Limits
from service.intake.bounds.scratch import is_no_room
from service.intake.unpacked.columnar import parquet_as_lines
from service.intake.unpacked.spreadsheet import spreadsheet_as_lines
from service.jobs.checks.rows import FaultLog

MAX_FAULTS = 1_000  # told in full
CPU_SECONDS = 300
_STATM = Path("/proc/self/statm")
_SMALLER = {"Parquet": "write smaller pages and row groups", "Excel": "send the sheet as CSV"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the process is told on its command line, as JSON."""

    lines_fd: int
    limits: Limits
    form: str = "Parquet"  # or "Excel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it: faults, those told and all by field; assumptions, types; or a limit passed, or a full disk."""

    faults: tuple[Fault, ...] = ()
    counts: tuple[tuple[str | None, int], ...] = ()
    assumptions: tuple[str, ...] = ()
    arrow_schema: str | None = None  # in base 64
    doubt_about_names: str | None = None
    too_large: str | None = None
    no_room: bool = False


def unpack(file: IO[bytes], lines_fd: int, limits: Limits, form: str = "Parquet") -> Outcome:
    """Write every row to the open file of this number, which is closed; rows with a fault are empty lines."""
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
        log.add(f"the file is not readable as {form}: {error}")
    except Exception as error:  # noqa: BLE001 - a file made for it raises anything; whatever it is, the file is at fault
        log.add(f"the file is not readable as {form}: {error}")
    return Outcome(
        faults=tuple(log.reported),
        counts=tuple(log.counts.items()),
        assumptions=log.assumptions,
        arrow_schema=None if log.arrow_schema is None else b64encode(log.arrow_schema).decode(),
        doubt_about_names=log.doubt_about_names,
    )


def _reader(form: str) -> Callable[[IO[bytes], Limits, FaultLog], Iterator[bytes]]:
    return spreadsheet_as_lines if form == "Excel" else parquet_as_lines


def main() -> None:
    """Read the order, keep within it, and answer."""
    order = orjson.loads(sys.argv[1])
    limits = Limits(**order["limits"])
    _limit_self(limits.max_parquet_memory_bytes)
    with open(0, "rb", buffering=0) as file:
        outcome = unpack(file, order["lines_fd"], limits, order["form"])
    sys.stdout.buffer.write(orjson.dumps(outcome, default=str))


def _limit_self(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    if _STATM.exists():
        mapped = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, resource.RLIM_INFINITY))


def _lift_limits() -> None:
    """Room to say what happened."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
