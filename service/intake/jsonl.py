"""JSON lines: one object a line."""

from collections.abc import Iterator
from typing import IO

from service.intake.limits import Limits
from service.intake.lines import lines
from service.intake.strict_json import BadJson, parse
from service.jobs.rows import FaultLog, SourceRow


def read_jsonl(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    """Every line's object; blank lines are skipped. Raises PayloadTooLarge."""
    rows = blank = 0
    for line in lines(file, limits, limits.max_row_bytes):
        if line.content is None:
            faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=line.number)
            continue
        content = line.content.strip(b" \t\r\n")
        rows, blank = (rows + 1, blank) if content else (rows, blank + 1)
        limits.check_rows(rows, blank=blank)
        if not content:
            continue
        try:
            value = parse(content)
        except BadJson as error:
            faults.add(str(error), line=line.number)
            continue
        if isinstance(value, dict):
            yield SourceRow(line.number, value)
        else:
            faults.add("the line is not a JSON object", line=line.number)
