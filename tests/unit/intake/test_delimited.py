import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.intake.formats import Upload
from service.intake.sources import FileSource
from service.jobs.checks.rows import FaultLog
from tests.unit.intake.helpers import SMALL, assumed, faults_in, read


def rows_of(content: bytes) -> list[tuple[int, object]]:
    return [(row.line, dict(row.fields)) for row in read(content, "a.csv")]


def test_every_cell_is_text_under_its_header() -> None:
    assert rows_of(b"a,b\n1,x\ntrue,\n") == [(2, {"a": "1", "b": "x"}), (3, {"a": "true", "b": ""})]


def test_line_breaks_inside_quotes_count_as_lines() -> None:
    content = b'a,b\n"one\ntwo\n\nthree",x\n\n"say ""hi""",y\r\nlast,"z\r\n"\n'
    assert rows_of(content) == [
        (2, {"a": "one\ntwo\n\nthree", "b": "x"}),
        (7, {"a": 'say "hi"', "b": "y"}),
        (8, {"a": "last", "b": "z\r\n"}),
    ]


def test_a_byte_order_mark_is_not_part_of_the_first_name() -> None:
    for header in (b"a,b", b'"a","b"'):
        assert rows_of(b"\xef\xbb\xbf" + header + b"\n1,2\n") == [(2, {"a": "1", "b": "2"})]


def test_blank_lines_before_the_header_are_skipped() -> None:
    assert rows_of(b"\r\n\na,b\n\n1,2\n") == [(5, {"a": "1", "b": "2"})]


@pytest.mark.parametrize(
    ("header", "is_doubtful"),
    [
        ("0.5,fine", True),
        ("id-7,-3", True),
        ('id,"a film that I liked a lot, really"', True),
        ("0,1,2", False),
        ("id,text", False),
        ("Is the claim true?,score", False),
        ("Survey 2024,,", True),
        ("id   text             label", True),
        ("the text", False),
    ],
)
def test_a_header_that_reads_like_a_row_is_doubted(header: str, is_doubtful: bool) -> None:
    faults = FaultLog(9)
    with FileSource(io.BytesIO(f"{header}\n".encode()), Upload("a.csv", None), SMALL) as source:
        list(source.rows(faults))
    assert (faults.doubt_about_names is not None) is is_doubtful
    assert len(faults) == 0


def test_a_fault_behind_quoted_line_breaks_names_its_physical_line() -> None:
    [fault] = faults_in(b'a,b\n"1\n2\n3",x\nonly one\n', "a.csv")
    assert (fault.line, fault.message) == (5, "the row has 1 cell, the header 2")


@pytest.mark.parametrize(
    ("content", "line", "field", "told"),
    [
        (b"a,a\n1,2\n", 1, "a", "2 times"),
        (b"1,1,a film\n2,3,b\n", 1, None, "reads like a row ('1', '1', 'a film'); put a line with names before it"),
        (b",,\n1,2,3\n", 1, None, "the first line is blank"),
        (b"a,b\n1,2,3\n", 2, None, "3 cells"),
        (b"a,b\n1,2\na,b\n3,4\n", 3, None, "the row repeats the names of the columns"),
        (b"a,\n1,2\na,\n3,4\n", 3, None, "the row repeats the names of the columns"),
        (b'a,b\n1,"2"x\n', 2, None, "not read"),
        (b'a,b\n1,2\n3,"open\nand on\n', 3, None, "not read"),
        (b"a,b\n1,\xff\n", 2, "b", "UTF-8"),
        (b"a,b\n1,x\x00y\n", 2, "b", "NUL"),
        (b"a,b\xff\n1,2\n", 1, None, "UTF-8"),
        (b"a,b\x00\n1,2\n", 1, None, "NUL"),
        (b"a,b\n1," + b"x" * 1_000 + b"\n", 2, None, "more than 1000 bytes"),
        (b"a,b\n1," + b"x" * 10_000 + b"\n", 2, None, "not read"),
        (b'a,b\n1,"' + b"x\n" * 10_000, 2, None, "not read"),
    ],
)
def test_a_bad_record_is_reported_with_line_and_field(content: bytes, line: int, field: str | None, told: str) -> None:
    [fault] = faults_in(content, "a.csv")
    assert (fault.line, fault.field) == (line, field)
    assert told in fault.message


def test_a_record_that_is_somewhat_too_long_does_not_hide_the_faults_behind_it() -> None:
    faults = faults_in(b"a,b\n1," + b"x" * 1_500 + b"\n1\n", "a.csv")
    assert [fault.line for fault in faults] == [2, 3]


CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=10))
def test_whatever_the_csv_module_writes_comes_back(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    read_back = [tuple(row.fields.values()) for row in read(text.getvalue().encode(), "a.csv")]
    assert read_back == rows


AS_WRITTEN = [{"q": "a, b", "n": "1,5"}, {"q": 'say "hi"', "n": ""}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b'q;n\na, b;1,5\n"say ""hi""";\n', "semicolons, not commas"),
        ("a.csv", b'q\tn\na, b\t1,5\n"say ""hi"""\t\n', "tabs, not commas"),
        ("a.csv", b'q|n\na, b|1,5\n"say ""hi"""|\n', "vertical bars"),
        ("a.csv", b'\xef\xbb\xbfsep=;\r\nq;n\r\na, b;1,5\r\n"say ""hi""";\r\n', "sep=;"),
        ("a.csv", b'sep=\t\nq\tn\na, b\t1,5\n"say ""hi"""\t\n', "tabs"),
        ("a.csv", b'q,n\r"a, b","1,5"\r"say ""hi""",\r', "carriage return"),
        ("a.csv", b'q;n\ra, b;1,5\r"say ""hi""";', "semicolons"),
        ("a.tsv", b'q,n\n"a, b","1,5"\n"say ""hi""",\n', "commas, not tabs"),
        ("a.tsv", b'q\tn\na, b\t1,5\n"say ""hi"""\t\n', ""),
        (None, b'q\tn\na, b\t1,5\n"say ""hi"""\t\n', "tabs"),
    ],
)
def test_separators_of_cells_and_lines_are_detected_with_a_warning(
    name: str | None, content: bytes, words: str
) -> None:
    assert [row.fields for row in read(content, name)] == AS_WRITTEN
    assert words in " ".join(assumed(content, name))


@pytest.mark.parametrize(
    "content",
    [
        b"text\na;b\nc\n",
        b'"a;b",c\nx;y,z\n',
        b"a,b;c\n1,x\n2,y;z\n",
        b"text\nx\n",
    ],
)
def test_commas_separate_cells_by_default(content: bytes) -> None:
    assert assumed(content, "a.csv") == ()


def test_a_header_of_semicolons_over_rows_that_do_not_fit_is_reported_once() -> None:
    content = b"a;b\n1;2\n" + b"one, two; three; four\n" * 50
    [fault] = faults_in(content, "a.csv")
    assert fault.line == 3
    assert "semicolons (2 cells)" in fault.message


@pytest.mark.parametrize(
    ("above", "told"),
    [
        (b"# exported on Monday\n", "the first line is a comment that begins with #, and was skipped"),
        (
            b"#exported, on Monday, by me\n# rows: 2\n\n",
            "the first 3 lines are comments that begin with #, and were skipped",
        ),
        (b"\xef\xbb\xbf# a;b;c\r\n", "the first line is a comment that begins with #, and was skipped"),
    ],
)
@pytest.mark.parametrize("rows", [b'q,n\n"a, b","1,5"\n"say ""hi""",\n', b'q;n\na, b;1,5\n"say ""hi""";\n'])
def test_comments_above_the_names_are_skipped_and_said(above: bytes, told: str, rows: bytes) -> None:
    assert [row.fields for row in read(above + rows, "a.csv")] == AS_WRITTEN
    assert told in " ".join(assumed(above + rows, "a.csv"))


def test_lines_count_below_skipped_comments() -> None:
    [fault] = faults_in(b"# one\n# two\nq,n\n" + b"a,b\n" * 120 + b"a\n", "a.csv")
    assert fault.line == 124


@pytest.mark.parametrize("content", [b"#,q\n1,a\n2,b\n", b"# q\na\nb\n", b"# q,n\na,b\n"])
def test_a_first_line_with_a_cell_for_each_column_names_them_whatever_it_begins_with(content: bytes) -> None:
    assert len(list(read(content, "a.csv"))) == content.count(b"\n") - 1
    assert assumed(content, "a.csv") == ()


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        (b"Survey of May\nq,n\n" + b"a,b\n" * 50, "has 1 cell, and rows have 2, separated by commas"),
        (b"Survey, of May\nq,n,m\n" + b"a,b,c\n" * 50, "has 2 cells, and rows have 3, separated by commas"),
        (b"Survey\nof May\n\nq,n\n" + b"a,b\n" * 50, "has 1 cell, and rows have 2, separated by commas"),
        (b"Survey; of May\nq,n\n" + b"a,b\n" * 50, "has 1 cell, and rows have 2, separated by commas"),
        (b"q\n" + b"hello, you\n" * 50, "put cells that hold commas in quotes"),
    ],
)
def test_a_title_above_the_names_is_one_fault(content: bytes, cells: str) -> None:
    [fault] = faults_in(content, "a.csv")
    assert fault.line == 1
    assert cells in fault.message


def test_a_line_break_of_old_macs_stays_in_a_quoted_cell() -> None:
    assert [row.fields for row in read(b'a,b\r1,"x\ry"\r', "a.csv")] == [{"a": "1", "b": "x\ry"}]


def test_lines_count_behind_the_line_that_names_the_separator() -> None:
    [fault] = faults_in(b"sep=;\na;b\n1\n", "a.csv")
    assert (fault.line, fault.message) == (3, "the row has 1 cell, the header 2")


def test_a_long_line_that_ends_with_a_carriage_return_does_not_hide_the_next() -> None:
    content = b"a,b\r1," + b"x" * 1_500 + b"\r2,ok\r3\r"
    assert [fault.line for fault in faults_in(content, "a.csv")] == [2, 4]


def test_a_carriage_return_within_a_line_is_reported_in_plain_words() -> None:
    [fault] = faults_in(b"a,b\n1,x\ry\n", "a.csv")
    assert fault.line == 2
    assert "carriage return" in fault.message
    assert "newline" not in fault.message


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b",text\n0,x\n", ["unnamed_1", "text"]),
        (b"text,,\nx,,\n", ["text", "unnamed_2", "unnamed_3"]),
        (b"unnamed_2, \nx,y\n", ["unnamed_2", "unnamed_2_"]),
    ],
)
def test_a_column_without_a_name_is_named_by_its_number_with_a_warning(content: bytes, columns: list[str]) -> None:
    [row] = read(content, "a.csv")
    assert list(row.fields) == columns
    assert "no name" in " ".join(assumed(content, "a.csv"))
