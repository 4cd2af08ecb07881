"""Relations that no labelling can satisfy are reported before a job is made."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.related_rows import RelatedRows
from service.jobs.task.relations import compile_constraints
from service.jobs.task.satisfiability import MAX_CHECKED_ROWS, find_impossible
from service.search.rules.consistency import Constraints
from tests.long import examples
from tests.support.sources import config, faults_of, survey

SAME, OTHER = {"kind": "same_label", "group": "g"}, {"kind": "different_label", "group": "g"}
ONE = {"kind": "exactly_one", "group": "g"}
APART = {"kind": "pairs", "rule": "different_label", "pairs": [["0", "1"], ["1", "2"], ["2", "0"]]}


def task_of(*relations: dict[str, Any], **task: Any) -> Task:
    return config("{q}", relations=list(relations), **task).task


def rows_of(*groups: object) -> list[dict[str, Any]]:
    return [{"q": n, "g": group} for n, group in enumerate(groups)]


@pytest.mark.parametrize(
    ("relations", "groups", "line", "told"),
    [
        (
            [SAME, OTHER],
            "aa",
            2,
            "on lines 1, 2 no labelling with these 2 labels keeps same_label (relations.0) and diff",
        ),
        ([OTHER], "aaaaaa", 6, "on lines 1, 2, 3, 4, 5, 6 no labelling with these 2 labels keeps different_label (rel"),
        ([OTHER], "a" * 40, 40, "10 and 30 more no labelling"),
        (
            [ONE, {**ONE, "label": "False"}],
            "a",
            1,
            "on line 1 no labelling with these 2 labels keeps exactly_one (rela",
        ),
        ([ONE, SAME], "aa", 2, "exactly_one (relations.0) and same_label (relations.1)"),
        (
            [SAME, ONE, {**ONE, "label": "False"}],
            "aa",
            2,
            "keeps same_label (relations.0) and exactly_one (relations.2)",
        ),
        ([APART], "abc", 3, "on lines 1, 2, 3 no labelling with these 2 labels keeps pairs (relations.0)"),
        ([{**APART, "rule": "exactly_one"}], "abc", 3, "keeps pairs (relations.0)"),
    ],
)
def test_relations_that_no_group_can_keep_are_refused_with_lines_and_relations(
    relations: list[dict[str, Any]], groups: str, line: int, told: str
) -> None:
    [fault] = faults_of(task_of(*relations), *rows_of(*groups))
    assert fault[:2] == (line, "task.relations")
    assert told in fault[2]


@pytest.mark.parametrize(
    ("relations", "groups"),
    [
        ([], "aa"),
        ([SAME, OTHER], "abcd"),
        ([OTHER], "aabb"),
        ([ONE], "abc"),
        ([ONE, {**ONE, "label": "False"}], "aabb"),
        ([{**APART, "pairs": [["0", "1"], ["1", "2"]]}], "abc"),
        ([SAME, OTHER], [None, None, "", ""]),
    ],
)
def test_relations_that_can_be_kept_are_taken(relations: list[dict[str, Any]], groups: Sequence[str | None]) -> None:
    found = survey(task_of(*relations), *rows_of(*groups))
    assert found.satisfiability.impossible == ()


def test_groups_that_cannot_keep_their_relations_are_reported_and_the_others_are_labelled() -> None:
    found = survey(task_of(OTHER), *rows_of(*"abbaccc"))
    assert not found.satisfiability.everywhere
    [impossible] = found.satisfiability.impossible
    assert (impossible.rows, impossible.relations) == ((4, 5, 6), (0,))


def test_only_the_relations_that_contradict_each_other_are_named() -> None:
    most = {"kind": "at_most_one", "group": "h"}
    rows = [{**row, "h": 1} for row in rows_of(*"aab")]
    [fault] = faults_of(task_of(most, SAME, OTHER), *rows)
    assert "lines 1, 2 no" in fault[2]
    assert "relations.0" not in fault[2]


def test_more_rows_than_labels_that_all_differ_are_found_at_once_however_many_the_labels() -> None:
    labels = [f"label {n}" for n in range(60)]
    assert faults_of(task_of(OTHER, labels=labels), *rows_of(*[1] * 61))
    assert faults_of(task_of(OTHER, labels=labels), *rows_of(*[1] * 60)) == []


def test_groups_beyond_the_first_rows_are_not_looked_at_and_none_is_looked_at_in_part() -> None:
    task, rows = task_of(OTHER), [{"q": n, "g": n // 2} for n in range(MAX_CHECKED_ROWS - 1)]
    late = [{"q": "x", "g": "late"}] * 3
    groups = [n // 2 for n in range(len(rows))] + [10**6] * 3
    assert find_impossible(task, [*rows, *late], groups).impossible == ()


KINDS = st.sampled_from(["at_most_one", "exactly_one", "same_label", "different_label"])
RELATION = st.fixed_dictionaries(
    {"kind": KINDS, "group": st.sampled_from("gh"), "label": st.sampled_from(["True", "False"])}
)


@settings(max_examples=examples(60))
@given(
    st.lists(RELATION, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=6),
)
def test_a_group_is_impossible_exactly_if_every_labelling_has_a_conflict(
    relations: list[dict[str, Any]], columns: list[tuple[int, int]]
) -> None:
    task = task_of(*relations)
    rows = {Row(n): {"q": n, "g": g, "h": h} for n, (g, h) in enumerate(columns)}
    constraints = Constraints(list(rows), list(compile_constraints(task.relations, task.labels, rows)))
    labellings = ({row: Label(number >> row & 1) for row in rows} for number in range(2 ** len(rows)))
    possible = any(not constraints.conflicts(labels) for labels in labellings)
    found = find_impossible(task, rows.values(), groups_of(task, rows))
    assert (found.impossible == ()) is possible


def groups_of(task: Task, rows: dict[Row, dict[str, Any]]) -> list[int]:
    related = RelatedRows(task.relations)
    for row, fields in rows.items():
        related.add(fields, str(row))
    return related.groups()
