from typing import Any

import pytest

from service.config import Task
from service.identifiers import Label
from service.jobs.task.known import MAX_CONTRADICTIONS, KnownLabels, NoSuchLabel
from tests.support.sources import config, faults_of, survey

TASK = config("{q} is", known_field="sure").task
GROUPED = {"kind": "at_most_one", "group": "g"}
ORDERED = {"kind": "transitive", "first": "a", "second": "b"}


def reader(*labels: str) -> KnownLabels:
    return KnownLabels(config("{q}", known_field="sure", labels=list(labels)).task)


def related(*relations: dict[str, Any]) -> Task:
    return config("{q}", known_field="sure", relations=list(relations)).task


def rows(*known: object, **columns: object) -> list[dict[str, object]]:
    """A row for each known value, and one without."""
    return [{"q": n, "sure": value, **columns} for n, value in enumerate(known)] + [{"q": "rest", **columns}]


@pytest.mark.parametrize("value", [None, "\t\n"])
def test_a_blank_value_says_nothing(value: object) -> None:
    assert reader("True", "False").of({"sure": value}) is None
    assert reader("True", "False").of({}) is None


@pytest.mark.parametrize(
    ("labels", "value", "label"),
    [
        (("True", "False"), True, 0),
        (("Straße", "Weg"), "STRASSE", 0),
        (("1", "2"), 2.0, 1),
        (("1.0", "2.0"), 2, 1),
        (("1", "1.0"), 1, 0),
        (("0.5", "-1"), -1.0, 1),
    ],
)
def test_values_are_compared_with_labels_as_text_ignoring_case(
    labels: tuple[str, ...], value: object, label: int
) -> None:
    assert reader(*labels).of({"sure": value}) == label


@pytest.mark.parametrize(
    ("labels", "value", "told"),
    [
        (("True", "False"), "maybe", "'maybe' is none of the task's labels: True, False"),
        (("1", "1.0"), "1.00", "'1.00' is none"),
        (("1", "2"), 1.5, "'1.5' is none"),
        (("1", "2"), "+1", "is none"),
        (("True", "False"), ["True"], "must be text"),
        (("True", "False"), "x" * 9_999, f"'{'x' * 50}' is none"),
    ],
)
def test_a_value_that_is_no_label_is_reported_with_the_labels(
    labels: tuple[str, ...], value: object, told: str
) -> None:
    with pytest.raises(NoSuchLabel, match=told):
        reader(*labels).of({"sure": value})


def test_a_task_without_the_field_knows_of_no_row() -> None:
    assert KnownLabels(config("{q}").task).of({"q": "True", "": "True"}) is None


def test_a_survey_has_the_known_labels_by_row() -> None:
    assert survey(TASK, *rows(None, "false", "", True)).known == {1: Label(1), 3: Label(0)}
    assert survey(config("{q}").task, {"q": 1, "sure": "x"}).known == {}


def test_every_value_that_is_no_label_is_a_fault_with_its_line() -> None:
    assert [fault[:2] for fault in faults_of(TASK, *rows("True", "yes", None, [1]))] == [(2, "sure"), (4, "sure")]


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        (rows(None, "", " "), "no row has a known label"),
        (rows("True", "False")[:2], "every row has a known label"),
        ([{"q": 1}], "no row has the field 'sure'"),
    ],
)
def test_a_known_column_with_no_or_all_labels_is_a_fault(examples: list[dict[str, object]], told: str) -> None:
    [(line, field, message)] = faults_of(TASK, *examples)
    assert (line, field) == (None, "sure")
    assert told in message


@pytest.mark.parametrize(
    ("relation", "columns", "lines"),
    [
        (GROUPED, [{"g": 1}, {"g": 1}, {"g": 1}], "lines 1, 2: they break the relation at_most_one (relations.0)"),
        ({"kind": "same_label", "group": "g"}, [{"g": 1}, {"g": 1}, {"g": 1}], "lines 1, 3: they break"),
        ({"kind": "different_label", "group": "g"}, [{"g": 1}, {"g": 1}, {"g": 2}], "lines 1, 2: they break"),
        ({"kind": "antisymmetric", "first": "a", "second": "b"}, [{"a": 1, "b": 2}, {"a": 2, "b": 1}], "lines 1, 2"),
        (ORDERED, [{"a": 1, "b": 2}, {"a": 2, "b": 3}, {"a": 1, "b": 3}], "lines 1, 2, 3: they break"),
    ],
)
def test_known_labels_that_break_a_relation_are_reported_by_their_lines(
    relation: dict[str, Any], columns: list[dict[str, object]], lines: str
) -> None:
    known = ["True", "True", "False"]
    given = [{"q": n, "sure": known[n], **values} for n, values in enumerate(columns)]
    rest = {"q": "rest", **{name: f"rest {name}" for name in columns[0]}}
    faults = faults_of(related(relation), *given, rest)
    assert faults[0][1] == "sure"
    assert lines in faults[0][2]


def test_a_single_known_label_can_break_a_relation_that_needs_one() -> None:
    task = related({"kind": "exactly_one", "group": "g"})
    [(line, _, message)] = faults_of(task, {"q": 1, "g": 1, "sure": "False"}, {"q": 2, "g": 2})
    assert (line, message[:32]) == (1, "the known label of line 1: they ")


def test_rows_without_a_known_label_may_yet_keep_a_relation() -> None:
    one = related({"kind": "exactly_one", "group": "g"})
    assert survey(one, *rows("False", "False", g=1)).known == {0: 1, 1: 1}
    assert survey(related(ORDERED), {"q": 1, "a": 1, "b": 2, "sure": "True"}, {"q": 2, "a": 2, "b": 3}).known == {0: 0}


def test_known_labels_that_contradict_each_other_across_a_row_between_them_are_reported() -> None:
    task = config("{q}", known_field="sure", relations=[{"kind": "pairs", "rule": "same_label", "column": "as"}]).task
    examples = [{"q": 1, "as": "1", "sure": "True"}, {"q": 2, "as": "2"}, {"q": 3, "as": None, "sure": "False"}]
    [(line, field, message)] = faults_of(task, *examples)
    assert (line, field) == (3, "sure")
    assert message == "the known labels of lines 1, 3: no labelling of the rows related to them keeps the relations"


def test_relations_that_no_labelling_keeps_are_not_the_known_labels_fault() -> None:
    task = related({"kind": "same_label", "group": "g"}, {"kind": "exactly_one", "group": "g"})
    rows = [{"q": 1, "g": 1, "sure": "True"}, {"q": 2, "g": 1}]
    assert [field for _, field, _ in faults_of(task, *rows)] == ["task.relations"]
    assert survey(task, *rows, {"q": 3, "g": 2}).known == {0: 0}


def test_of_countless_contradictions_the_first_are_reported() -> None:
    examples = rows(*["True"] * 2_000, g=1)
    assert len(faults_of(related(GROUPED), *examples)) == MAX_CONTRADICTIONS


def test_a_conflict_of_many_rows_names_the_first_lines() -> None:
    task = related({"kind": "exactly_one", "group": "g"})
    [(_, _, message)] = faults_of(task, *rows(*["False"] * 14, g=1)[:14], {"q": "rest", "g": 2})
    assert message.startswith("the known labels of lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 4 more: they break")
