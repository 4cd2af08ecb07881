import gzip
import io
from dataclasses import replace

import pytest

from service.errors import PayloadTooLarge, UnsupportedFormat
from service.intake.formats import Format, Upload, detect_format
from service.intake.sources import FileSource, InlineSource
from service.jobs.checks.rows import FaultLog
from tests.unit.intake.helpers import SMALL, assumed, faults_in, read

LINES = b'{"a":1}\n{"a":2}\n'
PACKED = gzip.compress(LINES, mtime=0)  # a gzip holds its time: test ids made of it must not differ between workers


@pytest.mark.parametrize(
    ("name", "kind", "head", "expected"),
    [
        ("x.jsonl", None, b"{a", Format.JSONL),
        ("X.NDJSON.GZ", None, b"", Format.JSONL),
        ("x.csv", "application/jsonl", b"{,b", Format.CSV),
        ("../../etc/x.parquet", None, b"", Format.PARQUET),
        ("x.pq", None, b"", Format.PARQUET),
        ("x", "text/csv; charset=utf-8", b"{,b", Format.CSV),
        ("x.tsv", None, b"a", Format.TSV),
        ("x.json", None, b"[", Format.JSONL),
        ("x.csv", None, b'{"a":1}\n', Format.JSONL),
        ("x.parquet", None, b'[{"a":1}]', Format.JSONL),
        ("x.jsonl", None, b"PAR1", Format.PARQUET),
        (None, None, b"a;b\n1;2\n", Format.CSV),
        ("x.txt", "application/x-ndjson", b"", Format.JSONL),
        (None, "application/octet-stream", b"PAR1", Format.PARQUET),
        (None, None, b'\xef\xbb\xbf \n{"a":1}', Format.JSONL),
        ("blob", None, b"a,b\n1,2\n", Format.CSV),
    ],
)
def test_the_format_follows_from_the_name_or_the_content_type_or_the_first_bytes(
    name: str | None, kind: str | None, head: bytes, expected: Format
) -> None:
    assert detect_format(Upload(name, kind), head).format is expected


@pytest.mark.parametrize("head", [b"\x89PNG\r\n", b"one column\n", b"\x00\x01,\x02"])
def test_an_unknown_format_is_not_guessed(head: bytes) -> None:
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


def test_files_and_formats_have_different_digests() -> None:
    same = FileSource(io.BytesIO(LINES), Upload("a.jsonl", None), SMALL).sha256()
    assert FileSource(io.BytesIO(LINES), Upload("b.jsonl", None), SMALL).sha256() == same
    assert FileSource(io.BytesIO(LINES + b" "), Upload("a.jsonl", None), SMALL).sha256() != same
    table = b"a;b\n1;2\n"
    as_csv, as_tsv = (FileSource(io.BytesIO(table), Upload(name, None), SMALL).sha256() for name in ("a.csv", "a.tsv"))
    assert as_csv != as_tsv


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PACKED[:-9], "cut off"),
        (PACKED[:-2], "cut off"),
        (PACKED + b"x", "behind its end"),
        (PACKED[:-8] + bytes(4) + PACKED[-4:], "checksum"),
        (PACKED[:12] + b"\xff\xff" + PACKED[14:], "damaged"),
    ],
    ids=["no end", "half an end", "more after it", "another sum", "another content"],
)
def test_a_damaged_gzip_is_reported_in_plain_words(content: bytes, words: str) -> None:
    fault, *_ = faults_in(content, "a.jsonl.gz")
    assert fault.message.startswith("the gzip file ")
    assert words in fault.message


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


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"PK\x03\x04rest", "spreadsheet"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), "twice"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("a.csv", b" <!DOCTYPE html><html>", "web page"),
        ("a.parquet", b"ARROW1rest", "Arrow"),
        ("a.sqlite", b"SQLite format 3" + bytes(500), "SQLite"),
        ("a.csv", b"rows.csv".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "tar archive"),
        ("a.pkl", b"\x80\x05\x95" + bytes(500), "pickle"),
        ("a.jsonl", b"{\\rtf1 x}", "RTF"),
        ("a.jsonl", b"text,label\nx,1\n", "looks like CSV"),
        ("a.json", b"hello\nhello\n", "first line is not valid JSON"),
    ],
)
def test_a_file_of_a_format_that_is_not_read_gets_one_message_with_what_it_is(
    name: str, content: bytes, words: str
) -> None:
    with pytest.raises(UnsupportedFormat, match=words):
        read(content if content[:2] != b"\x1f\x8b" else gzip.compress(content), name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", LINES, "the file is JSON, not CSV"),
        ("a.parquet", LINES, "the file is JSON, not Parquet"),
        ("a.jsonl", LINES.decode().encode("utf-16"), "UTF-16"),
        ("a.csv", "a,b\r\n1,é\r\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_read_in_another_format_than_its_name_gets_a_warning(name: str, content: bytes, words: str) -> None:
    assert words in " ".join(assumed(content, name))


def test_a_file_that_is_what_its_name_says_assumes_nothing() -> None:
    assert assumed(LINES, "a.jsonl") == assumed(b"a,b\n1,2\n", "a.csv") == ()


def test_utf_16_comes_back_as_the_same_characters() -> None:
    text = 'text,more\n"caf\u00e9 \U0001f600\nsecond",x\n'
    for encoding in ("utf-16", "utf-16-be"):
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
        [row] = read(mark + text.encode(encoding), "a.csv")
        assert row.fields["text"] == "caf\u00e9 \U0001f600\nsecond"


@pytest.mark.parametrize("damage", [b"x", b"\x00\xd8"], ids=["half a character", "half a pair"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_utf_16_that_is_cut_off_is_reported_with_its_line(damage: bytes, name: str) -> None:
    text = "a,b\n1,2\n3,x" if name == "a.csv" else '{"a":1}\n{"a":2}\n{"a":3'
    source = FileSource(io.BytesIO(b"\xff\xfe" + text.encode("utf-16-le") + damage), Upload(name, None), SMALL)
    assert source.sha256()
    fault, *_ = faults_in(b"\xff\xfe" + text.encode("utf-16-le") + damage, name)
    assert fault.line == 3
    assert "ends in the middle of a character" in fault.message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", None])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_multibyte_encodings_without_a_mark_are_reported_once(name: str | None, encoding: str) -> None:
    [fault] = faults_in(("a,b\n" + "1,text\n" * 50).encode(encoding), name)
    assert "save it as UTF-8" in fault.message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_another_encoding_is_reported_once_with_its_likely_name(name: str) -> None:
    row = "1,caf\xe9\n" if name == "a.csv" else '{"a": "caf\xe9"}\n'
    [fault] = faults_in(("a,b\n" * (name == "a.csv") + row * 50).encode("cp1252"), name)
    assert "Windows-1252" in fault.message
    assert "'\xe9'" in fault.message
