from typing import Any

import pytest

from service.jobs.checks.rows import FaultLog, SourceRow
from service.jobs.checks.survey import _Surveyor
from tests.support.sources import config, faults_of, survey

TASK = config("{q} is", id_field="id", gold_field="gold").task
PLAIN = config("{q} is").task


def test_columns_stand_in_the_order_in_which_they_first_appear() -> None:
    assert survey(PLAIN, {"b": 1, "q": 2}, {"q": 3, "a": 4}).columns == ("b", "q", "a")


def test_sizes_are_bytes_of_text_longest_label_and_separator() -> None:
    assert list(survey(PLAIN, {"q": "é"}).demonstration_bytes) == [len("é is False\n\n".encode())]


@pytest.mark.parametrize(
    ("row", "field", "told"),
    [
        ({"id": "x"}, "q", "missing"),
        ({"id": "x", "q": None}, "q", "null"),
        ({"id": "x", "q": ["a"]}, "q", "list or an object"),
        ({"id": "x", "q": " \t"}, "q", "blank"),
        ({"id": "x", "q": "\ufeff"}, "q", "blank"),
        ({"q": "a", "id": " "}, "id", "id is missing"),
        ({"q": "a", "id": {}}, "id", "id is missing"),
        ({"q": "a", "id": "1"}, "id", "used before, on line 1"),
        ({"q": "a", "id": "x" * 501}, "id", "500 characters"),
        ({"q": "a", "id": "x", "gold": [1]}, "gold", "gold must be"),
        ({"q": "a", "id": "x", "icm_label": "True"}, "icm_label", "reserved"),
        ({"q": "a", "id": "x", " ": 1}, None, "cannot be the name"),
        ({"q": "a", "id": "x", "a\0": 1}, None, "cannot be the name"),
    ],
)
def test_a_bad_row_is_reported_with_line_and_field(row: dict[str, object], field: str | None, told: str) -> None:
    [fault] = faults_of(TASK, {"id": 1, "q": "first", "gold": True}, row)
    assert fault[:2] == (2, field)
    assert told in fault[2]


def test_all_faults_of_a_row_are_reported() -> None:
    assert {field for _, field, _ in faults_of(TASK, {"id": 1, "q": "x", "gold": 1}, {"gold": {}})} == {
        "q",
        "id",
        "gold",
    }


def test_a_row_is_refused_where_all_fields_of_the_template_are_blank_and_one_of_several_may_be() -> None:
    rows = [{"a": "", "b": "x"}, {"a": " ", "b": ""}, {"a": 0, "b": ""}]
    [fault] = faults_of(config("{a}: {b} is").task, *rows)
    assert fault[:2] == (2, "a")
    assert "['a', 'b']" in fault[2]


def test_ids_are_compared_as_text() -> None:
    assert len(faults_of(TASK, {"id": 1, "q": "x", "gold": 0}, {"id": "1", "q": "y"})) == 1


def test_a_missing_field_is_reported_once() -> None:
    [fault] = faults_of(PLAIN, *({"other": number} for number in range(50)))
    assert fault == (None, "q", "no row has the field 'q', which task.template names; there are: 'other'")


def test_a_missing_field_of_a_relation_is_reported_too() -> None:
    task = config("{q}", relations=[{"kind": "same_label", "group": ["q", "g"]}]).task
    assert [fault[:2] for fault in faults_of(task, {"q": 1})] == [(None, "g")]


def test_a_data_set_without_rows_is_a_fault() -> None:
    assert [message for *_, message in faults_of(PLAIN)] == ["the data set has no rows"]


def test_beyond_the_limit_faults_are_counted() -> None:
    first = {"id": 0, "q": "x", "gold": 1}
    faults = faults_of(TASK, first, *({"id": n, "q": "x", f"c{n}" + "x" * 500: 1} for n in range(1, 121)))
    assert [line for line, *_ in faults] == [2]
    task = config("{q}", known_field="sure").task
    faults = faults_of(task, *({"q": "x", "sure": f"label {n}"} for n in range(1, 121)))
    assert [line for line, *_ in faults] == [*range(1, 101), None], "different values are different causes"
    assert faults[-1][2] == "and 20 more"


@pytest.mark.parametrize(
    "row",
    [
        {"id": 0, "q": "x"},
        {"id": 1, "q": None},
        {"id": 1},
        {"id": None, "q": "x"},
        {"id": 1, "q": "x", "gold": {}},
    ],
)
def test_a_cause_that_many_rows_share_is_told_once_with_its_first_lines(row: dict[str, object]) -> None:
    rows = ({**row, "id": row["id"] and n} for n in range(1, 1_001))
    [(line, field, message)] = faults_of(TASK, {"id": 0, "q": "x", "gold": 1}, *rows)
    assert (line, field is not None) == (2, True)
    assert message.endswith("; likewise on 1000 lines: 2, 3, 4 and 997 more")


def test_more_columns_than_a_table_should_have_are_a_fault() -> None:
    [fault] = faults_of(PLAIN, {"q": 1, **{f"c{number}": 0 for number in range(1_000)}})
    assert "1000 columns" in fault[2]


def test_rows_that_read_alike_and_rows_with_the_separator_are_counted() -> None:
    found = survey(PLAIN, {"q": "a"}, {"q": "a"}, {"q": "b\n\nc"})
    assert (found.repeated_texts, found.texts_with_separator) == (1, 1)


@pytest.mark.parametrize("end", ["\r\n", "\u00a0", " \ufeff"])
def test_white_space_at_the_end_of_a_row_is_not_read(end: str) -> None:
    task = config("claim: {q}").task
    found, plain = survey(task, {"q": f"a b{end}"}, {"q": "c"}), survey(task, {"q": "a b"}, {"q": "c"})
    assert found.first_texts == plain.first_texts == ("claim: a b", "claim: c")
    assert found.demonstration_bytes == plain.demonstration_bytes


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{other}} {q}", "other"),
        ("{q}: {{ other }}", "other"),
        ("{q}: {{{{other}}}}", "other"),
        ("{q} {{a b}}", "a b"),
    ],
)
def test_a_column_between_double_braces_is_reported_since_it_is_not_read(template: str, name: str) -> None:
    [fault] = faults_of(config(template).task, {"q": 1, "other": 2, "a b": 3}, {"q": 2, "other": 2, "a b": 3})
    assert fault[:2] == (None, "task.template")
    assert f"write {{{name}}}, with single braces" in fault[2]


@pytest.mark.parametrize("template", ["{{{q}}} is", '{{"claim": {q}}}', "{{}} {q}", "{q} {{not a column}}"])
def test_braces_that_hold_no_columns_name_are_text(template: str) -> None:
    assert survey(config(template).task, {"q": 1}, {"q": 2}).rows == 2


def test_rows_that_all_read_alike_are_refused_unless_there_is_one() -> None:
    task = config("{a} {b}").task
    [fault] = faults_of(task, *({"a": "x", "b": 1, "id": n} for n in range(3)))
    assert fault[:2] == (None, "task.template")
    assert "all 3 rows read alike, since 'a', 'b' never differs" in fault[2]
    assert survey(task, {"a": "x", "b": 1}).rows == 1


def test_rows_that_lack_their_twin_are_counted() -> None:
    task = config("{a}>{b}", relations=[{"kind": "antisymmetric", "first": "a", "second": "b"}]).task
    rows = [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1, "b": 3}]
    assert survey(task, *rows).rows_lacking_their_twin == 1


def test_rows_of_a_blank_comparison_lack_no_twin() -> None:
    task = config("{q}", relations=[{"kind": "antisymmetric", "first": "a", "second": "b"}]).task
    assert survey(task, {"q": "x", "a": "", "b": "1"}, {"q": "y", "a": 1, "b": " "}).rows_lacking_their_twin == 0


def test_the_sample_is_drawn_from_all_rows_and_always_the_same() -> None:
    rows = [{"q": number} for number in range(2_000)]
    first, again = survey(PLAIN, *rows), survey(PLAIN, *rows)
    assert first.sample == again.sample
    assert len(first.sample) == 256
    assert any(int(text.split()[0]) > 1_500 for text in first.sample)


BY_COLUMN = {"kind": "pairs", "rule": "same_label", "column": "twins"}


def test_ids_may_be_named_in_a_list_before_their_rows_come() -> None:
    task = config("{q}", id_field="id", relations=[BY_COLUMN]).task
    rows = [{"q": "x", "id": 1, "twins": ["3"]}, {"q": "y", "id": 2, "twins": None}, {"q": "z", "id": 3, "twins": 1}]
    assert survey(task, *rows).groups == [0, 1, 0]


@pytest.mark.parametrize(
    ("relation", "rows", "faults"),
    [
        (
            BY_COLUMN,
            [{"twins": "1"}, {"twins": [0, 9]}],
            [(2, "twins", "'9' of the pair ['1', '9']; without an id_field")],
        ),
        (BY_COLUMN, [{"twins": {}}], [(1, "twins", "a list of ids, or null")]),
        (BY_COLUMN, [{"twins": None}, {}], [(2, "twins", "missing")]),
        (
            {"kind": "pairs", "rule": "same_label", "pairs": [["0", "1"], ["1", "a"]]},
            [{}, {}],
            [(None, "task.relations.0.pairs", "no row has the id 'a' of the pair ['1', 'a']")],
        ),
    ],
)
def test_a_pair_that_cannot_be_read_is_reported_with_line_and_field(
    relation: dict[str, object], rows: list[dict[str, object]], faults: list[tuple[int | None, str, str]]
) -> None:
    found = faults_of(config("{q}", relations=[relation]).task, *({"q": "x", **row} for row in rows))
    assert [fault[:2] for fault in found] == [fault[:2] for fault in faults]
    assert all(told in fault[2] for fault, (_, _, told) in zip(found, faults, strict=True))


def test_a_column_of_ids_that_the_template_reads_too_must_not_be_a_list() -> None:
    [fault] = faults_of(config("{twins}", relations=[BY_COLUMN]).task, {"twins": ["0"]})
    assert fault[:2] == (1, "twins")


def test_common_prefixes_of_neighbours_are_measured() -> None:
    found = survey(PLAIN, {"q": "abcd"}, {"q": "abxy"}, {"q": "zzzz"})
    assert found.shared_beginnings == pytest.approx(2 / (3 * len("abcd is")))


@pytest.mark.parametrize("name", ["Q1: is it true?", "50%!", "a.b[0]", "text!r", "n:>10", "x'y\"z"])
def test_a_template_names_columns_whatever_their_names_hold(name: str) -> None:
    task = config("{{{" + name + "}}}").task
    assert survey(task, {name: "x"}, {name: "y"}).first_texts == ("{x}", "{y}")


def test_a_column_whose_name_has_braces_has_to_be_renamed() -> None:
    [(_, _, message)] = faults_of(config("{text}").task, {"{text}": "x"})
    assert "cannot name '{text}', since braces stand for columns: rename that column" in message


def test_a_table_written_by_columns_is_recognised() -> None:
    for cells in (["x", "y"], {"0": "x", "1": "y"}):
        [(_, field, message)] = faults_of(config().task, {"q": cells, "n": [1, 2]})
        assert (field, "for each row (pandas: orient='records')" in message) == ("q", True)
    [(_, _, message)] = faults_of(config().task, {"q": ["x"], "n": 1})
    assert "by columns" not in message


def test_a_list_in_the_rows_of_a_table_is_no_table_written_by_columns() -> None:
    for rows in ([{"q": "x", "n": 1}, {"q": ["y", "z"]}], [{"q": ["x", "y"]}, {"q": "z"}], [{"q": {"a": 1}}] * 2):
        for _, field, message in faults_of(config().task, *rows):
            assert (field, "pandas" in message) == ("q", False), message


@pytest.mark.parametrize(
    "table",
    [
        {"0": {"q": "x"}, "1": {"q": "y"}},
        {"columns": ["q"], "index": [0, 1], "data": [["x"], ["y"]]},
        {"x": ["a", "b"], "y": [1, 2]},
    ],
)
def test_a_table_as_one_object_is_recognised_where_it_names_no_column_of_the_task(table: dict[str, Any]) -> None:
    [(_, field, message)] = faults_of(config().task, table)
    assert (field, message.endswith("write an object for each row (pandas: orient='records')")) == ("q", True), message


def test_a_row_that_spells_a_column_otherwise_is_told_so() -> None:
    for name in ("Q", " q", "q "):
        [(line, field, message)] = faults_of(config().task, {"q": "x"}, {name: "y"})
        assert (line, field) == (2, "q")
        assert f"the field is missing (this row has {name!r}), but" in message


def test_a_column_whose_name_only_looks_the_same_is_pointed_out() -> None:
    for written, found in (("caf\u00e9", "cafe\u0301"), ("q", "q\u200b"), ("q", "\ufeffq")):
        [(_, field, message)] = faults_of(config(f"{{{written}}}").task, {found: "x", "other": 1})
        assert (field, "looks the same and has other characters" in message) == (written, True), message


def test_an_unexpected_sign_between_cells_is_named() -> None:
    for sign in "^~\x01,":
        [(_, _, message)] = faults_of(config().task, {f"q{sign}n": f"x{sign}1"})
        assert f"({sign!r} seems to separate the cells" in message
    for name in ("q_n", "q-n", "the q", "qq^n"):
        [(_, _, message)] = faults_of(config().task, {name: "x"})
        assert "separate" not in message


def test_a_table_without_columns_has_none() -> None:
    [(_, _, message)] = faults_of(config().task, {})
    assert message.endswith("there are: none")


def test_rows_in_a_list_within_one_object_are_recognised() -> None:
    [(_, _, message)] = faults_of(config().task, {"version": 1, "data": [{"q": "x"}, {"q": "y"}]})
    assert message.endswith("; if the rows are the list 'data', send that list alone")
    [(_, _, message)] = faults_of(config().task, *[{"data": [{"q": "x"}]}] * 2)
    assert "that list" not in message


def test_a_missing_column_is_reported_with_the_most_similar_one() -> None:
    [(_, field, message)] = faults_of(config("{qestion}").task, {"question": "x", "label": 1})
    assert field == "qestion"
    assert "did you mean 'question'?" in message
    [(_, _, message)] = faults_of(config("{q}").task, {"Q": "x", "label": 1})
    assert "did you mean 'Q'?" in message, "whatever the case"


@pytest.mark.parametrize(
    ("task", "places"),
    [
        ({"known_field": "cheked"}, "task.known_field names"),
        ({"gold_field": "cheked"}, "task.gold_field names"),
        ({"id_field": "cheked"}, "task.id_field names"),
        ({"template": "{q} {cheked}"}, "task.template names"),
        ({"relations": [{"kind": "same_label", "group": "cheked"}]}, "task.relations.0.group names"),
        ({"relations": [{"kind": "same_label", "group": ["q", "cheked"]}]}, "task.relations.0.group names"),
        (
            {"relations": [{"kind": "at_most_one", "group": "q", "distinct": "cheked"}]},
            "task.relations.0.distinct names",
        ),
        ({"relations": [{"kind": "antisymmetric", "first": "q", "second": "cheked"}]}, "task.relations.0.second names"),
        ({"relations": [{"kind": "pairs", "rule": "same_label", "column": "cheked"}]}, "task.relations.0.column names"),
        (
            {"template": "{q} {cheked}", "relations": [{"kind": "same_label", "group": "cheked"}]},
            "task.template and task.relations.0.group name",
        ),
    ],
)
def test_a_field_that_no_row_has_is_reported_with_what_names_it(task: dict[str, Any], places: str) -> None:
    asked = config(**{"template": "{q}", **task}).task
    [fault] = faults_of(asked, *({"q": number, "checked": "True"} for number in range(3)))
    told = f"no row has the field 'cheked', which {places} (did you mean 'checked'?); there are: 'q', 'checked'"
    assert fault == (None, "cheked", told)


def test_a_column_named_by_its_place_is_reported_with_the_columns() -> None:
    [(_, field, message)] = faults_of(config("{0}").task, {"question": "x"})
    assert field == "0"
    assert "by its name, not by its place" in message
    assert "'question'" in message


def test_a_doubtful_header_is_reported_once_for_all_missing_fields() -> None:
    faults = FaultLog(9)
    faults.doubt_about_names = "the first line reads like a row"
    surveyor = _Surveyor(TASK, faults)
    surveyor.add(SourceRow(2, {"0.5": "a"}))
    surveyor.check_fields()
    assert [fault.message for fault in faults.reported] == [
        "no row has the field 'q' and 'id' and 'gold'; the first line reads like a row"
    ]
    assert len(faults) == 1
