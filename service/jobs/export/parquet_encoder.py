"""Results as Parquet."""

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.jobs.export.encoder import Encoder, Rows

_EXACT_IN_DOUBLE = 2**53
_FOUND = {
    "icm_label": pa.string(),
    "icm_confidence": pa.float64(),
    "icm_margin": pa.float64(),
    "icm_status": pa.string(),
    "icm_raw_probability": pa.float64(),
}


class ParquetEncoder(Encoder):
    """A row group for each batch of rows, handed out at once.

    The columns' types are known only after the last row: types in which no value changes. Where kinds are mixed the
    column is text, with what is not text as in JSON.
    """

    reads_twice = True

    def __init__(self, columns: Sequence[str], found: Sequence[str], *, formula_safe: bool = False) -> None:
        super().__init__(columns, found, formula_safe=formula_safe)
        self._kinds: dict[str, set[str]] = {column: set() for column in columns}
        self._found = {column: _FOUND[column] for column in found}
        self._sink = _Sink()

    def look_at(self, rows: Rows) -> None:
        """Take in what kinds of values these rows hold."""
        for row in rows:
            for column, kinds in self._kinds.items():
                if (value := row.get(column)) is not None:
                    kinds.add(_kind(value))

    def header(self) -> bytes:
        """Begin the file: from now on its types are fixed."""
        given = {column: _type(kinds) for column, kinds in self._kinds.items()}
        self._schema = pa.schema(list((given | self._found).items()))
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), self._schema)
        return self._sink.take()

    def encode(self, rows: Rows) -> bytes:
        """A row group."""
        arrays = [
            pa.array([_stored(row.get(field.name), field.type) for row in rows], field.type) for field in self._schema
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(rows))
        return self._sink.take()

    def footer(self) -> bytes:
        """The places of all row groups."""
        self._writer.close()
        return self._sink.take()


def _kind(value: Any) -> str:
    if isinstance(value, bool | float | str):
        return type(value).__name__
    if isinstance(value, int):
        return "int" if abs(value) <= _EXACT_IN_DOUBLE else "long"
    return "json"


def _type(kinds: set[str]) -> pa.DataType:
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds and kinds <= {"int", "long"}:
        return pa.int64()
    if kinds and kinds <= {"int", "float"}:
        return pa.float64()
    return pa.string()


def _stored(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str) or not pa.types.is_string(kind):
        return value
    return orjson.dumps(value).decode()


class _Sink:
    """A file that only grows and forgets what was taken from it."""

    closed = False

    def __init__(self) -> None:
        self._pending = bytearray()

    def write(self, data: Any) -> int:
        """Keep a copy until it is taken."""
        self._pending += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits elsewhere."""

    def close(self) -> None:
        """What was written stays to be taken."""

    def take(self) -> bytes:
        """Everything written since the last call."""
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


ENCODER = ParquetEncoder
