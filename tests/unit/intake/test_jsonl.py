from dataclasses import replace

import pytest

from service.errors import PayloadTooLarge
from tests.unit.intake.helpers import SMALL, faults_in, read


def rows_of(content: bytes) -> list[tuple[int, object]]:
    return [(row.line, dict(row.fields)) for row in read(content, "a.jsonl")]


def test_each_line_is_a_row_under_its_physical_line_number() -> None:
    assert rows_of(b'{"a":1}\n\n  \r\n{"a":"x"}') == [(1, {"a": 1}), (4, {"a": "x"})]


def test_a_byte_order_mark_is_accepted_at_the_beginning_only() -> None:
    assert rows_of(b'\xef\xbb\xbf{"a":1}\n') == [(1, {"a": 1})]
    [fault] = faults_in(b'{"a":1}\n\xef\xbb\xbf{"a":1}\n', "a.jsonl")
    assert fault.line == 2


def test_values_are_kept_as_they_are() -> None:
    content = (
        '{"t":"é😀\\n","i":9223372036854775807,"n":-9223372036854775808,"f":0.1,"b":true,"z":null,"l":[1,{"a":2}]}'
    )
    expected = {
        "t": "é😀\n",
        "i": 2**63 - 1,
        "n": -(2**63),
        "f": 0.1,
        "b": True,
        "z": None,
        "l": [1, {"a": 2}],
    }
    assert rows_of(content.encode()) == [(1, expected)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":1', "the text ends, or a line breaks"),
        (b'{"a":1}{"a":2}', "write one object a line"),
        (b'{"a":1},', "a comma stands behind the object; remove it"),
        (b"{a:1}", "names of fields stand in double quotes"),
        (b'{"a":"C:\\U"}', "a backslash in a text is written twice"),
        (b'{"a":"x\ty"}', "a tab as"),
        (b'{"a":yes}', "a text without double quotes"),
        (b'\xef\xbb\xbf{"a":1}', "as where files were joined"),
        (b"{'a':1}", "in double quotes, not single ones"),
        (b'{"a":None}', "write true, false and null"),
        (b'{"a":1} // more', "no comments in JSON"),
        (b'{"a":01}', "leading zero"),
        (b'{"a":1,}', "a comma stands before a closing bracket; remove it"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b'{"a":"\xc0\xaf"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\\udc00x"}', "surrogate"),
        (b'{"a":-Infinity}', "NaN"),
        (b'{"a":1e999}', "infinity"),
        (b'{"a\\u0000":1}', "NUL"),
        (b'{"a":{"b":["\\u0000"]}}', "NUL"),
        (b'{"a":"x\x00y"}', "control character"),
        (b'{"a":9223372036854775808}', "64 bits"),
        (b'{"a":-9223372036854775809}', "64 bits"),
        (b'{"a":[123456789012345678901234567890]}', "64 bits"),
        (b'{"a":' + b"7" * 300 + b"}", "64 bits"),
        (b'{"a":' + b"7" * 900 + b"}", "infinity"),
        (b'{"a":1,"\\u0061":2}', "more than once"),
        (b'{"a":{"b":1,"b":2}}', "more than once"),
        (b'{"a":' + b'{"a":' * 70 + b"1" + b"}" * 71, "inside each other"),
        (b'{"a":"' + b"x" * 1_000 + b'"}', "more than 1000 bytes"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_reason(line: bytes, told: str) -> None:
    [fault] = faults_in(b'{"a":1}\n' + line + b'\n{"a":2}\n', "a.jsonl")
    assert fault.line == 2
    assert told in fault.message


@pytest.mark.parametrize(
    "lines",
    [
        b"{'a':1}\n" * 50,
        b'{"a":1},\n' * 50,
        b'{"a":NaN}\n' * 50,
        b"[1]\n" * 50,
        b"".join(b'{"a":%d}\n' % (10**20 + n) for n in range(50)),
        b"".join(b'{"k%d":1,"k%d":2}\n' % (n, n) for n in range(50)),
    ],
    ids=["quotes", "commas", "NaN", "lists", "integers", "keys"],
)
def test_a_mistake_in_every_line_is_told_once_with_its_first_lines(lines: bytes) -> None:
    fault, other = faults_in(b'{"a":1}\n' + lines + b'{"b":tru}\n', "a.jsonl")
    assert (fault.line, other.line) == (2, 52)
    assert fault.message.endswith("; likewise on 50 lines: 2, 3, 4 and 47 more")
    assert "likewise" not in other.message


def test_a_mistake_in_a_few_lines_is_told_for_each() -> None:
    faults = faults_in(b"{'a':1}\n" * 3 + b'{"a":1},\n', "a.jsonl")
    assert [fault.line for fault in faults] == [1, 2, 3, 4]


def test_a_number_that_is_none_is_reported_with_its_field() -> None:
    [fault] = faults_in(b'{"a":1,"the score":NaN}\n', "a.jsonl")
    assert fault.message == "the field 'the score' is NaN; NaN and Infinity are not JSON; write null or text"


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":"\\\\u0000"}',  # a backslash and five characters, no NUL
        b'{"a":"say \\"b\\": yes, and \\"b\\": no"}',  # looks like a repeated key, but is text
        b'{"a":"12345678901234567890123"}',  # digits in text
        b'{"a":[[[[]]]],"b":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
        b'{"a":0.30000000000000000001}',  # a float may be written longer than it is kept
        b'{"a":"\\ud83d\\ude00"}',  # a whole surrogate pair
        b'{"":1}',
    ],
)
def test_unusual_but_valid_lines_are_read(line: bytes) -> None:
    assert len(rows_of(line)) == 1


def test_every_bad_row_is_reported_not_only_the_first() -> None:
    faults = faults_in(b'{"a":1}\n[1]\n{"a":2}\nx\n{"a":NaN}\n', "a.jsonl")
    assert [fault.line for fault in faults] == [2, 4, 5]


def test_a_line_without_end_is_skipped_without_being_held() -> None:
    faults = faults_in(b'{"a":"' + b"x" * 500_000 + b'"}\n[]\n', "a.jsonl")
    assert [fault.line for fault in faults] == [1, 2]


def test_a_row_of_exactly_the_allowed_size_is_read() -> None:
    line = b'{"a":"' + b"x" * (SMALL.max_row_bytes - 8) + b'"}'
    assert len(line) == SMALL.max_row_bytes
    assert len(rows_of(line + b"\r\n")) == 1


def test_more_rows_than_allowed_are_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="3 rows"):
        read(b'{"a":1}\n' * 4, "a.jsonl", limits=replace(SMALL, max_rows=3))


def test_more_bytes_than_allowed_are_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="100 bytes"):
        read(b"\n" * 101, "a.jsonl", limits=replace(SMALL, max_bytes=100))


def test_a_utf16_file_is_read() -> None:
    assert [row.line for row in read('{"a":1}\n{"a":2}\n'.encode("utf-16"), "a.jsonl")] == [1, 2]


def test_lines_that_end_with_a_carriage_return_alone_are_lines() -> None:
    assert [row.line for row in read(b'{"a":1}\r{"a":2}\r', "a.jsonl")] == [1, 2]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_blank_lines_count_as_rows(name: str, line: bytes) -> None:
    head = b"a,b\n1,2\n" if name == "a.csv" else b'{"a":1}\n'
    assert len(read(head + line * 2, name, limits=replace(SMALL, max_rows=3))) == 1
    with pytest.raises(PayloadTooLarge, match=r"more than 3 rows, 3 blank lines among them.*ICM_UPLOAD__MAX_ROWS"):
        read(head + line * 3, name, limits=replace(SMALL, max_rows=3))


@pytest.mark.parametrize("character", ["\xe9", "\u2014", "\U0001f600"])
def test_a_file_that_ends_within_a_character_is_cut_off(character: str) -> None:
    content = f'{{"a":1}}\n{{"a":"caf{character}'.encode()[:-1]
    [fault] = faults_in(content, "a.jsonl")
    assert (fault.line, fault.message) == (2, "the text ends in the middle of a character; is the file cut off?")
