"""Writes results as Parquet, one row group at a time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.jobs.checks.survey import RESULT_COLUMNS

_EXACT_IN_DOUBLE = 2**53
_FOUND = {
    "icm_label": pa.string(),
    "icm_confidence": pa.float64(),
    "icm_margin": pa.float64(),
    "icm_status": pa.string(),
    "icm_raw_probability": pa.float64(),
}


class ColumnKinds:
    """Finds a type for each of the user's columns in which no value changes."""

    def __init__(self, columns: Sequence[str], found: Sequence[str] = RESULT_COLUMNS) -> None:
        self._kinds: dict[str, set[str]] = {column: set() for column in columns}
        self._found = {column: _FOUND[column] for column in found}

    def look_at(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in what kinds of values these rows hold."""
        for row in rows:
            for column, kinds in self._kinds.items():
                if (value := row.get(column)) is not None:
                    kinds.add(_kind(value))

    def schema(self) -> pa.Schema:
        """The result's columns. Where kinds are mixed the column is text, what is not text as in JSON."""
        given = {column: _type(kinds) for column, kinds in self._kinds.items()}
        return pa.schema(list((given | self._found).items()))


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


class ParquetStream:
    """A Parquet file in the making, handed out as it grows."""

    def __init__(self, kinds: ColumnKinds) -> None:
        self._schema = kinds.schema()
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), self._schema)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """Add a row group; the bytes that have become final."""
        arrays = [
            pa.array([_stored(row.get(field.name), field.type) for row in rows], field.type) for field in self._schema
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(rows))
        return self._sink.take()

    def finish(self) -> bytes:
        """The file's end."""
        self._writer.close()
        return self._sink.take()


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
