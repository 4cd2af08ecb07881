import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import PayloadTooLarge
from tests.unit.intake.helpers import SMALL, faults_in, read

ROWS = [{"a": 1, "b": 'x ] } , \\" {'}, {"a": [{"c": [1, "]"]}, None]}, {"a": {}}]
INDENTED = json.dumps(ROWS, indent=2).encode()


def rows_of(content: bytes, name: str | None = "a.json") -> list[object]:
    return [dict(row.fields) for row in read(content, name)]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", None])
@pytest.mark.parametrize(
    "content",
    [
        INDENTED,
        json.dumps(ROWS).encode(),
        b"\xef\xbb\xbf\r\n " + INDENTED.replace(b"\n", b"\r\n") + b"\n\n",
        "\n".join(json.dumps(row, indent=2) for row in ROWS).encode() + b"\n",
    ],
    ids=["indented", "one line", "mark and windows lines", "objects behind each other"],
)
def test_a_list_and_objects_over_several_lines_are_read_under_any_name(content: bytes, name: str | None) -> None:
    if name == "a.csv" and not content.startswith(b"["):
        name = "a.ndjson"
    assert rows_of(content, name) == ROWS


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine drawing takes seconds
@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
            st.recursive(
                st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from(['"', "\\\\", "]", "{"]),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=5,
            ),
            max_size=4,
        ),
        max_size=8,
    ),
    st.sampled_from([None, 0, 3]),
)
def test_whatever_the_json_module_writes_comes_back(rows: list[dict[str, object]], indent: int | None) -> None:
    assert rows_of(json.dumps(rows, indent=indent).encode()) == rows


def test_an_object_is_reported_by_the_line_where_it_begins() -> None:
    content = b'[\n {"a": 1},\n {\n  "a": NaN\n },\n {"a": 1, "a": 2}\n]'
    assert [(fault.line, fault.message.split(":")[0]) for fault in faults_in(content, "a.json")] == [
        (3, "in the object that begins here"),
        (6, "in the object that begins here"),
    ]


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        (b'[{"a":1}\n{"a":2}]', 2, "no comma"),
        (b'[{"a":1},\n]', 2, "a comma stands before the ']'"),
        (b'[,{"a":1}]', 1, "out of place"),
        (b'[{"a":1}', 1, "without ']'"),
        (b'[{"a":1}\n,{"a":[1', 2, "has no end"),
        (b"[1, 2]", 1, "other than objects"),
        (b'[{"a":1}, 5]', 1, "other than objects"),
        (b'[[{"a":1}]]', 1, "other than objects"),
        (b'[{"a":1}] {"a":1}', 1, "behind the end"),
        (b'{\n"a":1}\n,\n{"a":1}', 3, "out of place"),
    ],
)
def test_text_between_objects_is_reported_once(content: bytes, line: int, told: str) -> None:
    [fault] = faults_in(content, "a.json")
    assert fault.line == line
    assert told in fault.message
    assert fault.message.startswith("not valid JSON") == ("other than objects" not in told), "a list of texts is valid"


def test_a_list_without_rows_has_none() -> None:
    assert rows_of(b" [ ] ") == []


def test_an_object_that_is_too_long_does_not_hide_the_others() -> None:
    long = json.dumps([{"a": 1}, {"a": "x" * 200_000}, {"a": 2}, {"a": "\\" * 70_000}]).encode()
    limits = replace(SMALL, max_row_bytes=1_000)
    assert len(faults_in(long, "a.json", limits=limits)) == 2


def test_long_lists_keep_within_the_limits() -> None:
    content = json.dumps([{"a": number} for number in range(1_001)]).encode()
    with pytest.raises(PayloadTooLarge, match="1000 rows"):
        read(content, "a.json")
    assert len(read(content, "a.json", limits=replace(SMALL, max_rows=1_001))) == 1_001
    with pytest.raises(PayloadTooLarge, match="unpacked"):
        read(content, "a.json", limits=replace(SMALL, max_rows=2_000, max_bytes=10_000))
