"""Encodes results as comma-separated values (RFC 4180)."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import orjson

from service.jobs.export.encoder import Encoder, Rows

# Spreadsheets run a cell with such a beginning as a formula, some after removing white space or normalizing width.
_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class CsvEncoder(Encoder):
    """Encodes one record per row, after a header with the columns' names; `formula_safe` quotes every cell."""

    def header(self) -> bytes:
        """The record with the columns' names."""
        return self._lines([self.columns])

    def encode(self, rows: Rows) -> bytes:
        """One record for each row."""
        return self._lines([[row.get(column) for column in self.columns] for row in rows])

    def _lines(self, rows: Sequence[Sequence[Any]]) -> bytes:
        as_cell = _safe_cell if self.formula_safe else _cell
        text = io.StringIO()
        brief = csv.writer(text, lineterminator="\n")
        quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in ([as_cell(value) for value in values] for values in rows):
            # A bare carriage return would end the record to readers, and Python 3.11 does not quote it.
            (quoting if self.formula_safe or any("\r" in cell for cell in row) else brief).writerow(row)
        return text.getvalue().encode()


def _cell(value: Any) -> str:
    """The cell of a value: text unchanged, null as empty, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _safe_cell(value: Any) -> str:
    """A cell that no spreadsheet runs as a formula; numbers stay numbers, also negative ones."""
    cell = _cell(value)
    return f"'{cell}" if isinstance(value, str) and cell.startswith(_FORMULA_BEGINNINGS) else cell


ENCODER = CsvEncoder
