import gzip
import io
import re
from dataclasses import replace

import pytest

from service.errors import PayloadTooLarge, UnsupportedFormat
from service.intake.formats import Format, Upload, detect_format
from service.intake.sources import FileSource, InlineSource
from service.intake.text.foreign import foreign_text
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
    bomb = gzip.compress(b'{"a":1}\n' * 2_000)
    with pytest.raises(PayloadTooLarge, match="more than 10000 bytes unpacked"):
        read(bomb, "a.jsonl.gz", limits=replace(SMALL, max_rows=10**9, max_bytes=10_000))


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
    limits = replace(SMALL, max_bytes=10**9, max_row_bytes=10**6, max_ratio=200)
    bomb = gzip.compress((b'{"a":"' + b"x" * 900_000 + b'"}\n') * 12)
    with pytest.raises(PayloadTooLarge, match="honestly"):
        read(bomb, "a.jsonl.gz", limits=limits)
    assert len(read(bomb, "a.jsonl.gz", limits=replace(limits, max_ratio=1_100))) == 12


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
        (
            "a.jsonl",
            b'"Snow is white."\n"Grass is blue, or green."\n',
            "is a text or number alone; each row must be an obj",
        ),
        ("a.json", b"5\n", "is a text or number alone"),
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
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_multibyte_encodings_without_a_mark_are_reported_once(name: str | None, encoding: str) -> None:
    [fault] = faults_in(("a,b\n" + "1,text\n" * 50).encode(encoding), name)
    assert "save it as UTF-8" in fault.message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_another_encoding_is_reported_once_with_its_likely_name(name: str) -> None:
    row = "1,caf\xe9\n" if name == "a.csv" else '{"a": "caf\xe9"}\n'
    [fault] = faults_in(("a,b\n" * (name == "a.csv") + row * 50).encode("cp1252"), name)
    assert "Windows-1252" in fault.message
    assert "'\xe9'" in fault.message


FOREIGN = [
    ("a.sql", b"-- MySQL dump 10.13\n--\nCREATE TABLE `t` (\n id int);\nINSERT INTO t VALUES (1,'a');", "SQL"),
    ("a.csv", b"/*!40101 SET NAMES utf8 */;\nINSERT INTO t (a, b) VALUES (1,'a');\n", "SQL"),
    (None, b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n", "SQL"),
    (None, b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "SQL"),
    ("a.yaml", b"- text: foo, bar\n  q: x\n- text: y\n", "YAML"),
    ("a.yml", b"---\n- text: foo\n", "YAML"),
    ("a.jsonl", b"rows:\n  - text: foo\n", "YAML"),
    ("a.xml", b"<rows>\n<row><text>a, b</text></row>\n</rows>", "XML"),
    ("a.csv", b'<?xml version="1.0"?>\n<rows/>', "XML"),
    ("a.csv", b"<table><tr><td>a, b</td></tr></table>", "HTML"),
    (
        "a.xls",
        b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
        "spreadsheet in XML",
    ),
    ("a.xls", b'<html xmlns:x="urn:schemas-microsoft-com:office:excel"><table>', "spreadsheet in XML or HTML"),
    ("a.md", b"| text | q |\n|---|---|\n| a | b |\n", "Markdown"),
    ("a.csv", b"# Title\n\ntext | q\n:--|--:\na | b\n", "Markdown"),
    ("a.txt", b" id | text\n----+------\n 1 | a\n", "as a database prints it"),
    ("a.csv", b"+----+------+\n| id | text |\n+----+------+\n", "as a database prints it"),
    ("a.txt", b"id   text             label\n1    The sun is hot   True\n", "fixed width"),
    ("a.txt", b"The sun is hot\nThe moon is cold\n", "put the line 'text' above them"),
    ("a.json", b'const data = [{"a":1}]', "code"),
    ("a.csv", b"rows = [{'a':1}]\n", "code"),
    ("a.json", b'callback([{"a":1}])', "code"),
    ("a.toml", b'[[rows]]\ntext = "a"\n', "TOML"),
    ("a.arff", b"% c\n@RELATION x\n@DATA\n1,2\n", "ARFF"),
]


@pytest.mark.parametrize(("name", "content", "words"), FOREIGN)
def test_a_text_in_a_format_that_is_not_read_gets_one_message_with_what_it_looks_like(
    name: str | None, content: bytes, words: str
) -> None:
    for sent in (content, b"\xef\xbb\xbf" + content, b"\xff\xfe" + content.decode().encode("utf-16-le")):
        with pytest.raises(UnsupportedFormat, match=words):
            read(sent, name)


@pytest.mark.parametrize(
    "header",
    [
        "set,text",
        "begin;end",
        "<DATE>,<TIME>",
        "<DATE>\t<TIME>",
        "-,text",
        "note: x,b",
        "f(x),y",
        "a = [b],c",
        "<p>one</p>,two",
        "create,table",
        "select,from",
        "--,b",
        "a|b",
        "@relation to,b",
        "#,text",
    ],
)
def test_odd_names_of_columns_are_no_other_format(header: str) -> None:
    row = re.sub(r"[^,;|\t]+", "1", header)
    assert len(read(f"{header}\n{row}\n".encode(), "a.csv")) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"/* */" * 819,
        b"|" * 4096,
        b"#|\n" * 1365,
        b"-" + b" " * 4000 + b":",
        b"<a " * 1365,
        b"--|" * 1365,
        b"-- a\n" * 800,
    ],
    ids=["comments", "bars", "headings", "blanks", "tags", "dashes", "lines"],
)
@pytest.mark.timeout(10)
def test_a_beginning_made_to_take_long_takes_no_time(content: bytes) -> None:
    for _ in range(20):
        assert foreign_text(content) is None


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.jsonl", b'\x1e{"a":1}\n\x1e{"a":2}\n', [1, 2]),
        (None, b'\x1e{"a":1}\n\x1e{"a":2}\n', [1, 2]),
        ("a.csv", b'\x1e{"a":1}\n\x1e{"a":2}\n', [1, 2]),
        ("a.json-seq", b'\xef\xbb\xbf\x1e{\n"a":1}\n\x1e{\n"a":2}\n', [1, 3]),
        ("a.json", '\x1e{"a":1}\n\x1e{"a":2}\n'.encode("utf-16"), [1, 2]),
        ("a.json", b'\x1e{"a":1}\x1e{"a":2}', [1, 1]),
    ],
)
def test_a_json_text_sequence_is_read(name: str | None, content: bytes, lines: list[int]) -> None:
    rows = read(content, name)
    assert [row.line for row in rows] == lines
    assert [row.fields for row in rows] == [{"a": 1}, {"a": 2}]
    assert "RFC 7464" in " ".join(assumed(content, name))


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_rare_line_ends_are_read_where_there_are_no_usual_ones(end: str) -> None:
    as_csv = f'text,q{end}1,"x{end}y"{end}2,\xe9{end}'.encode()
    assert [(row.line, row.fields["q"]) for row in read(as_csv, "a.csv")] == [(2, f"x{end}y"), (4, "\xe9")]
    as_json = f'{{"a":1}}{end}{{"a":2}} {end}{end}{{"a":3}}'.encode()
    assert [(row.line, row.fields["a"]) for row in read(as_json, "a.jsonl")] == [(1, 1), (2, 2), (4, 3)]
    for content, name in ((as_csv, "a.csv"), (as_csv, None), (as_json, "a.jsonl")):
        [told] = assumed(content, name)
        assert f"U+{ord(end):04X}" in told


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_rare_line_ends_within_texts_are_text(end: str) -> None:
    assert [row.fields for row in read(f'{{"a":"x{end}y"}}'.encode(), "a.jsonl")] == [{"a": f"x{end}y"}]
    assert [row.fields for row in read(f"a,b\nx{end}y,1\n".encode(), "a.csv")] == [{"a": f"x{end}y", "b": "1"}]
    [row] = read(f"# a{end}# b\ntext,q\nx,1\n".encode(), "a.csv")
    assert row.fields == {"text": "x", "q": "1"}, "a comment is one line"


def test_line_ends_of_two_kinds_are_reported() -> None:
    content = ("a,b\x85" + "1,x\x85" * 30_000 + "3,x\n4,y").encode()
    [fault] = faults_in(content, "a.csv", limits=replace(SMALL, max_rows=40_000))
    assert "lines end in two ways" in fault.message
