"""Relations that no labelling can satisfy are reported before a job is made."""

import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.forced_labels import _Search
from service.jobs.task.related_rows import RelatedRows
from service.jobs.task.relations import compile_constraints, numbered_constraints
from service.jobs.task.satisfiability import check_satisfiability, relation_warnings
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


def test_groups_beyond_the_first_rows_are_not_looked_at_and_none_is_looked_at_in_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.jobs.task.satisfiability.MAX_CHECKED_ROWS", 10)
    task, rows = task_of(OTHER), [{"q": n, "g": n // 2} for n in range(9)]
    late = [{"q": "x", "g": "late"}] * 3
    groups = [n // 2 for n in range(len(rows))] + [10**6] * 3
    assert check_satisfiability(task, [*rows, *late], groups, {}).impossible == ()


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
    found = check_satisfiability(task, rows.values(), groups_of(task, rows), {})
    assert (found.impossible == ()) is possible


def groups_of(task: Task, rows: dict[Row, dict[str, Any]]) -> list[int]:
    related = RelatedRows(task.relations)
    for row, fields in rows.items():
        related.add(fields, str(row))
    return related.groups()


MOST = {"kind": "at_most_one", "group": "g"}
SAME_H = {"kind": "same_label", "group": ["g", "h"]}


def rows_in(columns: str) -> list[dict[str, Any]]:
    return [{"q": n, "g": cells[0], "h": cells[1]} for n, cells in enumerate(columns.split())]


def warned(task: Task, *rows: dict[str, Any]) -> list[str]:
    found = survey(task, *rows)
    return list(relation_warnings(found.satisfiability, task, found.lines))


@pytest.mark.parametrize(
    ("relations", "columns", "told"),
    [
        (
            [MOST, SAME],
            "a1 a1 b1 b1 c1",
            "the relations at_most_one (relations.0) and same_label (relations.1) decide labels whatever the language ",
        ),
        ([MOST, SAME], "a1 a1 b1 b1 c1", "of 4 rows in 2 groups: 'False' on lines 1, 2 (g 'a') first; if you do not"),
        ([MOST, SAME_H], "a1 a1 a2", "of 2 rows in 1 group: 'False' on lines 1, 2 (g 'a', h '1'); if"),
        ([ONE, SAME_H], "a1 a1 a2", "of 3 rows in 1 group: 'False' on lines 1, 2 and 'True' on line 3 (g 'a', h '1')"),
        ([ONE], "a1 b2", None),  # groups of one: they have another warning
        ([{**MOST, "label": "False"}, ONE], "a1 a2 b1 b2", None),
        ([SAME, {"kind": "pairs", "rule": "exactly_one", "pairs": [["0", "2"], ["1", "2"]]}], "a1 a2 b1 b2", None),
        ([{"kind": "pairs", "rule": "at_most_one", "pairs": [["0", "1"]]}, SAME], "a1 a2", "pairs (relations.0) and"),
        ([MOST, OTHER], "a1 a2 b1 b2", None),
        ([MOST], "a1 a2 b1 b2", None),
        ([SAME], "a1 a2 b1 b2", None),
    ],
)
def test_relations_that_leave_rows_one_label_get_a_warning_with_their_group(
    relations: list[dict[str, Any]], columns: str, told: str | None
) -> None:
    found = warned(task_of(*relations), *rows_in(columns))
    assert len(found) == (told is not None), found
    assert told is None or told in found[0]


def three_labels(*relations: dict[str, Any], **task: Any) -> Task:
    return task_of(*relations, labels=["A", "B", "C"], **task)


MOST_A, SAME_G = {**MOST, "label": "A"}, {**SAME, "label": "A"}


@pytest.mark.parametrize(
    ("relations", "columns", "told"),
    [
        (
            [MOST_A, SAME_G],
            "a1 a2 b1 b2",
            "the relations at_most_one (relations.0) and same_label (relations.1) leave the label 'A' to no row, wha",
        ),
        ([MOST_A, SAME_G], "a1 a2 b1 b2", "says: the first are lines 1, 2 (g 'a'); if you do not mean that, leave"),
        ([{"kind": "same_label", "group": "h"}, MOST_A, SAME_G], "a1 a1 b2 b2", "leave the label 'A' to no row"),
        ([MOST_A, SAME_G], "a1 a2 b1 b2 c1", None),  # line 5 can have it
        ([MOST_A], "a1 a2 b1 b2", None),
        ([MOST_A, {**MOST, "label": "B"}], "a1 a2 b1 b2", None),
    ],
)
def test_a_label_that_relations_leave_to_no_row_gets_a_warning(
    relations: list[dict[str, Any]], columns: str, told: str | None
) -> None:
    found = [warning for warning in warned(three_labels(*relations), *rows_in(columns)) if "to no row" in warning]
    assert len(found) == (told is not None), found
    assert told is None or told in found[0]


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ("B--C--", "the relation same_label (relations.0) and the known rows leave the label 'A' to no row"),
        ("B--A--", "leave the label 'C' to no row"),
        ("BBBC--", "the relation same_label (relations.0) and the known rows leave the label 'A' to no row"),
        ("BBBC--", "the first are lines 4, 5, 6 (g '1')"),  # the known rows alone decide the first group
        ("B-----", None),
        ("A--B--C--", None),
    ],
)
def test_a_label_that_known_rows_and_relations_leave_to_no_row_gets_a_warning(known: str, told: str | None) -> None:
    rows = [{"q": n, "g": n // 3, "k": None if label == "-" else label} for n, label in enumerate(known)]
    found = [warning for warning in warned(three_labels(SAME_G, known_field="k"), *rows) if "to no row" in warning]
    assert len(found) == (told is not None), found
    assert told is None or told in found[0]


LABELLED_RELATION = st.fixed_dictionaries(
    {"kind": KINDS, "group": st.sampled_from("gh"), "label": st.sampled_from(["A", "B", "C"])}
)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(LABELLED_RELATION, min_size=2, max_size=4),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=4),
    st.integers(0, 3**4),
    st.sets(st.integers(1, 4)),  # not all of the rows
)
def test_labels_of_no_row_are_those_without_a_consistent_labelling(
    relations: list[dict[str, Any]], columns: list[tuple[int, int]], which: int, sure: set[int]
) -> None:
    task = three_labels(*relations)
    rows = {Row(n): {"q": n, "g": g, "h": h} for n, (g, h) in enumerate(columns)}
    constraints = Constraints(list(rows), list(compile_constraints(task.relations, task.labels, rows)))
    all_labellings = (dict(zip(rows, map(Label, each), strict=True)) for each in product(range(3), repeat=len(rows)))
    kept = [labels for labels in all_labellings if not constraints.conflicts(labels)]
    known = {row: label for row, label in kept[which % len(kept)].items() if row in sure} if kept else {}
    kept_known = [labels for labels in kept if known.items() <= labels.items()]
    found = check_satisfiability(task, rows.values(), groups_of(task, rows), known).forced.ruled_out
    possible = {label for labels in kept_known for label in labels.values()}
    expected = set(map(Label, range(3))) - possible if len(possible) > 1 else set()
    assert {each.label for each in found} == expected


def test_a_forgotten_distinct_in_a_large_group_is_found() -> None:
    rows = [{"q": n, "g": "q", "h": n // 2 if n < 140 else n} for n in range(142)]
    [warning] = warned(task_of(MOST, SAME_H), *rows)
    assert "same_label (relations.1) decide labels" in warning
    assert "of 140 rows in 1 group: 'False' on lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 130 more" in warning
    assert warned(task_of({**MOST, "distinct": "h"}, SAME_H), *rows) == []


def test_relations_without_which_the_labels_are_forced_as_well_are_not_named() -> None:
    rows = [{"q": n, "g": 1, "h": n} for n in (1, 2)]
    [warning] = warned(task_of({"kind": "different_label", "group": "h"}, MOST, SAME), *rows)
    assert warning.startswith("the relations at_most_one (relations.1) and same_label (relations.2) decide")


def test_rows_that_known_rows_leave_one_label_get_a_warning_with_their_lines() -> None:
    task = task_of(MOST, known_field="sure")
    rows = [{"q": n, "g": n // 3, "sure": "True" if n == 1 else None} for n in range(6)]
    assert warned(task, *rows) == [
        "2 rows (lines 1, 3) get the one label that known rows and relations leave, whatever the language model says"
    ]
    rows[1]["sure"] = "False"
    assert warned(task, *rows) == []


@settings(max_examples=examples(60))
@given(
    st.lists(RELATION, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=6),
    st.dictionaries(st.integers(0, 5), st.integers(0, 1), max_size=2),
)
def test_forced_rows_are_those_with_one_label_in_every_labelling(
    relations: list[dict[str, Any]], columns: list[tuple[int, int]], sure: dict[int, int]
) -> None:
    task = task_of(*relations)
    rows = {Row(n): {"q": n, "g": g, "h": h} for n, (g, h) in enumerate(columns)}
    rules = list(numbered_constraints(task, rows))
    constraints = Constraints(list(rows), [rule for _, rule in rules])
    everything = [{row: Label(number >> row & 1) for row in rows} for number in range(2 ** len(rows))]
    for known in ({}, {Row(n): Label(label) for n, label in sure.items() if n in rows}):
        kept = [
            labels for labels in everything if not constraints.conflicts(labels) and known.items() <= labels.items()
        ]
        expected = {row: kept[0][row] for row in rows if kept and row not in known and len({o[row] for o in kept}) == 1}
        found: dict[Row, Label] = {}
        for group in constraints.groups:
            mine = [rule for _, rule in rules if rule.rows[0] in group]
            found |= _Search(2).forced(group, mine, {row: known[row] for row in group if row in known})
        alone = {row for _, rule in rules for row in rule.rows if len(rule.clusters) == 1}
        assert {row: label for row, label in found.items() if row not in alone} == {
            row: label for row, label in expected.items() if row not in alone and kept
        } or not kept


def test_groups_that_the_limits_leave_unsearched_make_the_number_a_least_one() -> None:
    rows = [{"q": n, "g": 1, "h": n % 400} for n in range(800)]
    [warning] = warned(task_of(MOST, SAME_H), *rows)
    assert re.search(r", of at least \d{2,3} rows in 1 group: 'False' on", warning)
