"""Records the column types of a Parquet file for its result, as an Arrow stream without rows.

The stream has the file's schema with its metadata, and the values of top-level dictionaries (pandas' categories) in
their order, including values that no row uses.
"""

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

MAX_BYTES = 500_000
_MAX_WIDTH = 8_192  # limit of the values that Arrow writes for one row of nulls
_MAX_CATEGORIES = 10_000  # per column


class KeptTypes:
    """Collects the types and categories of a file, batch by batch."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema if _width(schema) <= _MAX_WIDTH else pa.schema(map(_unfixed, schema), schema.metadata)
        self._seen: dict[str, pa.Array] = {}  # by column: the dictionary of the last batch
        self._categories = {f.name: dict[Any, None]() for f in schema if pa.types.is_dictionary(f.type)}

    def look_at(self, batch: pa.RecordBatch) -> None:
        """Add the values of the batch's dictionaries; row groups may have different ones."""
        for name, values in list(self._categories.items()):
            dictionary = batch.column(name).dictionary
            if name in self._seen and self._seen[name].equals(dictionary):
                continue
            self._seen[name] = dictionary
            values.update(_listed(dictionary))
            if len(values) > _MAX_CATEGORIES or None in values:
                del self._categories[name]

    def packed(self) -> bytes | None:
        """The stream; if it is too long, without dictionaries, then also without metadata, and finally None."""
        content = self._stream(self._schema)
        if len(content) > MAX_BYTES:
            self._categories.clear()
            content = self._stream(self._schema)
        if len(content) > MAX_BYTES:
            content = self._stream(self._schema.remove_metadata())
        return content if len(content) <= MAX_BYTES else None

    def _stream(self, schema: pa.Schema) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays([self._empty(field) for field in schema], schema=schema))
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def _empty(self, field: pa.Field) -> pa.Array:
        if field.name not in self._categories:
            return pa.array([], field.type)
        kind = field.type
        values = pa.array(list(self._categories[field.name]), kind.value_type)
        indices = pa.array([], kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=kind.ordered)


def _listed(dictionary: pa.Array) -> dict[Any, None]:
    """The values in their order; only None if some value is not valid text."""
    try:
        return dict.fromkeys(dictionary.to_pylist())
    except UnicodeDecodeError:
        return {None: None}


def _width(fields: Iterable[pa.Field]) -> float:
    """The number of values that Arrow writes for one row of nulls; infinite for lists of lists of a fixed size."""
    return sum((_width_of(field.type) for field in fields), 0.0)


def _width_of(kind: pa.DataType) -> float:
    if pa.types.is_struct(kind):
        return _width(kind)
    if pa.types.is_fixed_size_list(kind):
        return float(kind.list_size * _width_of(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return math.inf if _unfixed(kind.value_field) != kind.value_field else 1.0
    return 1.0


def _unfixed(field: pa.Field) -> pa.Field:
    """The field with variable-size lists in place of fixed-size lists, whose nulls take as much space as values."""
    kind = field.type
    if pa.types.is_struct(kind):
        return field.with_type(pa.struct(list(map(_unfixed, kind))))
    if pa.types.is_large_list(kind):
        return field.with_type(pa.large_list(_unfixed(kind.value_field)))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return field.with_type(pa.list_(_unfixed(kind.value_field)))
    return field
