import datetime as dt
import gzip
import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import PayloadTooLarge
from tests.unit.intake.helpers import SMALL, faults_in, read


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


VALUES = {"t": ["x", None], "i": [1, -2], "f": [0.5, 1.5], "b": [True, False], "l": [[1, 2], []], "s": [{"a": 1}, None]}


@pytest.mark.parametrize("name", ["a.parquet", "a.pq", None])
def test_values_are_kept_as_they_are(name: str | None) -> None:
    rows = read(parquet(pa.table(VALUES)), name)
    assert [row.line for row in rows] == [1, 2]
    assert [dict(row.fields) for row in rows] == pa.table(VALUES).to_pylist()


def test_a_packed_file_is_read_too() -> None:
    packed = gzip.compress(parquet(pa.table(VALUES)))
    assert len(read(packed, "a.parquet.gz")) == 2


def test_dictionaries_of_text_are_text() -> None:
    table = pa.table({"t": pa.array(["x", "y", "x"]).dictionary_encode()})
    assert [row.fields["t"] for row in read(parquet(table), "a.parquet")] == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array(["x", "a\0b"]), "NUL"),
        (pa.array([0.0, float("nan")]), "NaN"),
        (pa.array([0.0, float("inf")]), "NaN"),
        (pa.array([1, 2**63], pa.uint64()), "64 bits"),
        (pa.array([[0.0], [float("nan")]]), "NaN"),
    ],
)
def test_a_value_that_cannot_be_kept_is_told_with_its_row(column: pa.Array, told: str) -> None:
    [fault] = faults_in(parquet(pa.table({"a": column})), "a.parquet")
    assert (fault.line, fault.field) == (2, "a")
    assert told in fault.message


@pytest.mark.parametrize(
    "column",
    [pa.array([dt.date(2020, 1, 1)]), pa.array([b"x"]), pa.array([[b"x"]]), pa.array([dt.timedelta(1)])],
)
def test_types_that_json_does_not_have_are_refused_by_column(column: pa.Array) -> None:
    [fault] = faults_in(parquet(pa.table({"a": column})), "a.parquet")
    assert fault.field == "a"
    assert "are not read" in fault.message


def test_a_row_that_is_too_long_is_told() -> None:
    [fault] = faults_in(parquet(pa.table({"a": ["x", "y" * 2_000]})), "a.parquet")
    assert (fault.line, fault.message) == (2, "the row has more than 1000 bytes")


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"{}\n", parquet(pa.table(VALUES))[:-9]])
def test_a_damaged_file_is_told(content: bytes) -> None:
    [fault] = faults_in(content, "a.parquet")
    assert "not readable as Parquet" in fault.message


def test_a_small_file_that_unpacks_to_much_is_too_large() -> None:
    table = pa.table({"a": pa.array(["x" * 900]).dictionary_encode().take(pa.array([0] * 900))})
    content = parquet(table.cast(pa.schema({"a": pa.string()})))
    assert len(content) < 10_000
    with pytest.raises(PayloadTooLarge):
        read(content, "a.parquet", limits=replace(SMALL, max_bytes=100_000))


def test_more_rows_than_allowed_are_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="3 rows"):
        read(parquet(pa.table({"a": [1, 2, 3, 4]})), "a.parquet", limits=replace(SMALL, max_rows=3))
