"""Parquet, read in batches only: what a file unpacks to is not known from its metadata."""

import math
from collections.abc import Iterator
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.intake.limits import Limits
from service.intake.strict_json import MAX_DEPTH
from service.jobs.rows import FaultLog, SourceRow

_BATCH_ROWS = 64


def read_parquet(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    """Every row; rows are counted from 1. Raises PayloadTooLarge."""
    try:
        yield from _read(file, limits, faults)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        faults.add(f"the file is not readable as Parquet: {error}")


def _read(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=65_536)
    if not _usable(parquet.schema_arrow, faults):
        return
    row = unpacked = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, use_threads=False):
        unpacked += batch.nbytes
        limits.check_bytes(unpacked)
        limits.check_rows(row + batch.num_rows)
        for fields in batch.to_pylist():
            row += 1
            if _passes(fields, row, limits, faults):
                yield SourceRow(row, fields)


def _usable(schema: pa.Schema, faults: FaultLog) -> bool:
    before = len(faults)
    for name in {name for name in schema.names if schema.names.count(name) > 1}:
        faults.add("the file has the column more than once", field=name)
    for field in schema:
        if not _readable(field.type):
            faults.add(f"columns of type {field.type} are not read; convert it to text or numbers", field=field.name)
    return len(faults) == before


def _readable(kind: pa.DataType, depth: int = 1) -> bool:
    """Whether the values are the same in JSON."""
    types = pa.types
    if depth > MAX_DEPTH:
        return False
    if types.is_struct(kind):
        return all(_readable(field.type, depth + 1) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _readable(kind.value_type, depth + 1)
    tests = (types.is_boolean, types.is_integer, types.is_floating, types.is_null)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in (*tests, *texts))


def _passes(fields: dict[str, Any], row: int, limits: Limits, faults: FaultLog) -> bool:
    before = len(faults)
    for name, value in fields.items():
        if (problem := _unstorable(value)) is not None:
            faults.add(problem, line=row, field=name)
    if len(faults) == before and len(orjson.dumps(fields)) > limits.max_row_bytes:
        faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=row)
    return len(faults) == before


def _unstorable(value: Any) -> str | None:
    """Why the value could not be stored and given back as it is, if so."""
    if isinstance(value, str):
        return "a NUL character, which cannot be stored" if "\0" in value else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "NaN and Infinity cannot be stored; use null or text"
    if isinstance(value, int):
        return None if value < 2**63 else f"the integer {value} is beyond 64 bits; convert it to text"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((problem for part in inner if (problem := _unstorable(part)) is not None), None)
