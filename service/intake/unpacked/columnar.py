"""Converts a Parquet file to JSON lines in small batches, since its metadata does not show its uncompressed size.

Runs only in the separate process of `process.py`: a batch with a value of a gigabyte is never small, and a
malicious file may crash a reader written in C++.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.intake.bounds.limits import Limits
from service.intake.text.strict_json import MAX_DEPTH
from service.intake.unpacked.arrow_schema import KeptTypes
from service.jobs.checks.arrow_types import as_read, is_written_as_text
from service.jobs.checks.rows import MAX_COLUMNS, FaultLog

_BATCH_ROWS = 64
_NOT_UTF8 = "not valid UTF-8"


def parquet_as_lines(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[bytes]:
    """Every row as a JSON object; an empty line for a row with a fault. Faults number rows from 1.

    Raises PayloadTooLarge, and pyarrow's errors for a damaged file.
    """
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=65_536)
    if not _usable(parquet.schema_arrow, faults):
        return
    types = KeptTypes(parquet.schema_arrow)
    row = unpacked = written = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, use_threads=False):
        unpacked += batch.nbytes
        limits.check_bytes(unpacked)
        limits.check_rows(row + batch.num_rows)
        types.look_at(batch)
        for fields in _rows(_with_texts(batch)):
            row += 1
            size = _least_bytes(fields)
            line = b"" if size > limits.max_row_bytes else _as_line(fields, row, faults)
            written += (
                max(size, len(line)) + 1
            )  # `batch.nbytes` counts a dictionary's text once, though many rows may have it
            limits.check_bytes(written)
            if max(size, len(line)) > limits.max_row_bytes:
                faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=row)
                line = b""
            yield line
    faults.arrow_schema = types.packed()


def _usable(schema: pa.Schema, faults: FaultLog) -> bool:
    before = len(faults)
    if len(schema.names) > MAX_COLUMNS:
        faults.add(f"the file has {len(schema.names)} columns, more than {MAX_COLUMNS}")
        return False
    for name, count in Counter(schema.names).items():
        if count > 1:
            faults.add(f"the file has the column {count} times", field=name)
    for field in schema:
        kind = str(field.type)[:100]
        if not _readable(field.type):
            faults.add(f"columns of type {kind} are not read; convert it to text or numbers", field=field.name)
        elif as_read(field.type) != field.type:
            faults.assume(f"column {field.name!r} holds {kind}, which JSON does not have, and was read as text")
    return len(faults) == before


def _readable(kind: pa.DataType, depth: int = 1) -> bool:
    """Whether JSON can represent the values, directly or as text of one standard form."""
    types = pa.types
    if depth > MAX_DEPTH:
        return False
    if types.is_struct(kind):
        return all(_readable(field.type, depth + 1) for field in kind)
    if types.is_dictionary(kind):
        return _readable(kind.value_type, depth + 1) and not is_written_as_text(kind.value_type)
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    if any(test(kind) for test in lists):
        return _readable(kind.value_type, depth + 1)
    tests = (types.is_boolean, types.is_integer, types.is_floating, types.is_null)
    texts = (types.is_string, types.is_large_string, types.is_string_view, is_written_as_text)
    return any(test(kind) for test in (*tests, *texts))


def _with_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, with types that JSON lacks converted to text: 2020-01-31, 2020-01-31 12:00:00, 0.10."""
    arrays = [array.cast(as_read(array.type)) for array in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        yield from ({name: _value(batch, name, row) for name in batch.schema.names} for row in range(batch.num_rows))


def _value(batch: pa.RecordBatch, name: str, row: int) -> Any:
    """One value; the error in its place if it is not valid UTF-8."""
    try:
        return batch.column(name)[row].as_py()
    except UnicodeDecodeError as error:
        return error


def _least_bytes(fields: dict[str, Any]) -> int:
    """A lower bound of the row's size as JSON, computed without serialising a row that is too long."""
    return sum(len(value) for value in fields.values() if isinstance(value, str | list | dict))


def _as_line(fields: dict[str, Any], row: int, faults: FaultLog) -> bytes:
    before = len(faults)
    for name, value in fields.items():
        if (problem := _unstorable(value)) is not None:
            faults.add(problem, line=row, field=name)
    return b"" if len(faults) > before else orjson.dumps(fields)


def _unstorable(value: Any) -> str | None:
    """The reason why the service cannot store and return the value unchanged; None if it can."""
    if isinstance(value, str):
        return "a NUL character, which cannot be stored" if "\0" in value else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "NaN and Infinity cannot be stored; use null or text"
    if isinstance(value, int):
        return None if value < 2**63 else "an integer beyond 64 bits; convert it to text"
    if isinstance(value, UnicodeDecodeError):
        return _NOT_UTF8
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((problem for part in inner if (problem := _unstorable(part)) is not None), None)
