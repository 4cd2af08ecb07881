"""CSV with a header row, read strictly: every cell is text."""

import csv
from collections import Counter
from collections.abc import Iterator
from typing import IO

from service.intake.limits import Limits
from service.intake.lines import lines
from service.jobs.rows import FaultLog, SourceRow

_SLACK = 4  # a record may be this many times too long and still be read to its end, to go on behind it


def read_csv(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    """Every record under the header's names; blank lines are skipped. Raises PayloadTooLarge.

    After a broken quote or an endless record nothing more can be told apart, so reading stops there.
    """
    source = _Source(file, limits)
    csv.field_size_limit(max(csv.field_size_limit(), source.max_record_bytes))  # the module keeps one for all
    reader = csv.reader(source, strict=True)
    try:
        header = next(reader, None)
        if header is None or not _usable(header, faults):
            return
        blank = 0
        for number, cells in enumerate(_records(reader, source), 1):
            blank += not cells
            limits.check_rows(number - blank, blank=blank)
            if cells and _passes(cells, header, source, faults):
                yield SourceRow(source.record_line, dict(zip(header, cells, strict=True)))
    except (csv.Error, _EndlessRecord) as error:
        faults.add(f"{error}; what follows was not read", line=source.record_line)


class _EndlessRecord(Exception):
    """A record goes on and on, most likely behind an open quote."""


class _Source:
    """Feeds the csv module with lines and knows where the current record began."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self.max_record_bytes = _SLACK * limits.max_row_bytes
        self.max_row_bytes = limits.max_row_bytes
        self.record_line = 1
        self.record_bytes = 0
        self._lines = lines(file, limits, self.max_record_bytes)
        self._next_line = 1

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._next_line = line.number + 1
        self.record_bytes += self.max_record_bytes + 1 if line.content is None else len(line.content)
        if line.content is None or self.record_bytes > self.max_record_bytes:
            raise _EndlessRecord(f"the row has more than {self.max_record_bytes} bytes")
        # What is not UTF-8 becomes lone surrogates, which are looked for cell by cell.
        return line.content.decode("utf-8", errors="surrogateescape")

    def begin_record(self) -> None:
        """The next line begins a record."""
        self.record_line = self._next_line
        self.record_bytes = 0


def _records(reader: Iterator[list[str]], source: _Source) -> Iterator[list[str]]:
    """Every record's cells; a blank line has none."""
    while True:
        source.begin_record()
        cells = next(reader, None)
        if cells is None:
            return
        yield cells


def _usable(header: list[str], faults: FaultLog) -> bool:
    before = len(faults)
    for name, count in Counter(header).items():
        if (problem := _unstorable(name)) is not None:
            faults.add(f"the header is {problem}", line=1)
        elif count > 1:
            faults.add(f"the header names the column {count} times", line=1, field=name)
    return len(faults) == before


def _passes(cells: list[str], header: list[str], source: _Source, faults: FaultLog) -> bool:
    line = source.record_line
    if source.record_bytes > source.max_row_bytes:
        faults.add(f"the row has more than {source.max_row_bytes} bytes", line=line)
        return False
    if len(cells) != len(header):
        faults.add(f"the row has {len(cells)} cells, the header {len(header)}", line=line)
        return False
    before = len(faults)
    for name, cell in zip(header, cells, strict=True):
        if (problem := _unstorable(cell)) is not None:
            faults.add(f"the cell is {problem}", line=line, field=name)
    return len(faults) == before


def _unstorable(text: str) -> str | None:
    """Why Postgres could not keep this text, if so."""
    if "\0" in text:
        return "not storable: it holds a NUL character"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "not valid UTF-8"
    return None
