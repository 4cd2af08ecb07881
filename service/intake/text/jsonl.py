"""Reads JSON lines: one object per line."""

from collections.abc import Iterator
from typing import IO

from service.intake.bounds.limits import Limits
from service.intake.text.json_faults import JsonFaults
from service.intake.text.lines import Line, lines
from service.intake.text.strict_json import BadJson, parse
from service.jobs.checks.rows import FaultLog, SourceRow


def read_jsonl(file: IO[bytes], limits: Limits, faults: FaultLog, *, line_end: bytes = b"\n") -> Iterator[SourceRow]:
    """Every line's object as a row, without blank lines. Raises PayloadTooLarge."""
    rows = blank = 0
    unread = JsonFaults(faults)
    for line in lines(file, limits, limits.max_row_bytes, line_end):
        if line.content is None:
            faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=line.number)
            continue
        content = line.content.removesuffix(line_end).strip(b" \t\r\n")
        rows, blank = (rows + 1, blank) if content else (rows, blank + 1)
        limits.check_rows(rows, blank=blank)
        if not content:
            continue
        if (fields := _fields(line, content, faults, unread)) is not None:
            yield SourceRow(line.number, fields)


def _fields(line: Line, content: bytes, faults: FaultLog, unread: JsonFaults) -> "dict[str, object] | None":
    """The line's object; None, and a fault in the log, if the line is not one."""
    try:
        value = parse(content)
    except BadJson as error:
        unread.add(error, content, line=line.number)
        return None
    if isinstance(value, dict):
        return value
    faults.add("the line is not a JSON object", line=line.number)
    return None
