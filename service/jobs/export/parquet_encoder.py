"""Encodes results as Parquet, with the column types of the user's Parquet file or with types that fit all values."""

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.jobs.checks.arrow_types import in_categories, typed, with_features
from service.jobs.export.encoder import Encoder, Rows

_EXACT_IN_DOUBLE = 2**53
_FOUND = {
    "icm_label": pa.string(),
    "icm_confidence": pa.float64(),
    "icm_margin": pa.float64(),
    "icm_status": pa.string(),
    "icm_raw_probability": pa.float64(),
    "score": pa.float64(),  # of `icm score`
}


class ColumnKinds:
    """Finds a type for each of the user's columns that preserves all values: the one of their Parquet file, if it fits.

    `arrow_schema` has the types of that file, as `service.intake.unpacked.arrow_schema` recorded them.
    """

    def __init__(self, columns: Sequence[str], found: Sequence[str], arrow_schema: bytes | None = None) -> None:
        self._kinds: dict[str, set[str]] = {column: set() for column in columns}
        self._found = {column: _FOUND[column] for column in found}
        kept = None if arrow_schema is None else pa.ipc.open_stream(arrow_schema).read_all()
        self._metadata = None if kept is None or set(kept.column_names) != set(columns) else kept.schema.metadata
        self._kept = {} if kept is None else {name: kept[name] for name in kept.column_names if name in self._kinds}

    def look_at(self, rows: Rows) -> None:
        """Record the kinds of values in these rows."""
        for column, kinds in self._kinds.items():
            values = [row.get(column) for row in rows]
            kinds.update(_kind(value) for value in values if value is not None)
            if column in self._kept and not self._fits(column, values):
                del self._kept[column]
                self._metadata = None  # it may describe the type that the column no longer has

    def _fits(self, column: str, values: Sequence[Any]) -> bool:
        try:
            self.array(column, values)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return False
        return True

    def array(self, column: str, values: Sequence[Any]) -> pa.Array:
        """The values of a column in its type. Raises Arrow's errors if a value does not fit."""
        kept = self._kept.get(column)
        if kept is None:
            kind = self._found.get(column) or _type(self._kinds[column])
            return pa.array([_stored(value, kind) for value in values], kind)
        if pa.types.is_dictionary(kept.type) and kept.num_chunks and len(kept.chunk(0).dictionary):
            return in_categories(values, kept.chunk(0))
        return typed(values, kept.type)

    def schema(self) -> pa.Schema:
        """The types of the result's columns. A column of mixed kinds is text, with other values as JSON."""
        kept = {column: array.type for column, array in self._kept.items()}
        given = {column: kept.get(column) or _type(kinds) for column, kinds in self._kinds.items()}
        found = pa.schema(list(self._found.items()))
        return pa.schema([*given.items(), *found], with_features(self._metadata, found))


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


class ParquetEncoder(Encoder):
    """Encodes each batch of rows as a row group; reads all rows twice, since the columns' types depend on them all."""

    reads_twice = True

    def __init__(
        self,
        columns: Sequence[str],
        found: Sequence[str],
        *,
        formula_safe: bool = False,
        arrow_schema: bytes | None = None,
    ) -> None:
        super().__init__(columns, found, formula_safe=formula_safe)
        self._kinds = ColumnKinds(columns, found, arrow_schema)
        self._sink = _Sink()

    def look_at(self, rows: Rows) -> None:
        """Record the kinds of values in these rows."""
        self._kinds.look_at(rows)

    def header(self) -> bytes:
        """The beginning of the file; fixes the columns' types."""
        self._schema = self._kinds.schema()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), self._schema)
        return self._sink.take()

    def encode(self, rows: Rows) -> bytes:
        """One row group."""
        arrays = [self._kinds.array(name, [row.get(name) for row in rows]) for name in self._schema.names]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(rows))
        return self._sink.take()

    def footer(self) -> bytes:
        """The end of the file, with the offsets of all row groups."""
        self._writer.close()
        return self._sink.take()


def _stored(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str) or not pa.types.is_string(kind):
        return value
    return orjson.dumps(value).decode()


class _Sink:
    """A write-only file in memory, from which the encoder takes the bytes written so far."""

    closed = False

    def __init__(self) -> None:
        self._pending = bytearray()

    def write(self, data: Any) -> int:
        """Append a copy of the data."""
        self._pending += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: `write` does not buffer."""

    def close(self) -> None:
        """Do nothing: the encoder still takes the last bytes."""

    def take(self) -> bytes:
        """Remove and return the bytes written since the last call."""
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


ENCODER = ParquetEncoder
