import datetime as dt
import decimal
import gzip
import io
import os
import tempfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import Fault, PayloadTooLarge
from service.intake.unpacked.process import unpack
from service.jobs.checks.rows import FaultLog
from tests.unit.intake.helpers import SMALL, assumed, faults_in, read


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def told(content: bytes) -> list[Fault]:
    """The faults that the child process would report, found in this process, as starting one takes a second."""
    with tempfile.TemporaryFile() as lines:
        outcome = unpack(io.BytesIO(content), os.dup(lines.fileno()), SMALL)
    log = FaultLog()
    log.add_all(outcome.faults, dict(outcome.counts))
    return list(log.reported)


VALUES = {"t": ["x", None], "i": [1, -2], "f": [0.5, 1.5], "b": [True, False], "l": [[1, 2], []], "s": [{"a": 1}, None]}


@pytest.mark.usefixtures("reader_without_a_process")
def test_values_are_kept_as_they_are() -> None:
    rows = read(parquet(pa.table(VALUES)), "a.parquet")
    assert [row.line for row in rows] == [1, 2]
    assert [dict(row.fields) for row in rows] == pa.table(VALUES).to_pylist()


@pytest.mark.usefixtures("reader_without_a_process")
def test_a_packed_file_is_read_too() -> None:
    packed = gzip.compress(parquet(pa.table(VALUES)))
    assert len(read(packed, "a.parquet.gz")) == 2


@pytest.mark.usefixtures("reader_without_a_process")
def test_dictionaries_of_text_are_text() -> None:
    table = pa.table({"t": pa.array(["x", "y", "x"]).dictionary_encode()})
    assert [row.fields["t"] for row in read(parquet(table), "a.parquet")] == ["x", "y", "x"]


UNSTORABLE = [
    (pa.array(["x", "a\0b"]), "NUL"),
    (pa.array([0.0, float("nan")]), "NaN"),
    (pa.array([0.0, float("inf")]), "NaN"),
    (pa.array([1, 2**63], pa.uint64()), "64 bits"),
    (pa.array([[0.0], [float("nan")]]), "NaN"),
]


@pytest.mark.parametrize(("column", "words"), UNSTORABLE)
def test_a_value_that_cannot_be_stored_is_reported_with_its_row(column: pa.Array, words: str) -> None:
    [fault] = told(parquet(pa.table({"a": column})))
    assert (fault.line, fault.field) == (2, "a")
    assert words in fault.message


def test_all_faults_of_a_file_come_back_from_the_process_that_reads_it() -> None:
    content = parquet(pa.table({str(number): column for number, (column, _) in enumerate(UNSTORABLE)}))
    assert faults_in(content, "a.parquet") == told(content)
    assert [fault.field for fault in told(content)] == [str(number) for number in range(len(UNSTORABLE))]


@pytest.mark.parametrize(
    "column",
    [pa.array([[dt.timedelta(1)]]), pa.array([b"x"]), pa.array([[b"x"]]), pa.array([dt.timedelta(1)])],
)
def test_types_that_json_does_not_have_are_refused_by_column(column: pa.Array) -> None:
    [fault] = told(parquet(pa.table({"a": column})))
    assert fault.field == "a"
    assert "are not read" in fault.message


def test_a_row_that_is_too_long_is_reported() -> None:
    [fault] = told(parquet(pa.table({"a": ["x", "y" * 2_000]})))
    assert (fault.line, fault.message) == (2, "the row has more than 1000 bytes")


def test_a_column_of_numbers_that_are_none_is_one_fault_with_its_rows() -> None:
    [fault] = told(parquet(pa.table({"a": [1.0] + [float("nan")] * 500})))
    assert (fault.line, fault.field) == (2, "a")
    assert fault.message.endswith("use null or text; likewise on 500 lines: 2, 3, 4 and 497 more")
    kept = [fault.line for fault in told(parquet(pa.table({"a": [float("nan")] * 3})))]
    assert kept == [1, 2, 3], "a few are listed one by one"


WHOLE = parquet(pa.table(VALUES))
DAMAGED = [
    (b"PAR1", "damaged"),
    (b"PAR1" + b"x" * 100 + b"PAR1", "damaged"),
    (WHOLE[:4] + b"x" * 60 + WHOLE[64:], "damaged"),
    (WHOLE[:-9], "cut off"),
    (WHOLE[: len(WHOLE) // 2], "cut off"),
    (b"PAR1" + WHOLE[4:-4] + b"PARE", "encrypted"),
    (b"PARE" + WHOLE[4:-4] + b"PARE", "encrypted"),
    (b"{}\n", "looks like JSON"),
    (b"text,q\na,b\n", "plain text"),
    (bytes(range(256)), "another format"),
    (b"", "empty"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED)
def test_a_damaged_file_is_reported_in_plain_words(content: bytes, words: str) -> None:
    [fault] = told(content)
    assert fault.message.startswith("the file is not readable as Parquet: it")
    assert words in fault.message
    for word in ("thrift", "snappy comp", "footer", "magic", "Arrow", "bytes"):
        assert word not in fault.message, "the library's words"


@pytest.mark.usefixtures("reader_without_a_process")
def test_a_small_file_that_unpacks_to_much_is_too_large() -> None:
    table = pa.table({"a": pa.array(["x" * 900]).dictionary_encode().take(pa.array([0] * 900))})
    content = parquet(table.cast(pa.schema({"a": pa.string()})))
    assert len(content) < 10_000
    with pytest.raises(PayloadTooLarge):
        read(content, "a.parquet", limits=replace(SMALL, max_bytes=100_000))


@pytest.mark.usefixtures("reader_without_a_process")
def test_more_rows_than_allowed_are_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="3 rows"):
        read(parquet(pa.table({"a": [1, 2, 3, 4]})), "a.parquet", limits=replace(SMALL, max_rows=3))


@pytest.mark.usefixtures("reader_without_a_process")
def test_dates_times_and_decimals_are_read_as_text_with_a_warning() -> None:
    noon = dt.datetime(2020, 1, 31, 12, tzinfo=dt.UTC)
    columns = {
        "day": pa.array([dt.date(2020, 1, 31), None]),
        "at": pa.array([noon, None], pa.timestamp("us", tz="UTC")),
        "local": pa.array([noon.replace(tzinfo=None), None], pa.timestamp("ns")),
        "clock": pa.array([dt.time(12, 30), None]),
        "price": pa.array([decimal.Decimal("0.10"), None], pa.decimal128(10, 2)),
        "text": ["x", "y"],
    }
    content = parquet(pa.table(columns))
    first, second = (dict(row.fields) for row in read(content, "a.parquet"))
    assert first["day"] == "2020-01-31"
    assert str(first["at"]).startswith("2020-01-31 12:00:00")
    assert str(first["local"]).startswith("2020-01-31 12:00:00")
    assert str(first["clock"]).startswith("12:30:00")
    assert first["price"] == "0.10"
    assert second == {**dict.fromkeys(columns), "text": "y"}
    told_of = [name for name in columns if any(repr(name) in message for message in assumed(content, "a.parquet"))]
    assert told_of == ["day", "at", "local", "clock", "price"]
