"""Results as Parquet."""

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
}


class ColumnKinds:
    """Finds a type for each of the user's columns in which no value changes: the one of their Parquet file, if any.

    `arrow_schema` is what `service.intake.unpacked.arrow_schema` has kept of that file.
    """

    def __init__(self, columns: Sequence[str], found: Sequence[str], arrow_schema: bytes | None = None) -> None:
        self._kinds: dict[str, set[str]] = {column: set() for column in columns}
        self._found = {column: _FOUND[column] for column in found}
        kept = None if arrow_schema is None else pa.ipc.open_stream(arrow_schema).read_all()
        self._metadata = None if kept is None or set(kept.column_names) != set(columns) else kept.schema.metadata
        self._kept = {} if kept is None else {name: kept[name] for name in kept.column_names if name in self._kinds}

    def look_at(self, rows: Rows) -> None:
        """Take in what kinds of values these rows hold."""
        for column, kinds in self._kinds.items():
            values = [row.get(column) for row in rows]
            kinds.update(_kind(value) for value in values if value is not None)
            if column in self._kept and not self._fits(column, values):
                del self._kept[column]
                self._metadata = None  # it tells of a type that the column no longer has

    def _fits(self, column: str, values: Sequence[Any]) -> bool:
        try:
            self.array(column, values)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return False
        return True

    def array(self, column: str, values: Sequence[Any]) -> pa.Array:
        """Values of a column in its type. Raises what Arrow raises where one cannot be so."""
        kept = self._kept.get(column)
        if kept is None:
            kind = self._found.get(column) or _type(self._kinds[column])
            return pa.array([_stored(value, kind) for value in values], kind)
        if pa.types.is_dictionary(kept.type) and kept.num_chunks and len(kept.chunk(0).dictionary):
            return in_categories(values, kept.chunk(0))
        return typed(values, kept.type)

    def schema(self) -> pa.Schema:
        """The result's columns. Where kinds are mixed the column is text, what is not text as in JSON."""
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
    """A row group for each batch of rows, handed out at once; the columns' types are known only after the last row."""

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
        """Take in what kinds of values these rows hold."""
        self._kinds.look_at(rows)

    def header(self) -> bytes:
        """Begin the file: from now on its types are fixed."""
        self._schema = self._kinds.schema()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), self._schema)
        return self._sink.take()

    def encode(self, rows: Rows) -> bytes:
        """A row group."""
        arrays = [self._kinds.array(name, [row.get(name) for row in rows]) for name in self._schema.names]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(rows))
        return self._sink.take()

    def footer(self) -> bytes:
        """The places of all row groups."""
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


ENCODER = ParquetEncoder
