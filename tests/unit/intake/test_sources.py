import gzip
import io
from dataclasses import replace

import pytest

from service.errors import PayloadTooLarge, UnsupportedFormat
from service.intake.formats import Format, Upload, detect_format
from service.intake.sources import FileSource, InlineSource
from service.jobs.rows import FaultLog
from tests.unit.intake.helpers import SMALL, faults_in, read

LINES = b'{"a":1}\n{"a":2}\n'
PACKED = gzip.compress(LINES, mtime=0)  # a gzip holds its time: test ids made of it must not differ between workers


@pytest.mark.parametrize(
    ("name", "kind", "head", "expected"),
    [
        ("x.jsonl", None, b"a,b", Format.JSONL),
        ("X.NDJSON.GZ", None, b"", Format.JSONL),
        ("x.csv", "application/jsonl", b"{", Format.CSV),
        ("../../etc/x.parquet", None, b"", Format.PARQUET),
        ("x.pq", None, b"", Format.PARQUET),
        ("x", "text/csv; charset=utf-8", b"{", Format.CSV),
        ("x.txt", "application/x-ndjson", b"", Format.JSONL),
        (None, "application/octet-stream", b"PAR1", Format.PARQUET),
        (None, None, b'\xef\xbb\xbf \n{"a":1}', Format.JSONL),
        ("blob", None, b"a,b\n1,2\n", Format.CSV),
    ],
)
def test_the_name_tells_the_format_else_the_content_type_else_the_first_bytes(
    name: str | None, kind: str | None, head: bytes, expected: Format
) -> None:
    assert detect_format(Upload(name, kind), head) is expected


@pytest.mark.parametrize("head", [b"[{}]", b"\x89PNG\r\n", b"one column\n", b"\x00\x01,\x02"])
def test_what_is_not_recognized_is_not_guessed(head: bytes) -> None:
    with pytest.raises(UnsupportedFormat):
        detect_format(Upload("x", None), head)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl", "a", None])
def test_gzip_is_known_by_its_first_bytes(name: str | None) -> None:
    assert len(read(gzip.compress(LINES), name)) == 2


def test_a_file_can_be_read_again_and_stays_open() -> None:
    file = io.BytesIO(gzip.compress(LINES))
    source = FileSource(file, Upload("a.jsonl", None), SMALL)
    first = [row.fields for row in source.rows(FaultLog(1))]
    assert [row.fields for row in source.rows(FaultLog(1))] == first
    assert source.sha256() == source.sha256()
    assert not file.closed


def test_the_digest_tells_files_and_their_formats_apart() -> None:
    same = FileSource(io.BytesIO(LINES), Upload("a.jsonl", None), SMALL).sha256()
    assert FileSource(io.BytesIO(LINES), Upload("b.jsonl", None), SMALL).sha256() == same
    assert FileSource(io.BytesIO(LINES + b" "), Upload("a.jsonl", None), SMALL).sha256() != same
    assert FileSource(io.BytesIO(LINES), Upload("a.csv", None), SMALL).sha256() != same


@pytest.mark.parametrize(
    "content", [PACKED[:-9], PACKED[:-2], PACKED + b"x"], ids=["no end", "half an end", "more after it"]
)
def test_a_damaged_gzip_is_told(content: bytes) -> None:
    [fault] = faults_in(content, "a.jsonl.gz")
    assert "gzip" in fault.message


def test_a_gzip_bomb_is_too_large() -> None:
    bomb = gzip.compress(b'{"a":1}\n' * 1_000_000)
    with pytest.raises(PayloadTooLarge, match="unpacked"):
        read(bomb, "a.jsonl.gz", limits=replace(SMALL, max_rows=10**9))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", None])
def test_an_empty_file_has_no_rows_and_no_format(name: str | None) -> None:
    assert read(b"", name) == []


def test_inline_examples_are_counted_from_one() -> None:
    faults = FaultLog(10)
    rows = list(InlineSource([{"a": 1}, 5, {"a": "x" * 2_000}, {"a": 2}], SMALL).rows(faults))
    assert [(row.line, row.fields["a"]) for row in rows] == [(1, 1), (4, 2)]
    assert len(faults) == 2


def test_too_many_inline_examples_are_too_large() -> None:
    with pytest.raises(PayloadTooLarge):
        list(InlineSource([{}] * 2, replace(SMALL, max_rows=1)).rows(FaultLog(1)))


def test_a_file_that_unpacks_to_hundreds_of_times_its_size_is_too_large() -> None:
    limits = replace(SMALL, max_bytes=10**9, max_rows=10**9, max_ratio=200)
    bomb = gzip.compress((b'{"a":"' + b"x" * 900 + b'"}\n') * 12_000)
    with pytest.raises(PayloadTooLarge, match="honestly"):
        read(bomb, "a.jsonl.gz", limits=limits)
    assert len(read(bomb, "a.jsonl.gz", limits=replace(limits, max_ratio=1_000))) == 12_000


def test_the_ratio_does_not_matter_for_small_files_and_is_no_leave_to_send_more() -> None:
    limits = replace(SMALL, max_bytes=10**9, max_ratio=200)
    assert limits.for_file(1).max_bytes == 10_000_000
    assert limits.for_file(100_000).max_bytes == 20_000_000
    assert limits.for_file(10**8) == limits
