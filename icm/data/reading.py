"""Reads the rows of a file in any format that the service reads, for commands that need the rows themselves."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from icm.errors import Fault, MissingLibrary, UnreadableRows
from service.errors import PayloadTooLarge, SpoolFull, UnsupportedFormat
from service.intake.bounds.limits import Limits
from service.intake.formats import Upload
from service.intake.sources import FileSource
from service.intake.unpacked.unpacking import ReaderDidNotStart
from service.jobs.checks.rows import FaultLog, SourceRow
from service.values import nearest

# Beyond what the service takes at once: it applies its own limits to what it gets.
_LIMITS = Limits(max_bytes=8_000_000_000, max_rows=20_000_000, max_row_bytes=4_000_000)
_NO_LIBRARY = (
    "Parquet files and workbooks are read by libraries that are not installed here: "
    "pip install 'icm-service[server]', or save the rows as CSV or JSON lines"
)


@dataclass(frozen=True, slots=True)
class FileRows:
    """Rows of a file with their lines, the assumptions made in reading them, and their types if the file has them."""

    rows: Sequence[SourceRow]
    assumptions: Sequence[str]
    arrow_schema: bytes | None


def read_rows(path: Path, columns: Sequence[str]) -> FileRows:
    """Every row of a file; each has text, a number, true/false or null in these columns.

    Raises UnreadableRows with lines and fields, and MissingLibrary.
    """
    log = FaultLog()
    try:
        with _opened(path) as file, FileSource(file, Upload(path.name, None), _LIMITS) as source:
            rows = list(source.rows(log))
    except (UnsupportedFormat, PayloadTooLarge, SpoolFull) as error:
        raise UnreadableRows(f"{path}: {error}") from error
    except ReaderDidNotStart as error:
        raise MissingLibrary(f"{path}: {_NO_LIBRARY}") from error
    faults = [Fault(fault.message, fault.line, fault.field) for fault in log.reported]
    if (more := len(log) - len(faults)) > 0:
        faults.append(Fault(f"and {more} more"))
    refuse(path, faults or list(_faults_of_columns(rows, columns, log.doubt_about_names)))
    if not rows:
        raise UnreadableRows(f"{path}: there are no rows")
    return FileRows(rows, log.assumptions, log.arrow_schema)


def refuse(path: Path, faults: Sequence[Fault]) -> None:
    """Raises UnreadableRows if there is any fault."""
    if faults:
        raise UnreadableRows(f"{path}: its rows cannot be used; nothing was sent", faults)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Yield the open file; of a pipe, which cannot be read twice, a copy."""
    with path.open("rb") as file:
        if file.seekable():
            yield file
            return
        with TemporaryFile() as copy:
            shutil.copyfileobj(file, copy)
            yield copy


def _faults_of_columns(rows: Sequence[SourceRow], columns: Sequence[str], doubt: str | None) -> Iterator[Fault]:
    """Columns that rows lack, and values of columns that are no text; a column that no row has gives one fault."""
    known = dict.fromkeys(name for row in rows for name in row.fields)
    lacking = [name for name in columns if rows and name not in known]
    for name in lacking:
        why = doubt or f"there are: {', '.join(known)}"
        yield Fault(f"no row has the column {name!r}{_meant(name, known)}; {why}", field=name)
    for row in rows:
        for name in columns:
            if name not in row.fields and name not in lacking:
                message = f"the row has no column {name!r}{_meant(name, row.fields)}; it has {', '.join(row.fields)}"
                yield Fault(message, row.line, name)
            elif isinstance(row.fields.get(name), dict | list):
                yield Fault("it is a list or an object; write text, a number or true/false", row.line, name)


def _meant(name: str, names: Any) -> str:
    return "".join(f" (did you mean {near!r}?)" for near in nearest(name, names))
