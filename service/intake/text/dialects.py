"""Detects the cell separator and the line end of a CSV file by the file's beginning."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.intake.text.lines import RARE_ENDS, rare_end
from service.values import counted

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE_RECORDS = 100
_SECOND_LINE = 2
_MOST_LINES_ABOVE = 20  # the header, such as titles and comments
_SEPARATOR_LINE = re.compile(
    r'^"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE
)  # Excel reads it, and writes it for no one
_BOM = "\ufeff"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The format of a CSV file, with the assumptions behind it, or the problem that prevents reading it."""

    separator: str = ","
    line_end: bytes = b"\n"  # or a lone carriage return, or a rare end; a return before a line feed is part of the line
    skipped_lines: int = 0  # before the header
    assumptions: tuple[str, ...] = ()
    problem: str | None = None  # the reason why the format is ambiguous
    problem_line: int | None = None


def detect_dialect(head: bytes, default: str, *, cut: bool) -> Dialect:
    """Detect the dialect of a file with this beginning (`cut`: the file is longer); prefers the `default` separator."""
    line_end, notes = _line_end(head)
    text = head.decode("utf-8", errors="surrogateescape").removeprefix(_BOM)
    if line_end in RARE_ENDS:
        text = text.replace(line_end.decode(), "\n")
    if (declared := _SEPARATOR_LINE.match(text)) is not None and declared[1] not in '"\r\n':
        note = f"cells are separated by {_name(declared[1])}, as the file's first line says ({declared[0].strip()})"
        return Dialect(separator=declared[1], line_end=line_end, skipped_lines=1, assumptions=(*notes, note))
    plain = Dialect(separator=default, line_end=line_end, assumptions=notes)
    samples = _samples(text, cut=cut)
    table, comments = _without_comments(text)
    if comments and not _fitting(samples) and _fitting(below := _samples(table, cut=cut)):
        plain = replace(plain, skipped_lines=comments, assumptions=(*notes, _skipped(comments)))
        return _decided(below, plain)
    return _decided(samples, plain)


def _line_end(head: bytes) -> tuple[bytes, tuple[str, ...]]:
    """How lines end in a file with this beginning, and the assumption if that is unusual."""
    if b"\r" in head and b"\n" not in head:
        return b"\r", ("lines end with a carriage return alone, as in old Mac files",)
    if (rare := rare_end(head)) is not None:
        return rare, (f"lines end with {RARE_ENDS[rare]}, and were read so",)
    return b"\n", ()


def _skipped(lines: int) -> str:
    if lines == 1:
        return "the first line is a comment that begins with #, and was skipped"
    return f"the first {lines} lines are comments that begin with #, and were skipped"


def _without_comments(text: str) -> tuple[str, int]:
    """The text below its first lines that begin with #, and the number of lines above, blank ones included."""
    rest, above = _LINE.findall(text), 0  # not str.splitlines, which also ends lines within texts
    while rest and above < _MOST_LINES_ABOVE and (rest[0].startswith("#") or (above and not rest[0].strip())):
        rest, above = rest[1:], above + 1
    return "".join(rest), above


def _decided(samples: "dict[str, _Sample]", plain: Dialect) -> Dialect:
    """The plain dialect, with another separator or with the problem that prevents reading."""
    default, fitting = plain.separator, _fitting(samples)
    if default in fitting:
        return plain
    if len(fitting) == 1:
        note = f"cells are separated by {SEPARATORS[fitting[0]]}, not {SEPARATORS[default]}, and were read so"
        return replace(plain, separator=fitting[0], assumptions=(*plain.assumptions, note))
    if len(fitting) > 1:
        problem = f"cells could be separated by {' or by '.join(SEPARATORS[found] for found in fitting)}"
        return replace(plain, problem=f"{problem}; {_remedy(fitting[0])}", problem_line=1)
    return _without_fit(samples, plain)


def _without_fit(samples: "dict[str, _Sample]", plain: Dialect) -> Dialect:
    """A single column if that fits; otherwise the problem with the separator that occurs most often in the header."""
    default = plain.separator
    if samples[default].fits:
        return plain
    likely = max(samples, key=lambda separator: samples[separator].columns)
    names_and_row_agree = samples[likely].columns > 1 and (samples[likely].odd_line or 0) > _SECOND_LINE
    if samples[default].columns_below and not names_and_row_agree:
        return replace(plain, problem=_narrow_header(samples[default], SEPARATORS[default]), problem_line=1)
    if samples[default].columns > 1 or samples[likely].columns == 1:
        return plain
    sample = samples[likely]
    problem = (
        f"the header looks as if cells were separated by {SEPARATORS[likely]} ({counted(sample.columns, 'cell')}), "
        "but the row "
        f"here does not fit it ({sample.odd}); put cells that hold {SEPARATORS[likely]} or line breaks in quotes"
    )
    return replace(plain, problem=problem, problem_line=sample.odd_line)


def _narrow_header(sample: "_Sample", separators: str) -> str:
    return (
        f"the first line has {counted(sample.columns, 'cell')}, and rows have {sample.columns_below}, separated by "
        f"{separators}: it has to name "
        f"every column. Remove a title above the names, name every column, or put cells that hold {separators} in "
        "quotes"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """The result of reading the first records with one separator."""

    columns: int
    odd: str | None = None  # describes the first record that does not fit the header
    odd_line: int | None = None
    columns_below: int = 0  # cells of every record below a title; 0 if there is none

    @property
    def fits(self) -> bool:
        """Whether every record has as many cells as the header."""
        return self.odd is None


def _samples(text: str, *, cut: bool) -> dict[str, _Sample]:
    return {separator: _sample(text, separator, cut=cut) for separator in SEPARATORS}


def _fitting(samples: dict[str, _Sample]) -> list[str]:
    """The separators that divide every record into as many cells, more than one."""
    return [separator for separator, sample in samples.items() if sample.fits and sample.columns > 1]


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
            below = _columns_below([len(cells) for _, cells in filled])
            return _Sample(columns=columns, odd=counted(len(found), "cell"), odd_line=at, columns_below=below)
    return _Sample(columns=columns, odd=None if cut and len(filled) > 1 else broken, odd_line=line)


def _columns_below(cells: Sequence[int]) -> int:
    """The number of cells of every record below a title (one record, or several of one cell) with fewer; else 0."""
    above = cells.index(cells[-1])
    is_table = len(set(cells[above:])) == 1 and len(cells) - above > 1
    is_title = 0 < above <= _MOST_LINES_ABOVE and (above == 1 or max(cells[:above]) == 1)
    return cells[-1] if is_table and is_title and cells[0] < cells[-1] else 0


def _name(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))


def _remedy(separator: str) -> str:
    shown = "a tab" if separator == "\t" else repr(separator)
    return f"say which by a first line 'sep=' and the separator, such as {shown}"
