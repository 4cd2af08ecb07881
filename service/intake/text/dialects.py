"""Detects the cell separator and the line end of a CSV file by the file's beginning."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE_RECORDS = 100
_SEPARATOR_LINE = re.compile(
    r'^"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE
)  # Excel reads it, and writes it for no one
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The format of a CSV file, with the assumptions behind it, or the problem that prevents reading it."""

    separator: str = ","
    line_end: bytes = b"\n"  # or a lone carriage return; a return before a line feed counts as part of the line
    skipped_lines: int = 0  # before the header
    assumptions: tuple[str, ...] = ()
    problem: str | None = None  # the reason why the format is ambiguous
    problem_line: int | None = None


def detect_dialect(head: bytes, default: str, *, cut: bool) -> Dialect:
    """Detect the dialect of a file with this beginning (`cut`: the file is longer); prefers the `default` separator."""
    returns = b"\r" in head and b"\n" not in head
    line_end = b"\r" if returns else b"\n"
    notes = ("lines end with a carriage return alone, as in old Mac files",) if returns else ()
    text = head.decode("utf-8", errors="surrogateescape").removeprefix(_BOM)
    if (declared := _SEPARATOR_LINE.match(text)) is not None and declared[1] not in '"\r\n':
        note = f"cells are separated by {_name(declared[1])}, as the file's first line says ({declared[0].strip()})"
        return Dialect(separator=declared[1], line_end=line_end, skipped_lines=1, assumptions=(*notes, note))
    samples = {separator: _sample(text, separator, cut=cut) for separator in SEPARATORS}
    fitting = [separator for separator, sample in samples.items() if sample.fits and sample.columns > 1]
    if default in fitting or (samples[default].columns > 1 and not fitting):
        return Dialect(separator=default, line_end=line_end, assumptions=notes)
    if len(fitting) == 1:
        note = f"cells are separated by {SEPARATORS[fitting[0]]}, not {SEPARATORS[default]}, and were read so"
        return Dialect(separator=fitting[0], line_end=line_end, assumptions=(*notes, note))
    if len(fitting) > 1:
        problem = f"cells could be separated by {' or by '.join(SEPARATORS[found] for found in fitting)}"
        return Dialect(problem=f"{problem}; {_remedy(fitting[0])}", problem_line=1)
    return _without_fit(samples, default, Dialect(separator=default, line_end=line_end, assumptions=notes))


def _without_fit(samples: "dict[str, _Sample]", default: str, plain: Dialect) -> Dialect:
    """A single column if that fits; otherwise the problem with the separator that occurs most often in the header."""
    if samples[default].fits:
        return plain
    likely = max(samples, key=lambda separator: samples[separator].columns)
    if samples[likely].columns == 1:
        return plain
    sample = samples[likely]
    problem = (
        f"the header looks as if cells were separated by {SEPARATORS[likely]} ({sample.columns} cells), but the row "
        f"here does not fit it ({sample.odd}); put cells that hold {SEPARATORS[likely]} or line breaks in quotes"
    )
    return Dialect(problem=problem, problem_line=sample.odd_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """The result of reading the first records with one separator."""

    columns: int
    odd: str | None = None  # describes the first record that does not fit the header
    odd_line: int | None = None

    @property
    def fits(self) -> bool:
        """Whether every record has as many cells as the header."""
        return self.odd is None


def _sample(text: str, separator: str, *, cut: bool) -> _Sample:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[tuple[int, Sequence[str]]] = []
    broken: str | None = None
    line = 1
    try:
        for cells in reader:
            records.append((line, cells))
            line = reader.line_num + 1
            if len(records) == _SAMPLE_RECORDS:
                break
    except csv.Error:
        broken = "its quotes do not match"
    if cut and broken is None and len(records) < _SAMPLE_RECORDS:
        records = records[:-1]  # the last one may be incomplete
    filled = [(at, cells) for at, cells in records if cells]
    columns = len(filled[0][1]) if filled else 1
    for at, found in filled:
        if len(found) != columns:
            return _Sample(columns=columns, odd=f"{len(found)} cells", odd_line=at)
    return _Sample(columns=columns, odd=None if cut and len(filled) > 1 else broken, odd_line=line)


def _name(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))


def _remedy(separator: str) -> str:
    shown = "a tab" if separator == "\t" else repr(separator)
    return f"say which by a first line 'sep=' and the separator, such as {shown}"
