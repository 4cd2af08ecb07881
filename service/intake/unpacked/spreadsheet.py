"""Converts the first non-empty sheet of an Excel workbook (.xlsx) to JSON lines; its first row names the columns.

Runs only in the separate process of `process.py`, since a zip archive may be a decompression bomb.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import IO, Any

import orjson
from python_calamine import CalamineSheet, CalamineWorkbook, SheetVisibleEnum

from service.intake.bounds.limits import Limits
from service.intake.text.delimited import REPEATED, header_of, repeats_header
from service.jobs.checks.rows import FaultLog


def spreadsheet_as_lines(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[bytes]:
    """One line for each row of the sheet, so that line numbers are row numbers.

    The line is empty for the header, for a blank row and for a row with a fault. Raises PayloadTooLarge, and the
    library's errors for a damaged file.
    """
    sheet = _sheet(CalamineWorkbook.from_filelike(file), faults)
    if sheet is None:
        return
    names: list[str] | None = None
    header: list[str] = []
    row = unpacked = 0
    for cells in sheet.iter_rows():
        row += 1
        limits.check_rows(row)
        if names is None:
            if any(cell != "" for cell in cells):
                header = [str(_value(cell) or "") for cell in cells]
                names = header_of(header, row, faults)
                if names is None:
                    return
            yield b""
            continue
        if repeats_header(cells, header):
            faults.add(REPEATED, line=row)
            yield b""
            continue
        line = _as_line(names, cells, row, limits, faults)
        unpacked += len(line) + 1
        limits.check_bytes(unpacked)
        yield line


def _sheet(workbook: CalamineWorkbook, faults: FaultLog) -> CalamineSheet | None:
    """The first visible sheet with more than one row, else the first with any; reports other such sheets.

    Raises ValueError for a zip archive without sheets, which the library takes for a workbook.
    """
    if not workbook.sheets_metadata:
        raise ValueError("no sheets")
    visible = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible is SheetVisibleEnum.Visible]
    sheets = [sheet for name in visible if (sheet := workbook.get_sheet_by_name(name)).height]
    if not sheets:
        return None
    chosen = next((sheet for sheet in sheets if sheet.height > 1), sheets[0])  # notes often stand before the table
    if others := [sheet.name for sheet in sheets if sheet is not chosen]:
        faults.assume(f"the sheet {chosen.name!r} was read, and {', '.join(map(repr, others[:5]))} was not")
    return chosen


def _as_line(names: list[str], cells: Sequence[Any], row: int, limits: Limits, faults: FaultLog) -> bytes:
    values = [_value(cell) for cell in cells]
    if all(value is None for value in values):
        return b""
    fields = dict(zip(names, values, strict=True))
    before = len(faults)
    for name, value in fields.items():
        if isinstance(value, str) and "\0" in value:
            faults.add("a NUL character, which cannot be stored", line=row, field=name)
    line = orjson.dumps(fields)
    if len(line) > limits.max_row_bytes:
        faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=row)
    return b"" if len(faults) > before else line


def _value(cell: Any) -> Any:
    """The cell as a JSON value: null for an empty cell, an integer for a whole number, text (ISO 8601) for a date."""
    if cell == "":
        return None
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() and abs(cell) < 2**53 else cell if math.isfinite(cell) else str(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, timedelta) else cell
