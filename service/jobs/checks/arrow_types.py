"""Converts between Arrow's types and JSON's values, so that a Parquet result has its data set's types again."""

import json
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_CLASSES = b"huggingface"  # metadata key under which the library `datasets` stores its features, such as ClassLabel


def is_written_as_text(kind: pa.DataType) -> bool:
    """Whether JSON lacks the type but there is one standard text form: dates, times and decimals."""
    types = pa.types
    tests = (types.is_date, types.is_time, types.is_timestamp, types.is_decimal)
    return any(test(kind) for test in tests)


def as_read(kind: pa.DataType) -> pa.DataType:
    """The type of the stored values: this type, with text in place of the types that JSON lacks."""
    types = pa.types
    if is_written_as_text(kind):
        return pa.string()
    if types.is_struct(kind):
        return pa.struct([field.with_type(as_read(field.type)) for field in kind])
    if types.is_fixed_size_list(kind):
        return pa.list_(_value_as_read(kind), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_value_as_read(kind))
    if types.is_list(kind):
        return pa.list_(_value_as_read(kind))
    return kind


def _value_as_read(kind: pa.DataType) -> pa.Field:
    return kind.value_field.with_type(as_read(kind.value_type))


def typed(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert stored values back to the type that they had. Raises Arrow's errors if a value does not fit."""
    if as_read(kind) == kind:
        return pa.array(values, kind)
    if pa.types.is_struct(kind):
        return _structs(values, kind)
    return _from_texts(values, kind) if is_written_as_text(kind) else _lists(values, kind)


def _structs(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    parts = [typed([value and value.get(field.name) for value in values], field.type) for field in kind]
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=_nulls(values))


def _lists(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        padded = [[None] * kind.list_size if value is None else value for value in values]
        parts = typed(list(chain.from_iterable(padded)), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(parts, type=kind, mask=_nulls(values))
    ends = accumulate((len(value or ()) for value in values), initial=0)
    parts = typed([part for value in values for part in value or ()], kind.value_type)
    large = pa.types.is_large_list(kind)
    make, offset = (pa.LargeListArray, pa.int64()) if large else (pa.ListArray, pa.int32())
    return make.from_arrays(pa.array(list(ends), offset), parts, type=kind, mask=_nulls(values))


def _nulls(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def _from_texts(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    texts = pa.array(values, pa.string())
    if not pa.types.is_time(kind):
        return texts.cast(kind)
    moments = pc.binary_join_element_wise("1970-01-01", texts, " ")  # Arrow parses times only as part of a timestamp
    return moments.cast(pa.timestamp(kind.unit)).cast(kind)


def in_categories(values: Sequence[Any], dictionary: pa.DictionaryArray) -> pa.Array:
    """Values as a dictionary array with these categories. Raises Arrow's errors if a value is not among them."""
    kind, categories = dictionary.type, dictionary.dictionary
    plain = pa.array(values, kind.value_type)
    indices = pc.index_in(plain, value_set=categories)
    if indices.null_count > plain.null_count:
        raise pa.ArrowInvalid("a value is in no category")
    return pa.DictionaryArray.from_arrays(indices.cast(kind.index_type), categories, ordered=kind.ordered)


def with_features(metadata: dict[bytes, bytes] | None, found: pa.Schema) -> dict[bytes, bytes] | None:
    """The file's metadata with the result's columns added to the features of `datasets`, if it has these."""
    try:
        classes = json.loads((metadata or {})[_CLASSES])
        features = classes["info"]["features"]
        for field in found:
            features[field.name] = {"dtype": str(field.type).replace("double", "float64"), "_type": "Value"}
    except (KeyError, TypeError, ValueError):  # no metadata of `datasets`
        return metadata
    return {**(metadata or {}), _CLASSES: json.dumps(classes).encode()}
