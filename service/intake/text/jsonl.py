"""Reads JSON lines: one object per line."""

from collections.abc import Iterator
from typing import IO

from service.intake.bounds.limits import Limits
from service.intake.text.encodings import NotUtf8
from service.intake.text.lines import Line, lines
from service.intake.text.strict_json import BadJson, is_utf8, parse
from service.jobs.checks.rows import FaultLog, SourceRow


def read_jsonl(file: IO[bytes], limits: Limits, faults: FaultLog, *, line_end: bytes = b"\n") -> Iterator[SourceRow]:
    """Every line's object as a row, without blank lines. Raises PayloadTooLarge."""
    rows = blank = 0
    not_utf8 = NotUtf8(faults)
    for line in lines(file, limits, limits.max_row_bytes, line_end):
        if line.content is None:
            faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=line.number)
            continue
        content = line.content.strip(b" \t\r\n")
        rows, blank = (rows + 1, blank) if content else (rows, blank + 1)
        limits.check_rows(rows, blank=blank)
        if not content:
            continue
        if (fields := _fields(line, content, faults, not_utf8)) is not None:
            yield SourceRow(line.number, fields)


def _fields(line: Line, content: bytes, faults: FaultLog, not_utf8: NotUtf8) -> "dict[str, object] | None":
    """The line's object; None, and a fault in the log, if the line is not one."""
    try:
        value = parse(content)
    except BadJson as error:
        if is_utf8(content):
            faults.add(str(error), line=line.number)
        else:
            not_utf8.add(content, line=line.number)
        return None
    if isinstance(value, dict):
        return value
    faults.add("the line is not a JSON object", line=line.number)
    return None
