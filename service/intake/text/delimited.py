"""Reads CSV and similar formats strictly: the header row names the columns, and every cell is text."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

from service.intake.bounds.limits import Limits
from service.intake.text.dialects import Dialect
from service.intake.text.encodings import NotUtf8
from service.intake.text.foreign import looks_aligned
from service.intake.text.lines import RARE_ENDS, lines
from service.jobs.checks.rows import FaultLog, SourceRow
from service.values import counted

_NUL = "not storable: it holds a NUL character"
REPEATED = "the row repeats the names of the columns, as where files were joined; remove it"
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?")
_WORDS_OF_A_SENTENCE = 6
_SLACK = 4  # the reader skips a record up to this many times too long, and stops at a longer one


def read_csv(file: IO[bytes], limits: Limits, faults: FaultLog, dialect: Dialect | None = None) -> Iterator[SourceRow]:
    """Every record as a row with the header's names, without blank lines. Raises PayloadTooLarge.

    Reading stops at a broken quote or an endless record, since the next record's beginning is then unknown.
    """
    dialect = dialect or Dialect()
    source = _Source(file, limits, dialect.line_end)
    csv.field_size_limit(max(csv.field_size_limit(), source.max_record_bytes))  # the limit is global to the csv module
    reader = csv.reader(source, delimiter=dialect.separator, strict=True)
    try:
        for _ in range(dialect.skipped_lines):
            next(source, None)
        records = enumerate(_records(reader, source))
        blank, first = _first(records, limits)
        header = header_of(first, source.record_line, faults) if first else None
        if header is None:
            return
        checks = _Checks(header, first, source, faults)
        for number, cells in records:
            blank += not cells
            limits.check_rows(number - blank, blank=blank)
            if cells and checks.passes(cells):
                yield SourceRow(source.record_line, dict(zip(header, cells, strict=True)))
    except (csv.Error, _EndlessRecord) as error:
        faults.add(f"{_in_plain_words(str(error))}; what follows was not read", line=source.record_line)


_PLAIN_WORDS = {
    "new-line character seen": "a carriage return stands in the middle of a line; put the cell in quotes, or save the "
    "file with one kind of line end",
    "unexpected end of data": "a quote is opened and never closed",
    "field larger": "the cell is too long",
    "expected after": "text stands behind a cell's closing quote; a quote inside a quoted cell is written twice",
}


def _in_plain_words(message: str) -> str:
    """Translate a message of the csv module for the people who write files."""
    return next((words for phrase, words in _PLAIN_WORDS.items() if phrase in message), message)


class _EndlessRecord(Exception):
    """A record is far too long, most likely because of an open quote."""


class _Source:
    """Feeds lines to the csv module, and records the line at which the current record began."""

    def __init__(self, file: IO[bytes], limits: Limits, line_end: bytes) -> None:
        self.max_record_bytes = _SLACK * limits.max_row_bytes
        self.max_row_bytes = limits.max_row_bytes
        self.record_line = 1
        self.record_bytes = 0
        self._lines = lines(file, limits, self.max_record_bytes, line_end)
        self._next_line = 1
        self._rare_end = line_end.decode() if line_end in RARE_ENDS else None

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._next_line = line.number + 1
        self.record_bytes += self.max_record_bytes + 1 if line.content is None else len(line.content)
        if line.content is None or self.record_bytes > self.max_record_bytes:
            raise _EndlessRecord(f"the row has more than {self.max_record_bytes} bytes")
        # Bytes that are not UTF-8 become lone surrogates, for which `_Checks` searches each cell.
        text = line.content.decode("utf-8", errors="surrogateescape")
        return text if self._rare_end is None else self._with_usual_end(text, self._rare_end)

    def _with_usual_end(self, text: str, rare: str) -> str:
        """The line as the csv module reads it; `as_written` undoes that in cells with line breaks."""
        if "\n" in text or "\r" in text:
            raise _EndlessRecord("lines end in two ways; save the file with one kind of line end")
        return text.removesuffix(rare) + "\n" if text.endswith(rare) else text

    def as_written(self, cells: list[str]) -> list[str]:
        """The cells with the file's own line breaks."""
        return cells if self._rare_end is None else [cell.replace("\n", self._rare_end) for cell in cells]

    def begin_record(self) -> None:
        """Note that the next line begins a record."""
        self.record_line = self._next_line
        self.record_bytes = 0


def _records(reader: Iterator[list[str]], source: _Source) -> Iterator[list[str]]:
    """The cells of every record; a blank line has none."""
    while True:
        source.begin_record()
        cells = next(reader, None)
        if cells is None:
            return
        yield source.as_written(cells)


def _first(records: Iterator[tuple[int, list[str]]], limits: Limits) -> tuple[int, list[str]]:
    """The number of leading blank lines, and the first record behind them, if any. Raises PayloadTooLarge."""
    for blank, cells in records:
        if cells:
            return blank, cells
        limits.check_rows(0, blank=blank)
    return 0, []


def header_of(cells: list[str], line: int, faults: FaultLog) -> list[str] | None:
    """The columns' names, or None if they are unusable; makes up blank names and reports that as an assumption."""
    before, not_utf8 = len(faults), NotUtf8(faults)
    if len(cells) > 1 and not any(cell.strip() for cell in cells):
        faults.add("the first line is blank, and should name the columns; write their names into it", line=line)
        return None
    names = _without_blanks(cells, faults) if any(cell.strip() for cell in cells) else cells
    counts = Counter(names)
    faults.doubt_about_names = _doubt_about(cells)
    if faults.doubt_about_names is not None and _reads_like_a_row(cells) and max(counts.values()) > 1:
        faults.add(faults.doubt_about_names, line=line)
        return None
    for name, count in counts.items():
        if not _is_text(name):
            not_utf8.add(_raw(name), line=line)
        elif "\0" in name:
            faults.add(f"the header is {_NUL}", line=line)
        elif count > 1:
            faults.add(f"the header names the column {counted(count, 'time')}", line=line, field=name)
    return names if len(faults) == before else None


def _doubt_about(cells: list[str]) -> str | None:
    """Why the first line may not name the columns, and what to do; None if it seems to."""
    name = "the first line has to name the columns, and here"
    if _reads_like_a_title(cells):
        [title] = filter(str.strip, cells)
        return (
            f"{name} only one cell has text ({title[:40]!r}), like a title; "
            "remove what stands above the line with the names"
        )
    if _reads_like_a_comment(cells):
        return f"{name} it reads like a comment ({cells[0][:40]!r}); remove it"
    if len(cells) == 1 and looks_aligned(cells[0].encode("utf-8", errors="surrogateescape")):
        return f"{name} it looks like columns of fixed width; put commas or tabs between the cells"
    if _reads_like_a_row(cells):
        shown = ", ".join(repr(cell[:40]) for cell in cells[:5])
        return f"{name} it reads like a row ({shown}); put a line with names before it"
    return None


def _reads_like_a_title(cells: list[str]) -> bool:
    return len(cells) > 1 and sum(bool(cell.strip()) for cell in cells) == 1


def repeats_header(cells: Sequence[object], header: Sequence[str]) -> bool:
    """Whether a row has the cells of the header. One cell alone may well be the name of its column."""
    return len(cells) > 1 and list(cells) == list(header)


def _reads_like_a_comment(cells: list[str]) -> bool:
    return cells[0].startswith("#") and len(cells[0]) > 1


def _reads_like_a_row(cells: list[str]) -> bool:
    """Whether a header has numbers or sentences in place of names; pandas' column numbers from 0 count as names."""
    if cells == [str(number) for number in range(len(cells))]:
        return False
    return any(_NUMBER.fullmatch(cell.strip()) or len(cell.split()) >= _WORDS_OF_A_SENTENCE for cell in cells)


def _without_blanks(cells: list[str], faults: FaultLog) -> list[str]:
    """Make up names for blank header cells: spreadsheets and data frames write unnamed indexes and trailing commas."""
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell
        if not cell.strip():
            name = f"unnamed_{number}"
            while name in cells:
                name += "_"
            faults.assume(f"column {number} has no name in the header and is called {name!r}")
        names.append(name)
    return names


class _Checks:
    """Checks that a record can be used: its size, its number of cells and its characters."""

    def __init__(self, header: list[str], as_written: list[str], source: _Source, faults: FaultLog) -> None:
        self._header, self._as_written, self._source, self._faults = header, as_written, source, faults
        self._not_utf8 = NotUtf8(faults)

    def passes(self, cells: list[str]) -> bool:
        """Whether the record can be used; adds its faults to the log."""
        line, limit, header = self._source.record_line, self._source.max_row_bytes, self._header
        if self._source.record_bytes > limit:
            self._faults.add(f"the row has more than {limit} bytes", line=line)
            return False
        if len(cells) != len(header):
            message = f"the row has {counted(len(cells), 'cell')}, the header {len(header)}"
            self._faults.add(message, line=line, cause="the row has other cells than the header")
            return False
        if repeats_header(cells, self._as_written):
            self._faults.add(REPEATED, line=line)
            return False
        passed = True
        for name, cell in zip(header, cells, strict=True):
            if "\0" in cell:
                self._faults.add(f"the cell is {_NUL}", line=line, field=name)
                passed = False
            elif not _is_text(cell):
                self._not_utf8.add(_raw(cell), line=line, field=name)
                passed = False
        return passed


def _is_text(text: str) -> bool:
    """Whether the text was valid UTF-8: invalid bytes have become lone surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")
