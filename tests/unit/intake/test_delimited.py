import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.intake.helpers import faults_in, read


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
    assert rows_of(b"\xef\xbb\xbfa,b\n1,2\n") == [(2, {"a": "1", "b": "2"})]


def test_a_fault_behind_quoted_line_breaks_names_its_physical_line() -> None:
    [fault] = faults_in(b'a,b\n"1\n2\n3",x\nonly one\n', "a.csv")
    assert (fault.line, fault.message) == (5, "the row has 1 cells, the header 2")


@pytest.mark.parametrize(
    ("content", "line", "field", "told"),
    [
        (b"a,a\n1,2\n", 1, "a", "2 times"),
        (b"a,b\n1,2,3\n", 2, None, "3 cells"),
        (b'a,b\n1,"2"x\n', 2, None, "not read"),
        (b'a,b\n1,2\n3,"open\nand on\n', 3, None, "not read"),
        (b"a,b\n1,\xff\n", 2, "b", "UTF-8"),
        (b"a,b\n1,x\x00y\n", 2, "b", "NUL"),
        (b"a,b\xff\n1,2\n", 1, None, "UTF-8"),
        (b"a,b\n1," + b"x" * 1_000 + b"\n", 2, None, "more than 1000 bytes"),
        (b"a,b\n1," + b"x" * 10_000 + b"\n", 2, None, "not read"),
        (b'a,b\n1,"' + b"x\n" * 10_000, 2, None, "not read"),
    ],
)
def test_a_bad_record_is_told_with_line_and_field(content: bytes, line: int, field: str | None, told: str) -> None:
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
