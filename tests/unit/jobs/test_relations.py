from typing import Any

import pytest

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.related_rows import RelatedRows
from service.jobs.relations import UnusableValue, compile_constraints
from service.search.consistency import Constraint, Rule


def task_with(*relations: dict[str, Any], labels: tuple[str, ...] = ("True", "False")) -> Task:
    return Task.model_validate({"template": "{text}", "labels": list(labels), "relations": list(relations)})


def groups_of(task: Task, rows: list[dict[str, Any]]) -> list[int]:
    related = RelatedRows(task.relations)
    for number, row in enumerate(rows):
        related.add(row, str(row.get("id", number)))
    return related.groups()


def constraints_of(task: Task, rows: list[dict[str, Any]]) -> list[Constraint]:
    numbered = {Row(position): row for position, row in enumerate(rows)}
    return list(compile_constraints(task.relations, task.labels, numbered))


def test_rows_of_one_group_column_belong_together() -> None:
    task = task_with({"kind": "at_most_one", "group": "question"})
    assert groups_of(task, [{"question": q} for q in "abacb"]) == [0, 1, 0, 2, 1]


def test_groups_joined_by_different_relations_are_one() -> None:
    task = task_with({"kind": "at_most_one", "group": "q"}, {"kind": "same_label", "group": ["a"]})
    rows = [{"q": 1, "a": 1}, {"q": 2, "a": 2}, {"q": 3, "a": 1}, {"q": 2, "a": 3}, {"q": 3, "a": 2}]
    assert groups_of(task, rows) == [0, 0, 0, 0, 0]


def test_rows_without_relations_stand_alone() -> None:
    assert groups_of(task_with(), [{}, {}, {}]) == [0, 1, 2]


def test_rows_that_agree_in_the_distinct_column_count_as_one() -> None:
    task = task_with({"kind": "at_most_one", "group": "q", "distinct": "answer"})
    rows = [{"q": 1, "answer": "4"}, {"q": 1, "answer": "5"}, {"q": 1, "answer": "4"}]
    assert constraints_of(task, rows) == [Constraint(Rule.AT_MOST_ONE, ((Row(0), Row(2)), (Row(1),)), Label(0))]


def test_a_row_and_its_swapped_twin_have_exactly_one_true_between_them() -> None:
    task = task_with({"kind": "antisymmetric", "first": "n1", "second": "n2"})
    rows = [{"n1": 1, "n2": 2}, {"n1": 3, "n2": 4}, {"n1": 2, "n2": 1}]
    assert groups_of(task, rows) == [0, 1, 0]
    assert constraints_of(task, rows) == [Constraint(Rule.EXACTLY_ONE, ((Row(0),), (Row(2),)), Label(0))]


def test_twins_of_different_groups_are_not_twins() -> None:
    task = task_with({"kind": "antisymmetric", "first": "a", "second": "b", "group": "task"})
    rows = [{"a": 1, "b": 2, "task": "x"}, {"a": 2, "b": 1, "task": "y"}]
    assert groups_of(task, rows) == [0, 1]
    assert constraints_of(task, rows) == []


def test_a_single_row_of_an_exactly_one_group_must_have_the_label() -> None:
    task = task_with({"kind": "exactly_one", "group": "q", "label": "False"})
    [constraint] = constraints_of(task, [{"q": 1}])
    assert [conflict for conflict, _ in constraint.broken({Row(0): Label(0)})] == [(0,)]
    assert list(constraint.broken({Row(0): Label(1)})) == []


def test_the_label_counted_is_the_first_unless_named() -> None:
    named = task_with({"kind": "at_most_one", "group": "q", "label": "C"}, labels=("A", "B", "C"))
    assert constraints_of(named, [{"q": 1}, {"q": 1}])[0].label == 2
    unnamed = task_with({"kind": "at_most_one", "group": "q"}, labels=("A", "B", "C"))
    assert constraints_of(unnamed, [{"q": 1}, {"q": 1}])[0].label == 0


def test_true_and_one_are_different_values() -> None:
    task = task_with({"kind": "same_label", "group": "flag"})
    assert groups_of(task, [{"flag": True}, {"flag": 1}]) == [0, 1]


def test_a_list_in_a_relation_column_is_refused_by_name() -> None:
    task = task_with({"kind": "same_label", "group": "tags"})
    with pytest.raises(UnusableValue) as caught:
        groups_of(task, [{"tags": ["a"]}])
    assert caught.value.field == "tags"


def test_a_row_whose_relation_column_is_null_takes_no_part() -> None:
    task = task_with({"kind": "at_most_one", "group": "q", "distinct": "answer"})
    rows: list[dict[str, Any]] = [
        {"q": 1, "answer": None},
        {"q": 1, "answer": "4"},
        {"q": 1, "answer": "5"},
        {"q": 1, "answer": None},
    ]
    assert groups_of(task, rows) == [0, 1, 1, 2]
    assert [constraint.rows for constraint in constraints_of(task, rows)] == [(1, 2)]
