import itertools
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import job_config
from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.related_rows import RelatedRows
from service.jobs.task.relations import compile_constraints
from service.relations.columns import UnusableValue
from service.relations.groups import GroupRelation
from service.search.rules.consistency import Constraint, Constraints, Rule
from tests.long import examples


def task_with(*relations: dict[str, Any], labels: tuple[str, ...] = ("True", "False")) -> Task:
    return job_config.Task.model_validate(
        {"template": "{text}", "labels": list(labels), "relations": list(relations)}
    ).checked()


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


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False), st.data())
def test_numbers_are_one_group_exactly_if_they_are_equal(number: float, data: st.DataObject) -> None:
    task = task_with({"kind": "same_label", "group": "number"})
    near = [number + 1, float(number), -number]
    other = data.draw(st.sampled_from(near) | st.floats(allow_nan=False))
    groups = groups_of(task, [{"number": number}, {"number": other}])
    assert (groups == [0, 0]) == (number == other)


def test_numbers_whose_hashes_are_equal_in_python_are_spread_out() -> None:
    relation = task_with({"kind": "same_label", "group": ["a", "b"]}).relations[0]
    assert isinstance(relation, GroupRelation)
    multiples = [number * sys.hash_info.modulus for number in (-4, -3, -2, -1, 0, 1, 2, 3, 4)]
    assert len({hash(number) for number in multiples}) == 1
    assert len({hash(relation.group_key({"a": number, "b": number})) for number in multiples}) == len(multiples)


def test_a_list_in_a_relation_column_is_refused_by_name() -> None:
    task = task_with({"kind": "same_label", "group": "tags"})
    with pytest.raises(UnusableValue) as caught:
        groups_of(task, [{"tags": ["a"]}])
    assert caught.value.field == "tags"


@pytest.mark.parametrize(
    "relation",
    [
        {"kind": "at_most_one", "group": "a"},
        {"kind": "exactly_one", "group": ["b", "a"]},
        {"kind": "same_label", "group": "a"},
        {"kind": "different_label", "group": "b", "distinct": "a"},
        {"kind": "antisymmetric", "first": "a", "second": "b"},
        {"kind": "antisymmetric", "first": "b", "second": "c", "group": "a"},
        {"kind": "transitive", "first": "b", "second": "a"},
        {"kind": "pairs", "rule": "same_label", "column": "a"},
    ],
)
def test_rows_that_are_blank_in_a_column_of_a_relation_are_tied_by_nothing(relation: dict[str, Any]) -> None:
    task = task_with(relation)
    for blank in (None, "", " ", "\t\n", "\u00a0", "\u200b", "\ufeff", "\u3164", "\u2800"):
        rows = [{"a": blank, "b": b, "c": c} for b, c in ("xy", "xx", "yx", "yy")]
        assert groups_of(task, rows) == [0, 1, 2, 3], ascii(blank)
        assert constraints_of(task, rows) == []
        related = RelatedRows(task.relations)
        for number, row in enumerate(rows):
            related.add(row, str(number))
        [count] = related.counts()
        assert count.rows_left_blank == (0 if relation["kind"] == "pairs" else 4)


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


TRANSITIVE = {"kind": "transitive", "first": "a", "second": "b"}


def comparing(*pairs: str) -> list[dict[str, Any]]:
    return [{"a": pair[0], "b": pair[1]} for pair in pairs]


def test_things_compared_in_threes_are_one_group_and_others_stand_alone() -> None:
    rows = comparing("xy", "pq", "yz", "qr", "zx", "yx")
    assert groups_of(task_with(TRANSITIVE), rows) == [0, 1, 0, 2, 0, 0]


def test_a_transitive_relation_numbers_the_things_and_joins_rows_that_say_the_same() -> None:
    rows = [*comparing("xy", "yz", "xz", "xy", "zz"), {"a": "x", "b": None}]
    [constraint] = constraints_of(task_with(TRANSITIVE), rows)
    clusters = ((Row(0), Row(3)), (Row(1),), (Row(2),))
    assert constraint == Constraint(Rule.TRANSITIVE, clusters, Label(0), ((0, 1), (1, 2), (0, 2)))


def test_things_of_different_groups_are_different_things() -> None:
    task = task_with({**TRANSITIVE, "group": "task"})
    rows = [{**row, "task": number // 2} for number, row in enumerate(comparing("xy", "yz", "xz"))]
    assert groups_of(task, rows) == [0, 1, 2]
    assert [constraint.pairs for constraint in constraints_of(task, rows)] == [((0, 1), (1, 2)), ((0, 1),)]


def test_rows_are_paired_by_id_before_and_after_they_come() -> None:
    task = task_with({"kind": "pairs", "rule": "same_label", "pairs": [["c", "a"], ["b", "d"]]})
    rows = [{"id": id_} for id_ in "abcd"]
    assert groups_of(task, rows) == [0, 1, 0, 1]
    numbered = {Row(position): row for position, row in enumerate(rows)}
    found = list(compile_constraints(task.relations, task.labels, numbered, id_field="id"))
    assert [constraint.clusters for constraint in found] == [((0,), (2,)), ((1,), (3,))]
    assert {constraint.rule for constraint in found} == {Rule.SAME_LABEL}


def test_without_an_id_field_rows_are_paired_by_number() -> None:
    task = task_with({"kind": "pairs", "rule": "at_most_one", "pairs": [["0", "2"]], "label": "False"})
    assert constraints_of(task, [{}, {}, {}]) == [Constraint(Rule.AT_MOST_ONE, ((Row(0),), (Row(2),)), Label(1))]


def test_a_column_names_one_row_or_several_or_none() -> None:
    task = task_with({"kind": "pairs", "rule": "different_label", "column": "contradicts"})
    rows: list[dict[str, Any]] = [{"contradicts": value} for value in ([3, "1"], 0, None, "", 4)]
    assert groups_of(task, rows) == [0, 0, 1, 0, 2]
    assert [constraint.clusters for constraint in constraints_of(task, rows)] == [((0,), (3,)), ((0,), (1,))]


def test_pairs_of_another_shard_are_left_to_it() -> None:
    task = task_with({"kind": "pairs", "rule": "same_label", "pairs": [["0", "1"], ["7", "8"]]})
    [constraint] = compile_constraints(task.relations, task.labels, {Row(7): {}, Row(8): {}})
    assert constraint.rows == (7, 8)


@pytest.mark.parametrize("value", [{"id": 1}, [["a"]]])
def test_an_object_in_a_column_of_ids_is_refused_by_name(value: object) -> None:
    task = task_with({"kind": "pairs", "rule": "same_label", "column": "twin"})
    with pytest.raises(UnusableValue) as caught:
        groups_of(task, [{"twin": value}])
    assert caught.value.field == "twin"


RELATIONS: list[dict[str, Any]] = [
    TRANSITIVE,
    {**TRANSITIVE, "group": "g"},
    {"kind": "antisymmetric", "first": "a", "second": "b"},
    {"kind": "at_most_one", "group": "g", "distinct": "a"},
    {"kind": "exactly_one", "group": "b"},
    {"kind": "pairs", "rule": "same_label", "column": "other"},
]


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.sampled_from(RELATIONS), max_size=3), st.data())
def test_no_constraint_reaches_beyond_a_group(relations: list[dict[str, Any]], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    thing = st.sampled_from(["x", "y", "z", None])
    other = st.one_of(st.none(), st.integers(0, count - 1), st.lists(st.integers(0, count - 1), max_size=2))
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries({"a": thing, "b": thing, "g": thing, "other": other}), min_size=count, max_size=count
        )
    )
    task = task_with(*relations)
    groups = groups_of(task, rows)
    constraints = Constraints([Row(row) for row in range(count)], constraints_of(task, rows))
    for labels in itertools.product((Label(0), Label(1)), repeat=count):
        for conflict in constraints.conflicts(dict(zip(map(Row, range(count)), labels, strict=True))):
            assert len({groups[row] for row in conflict}) == 1


def test_rows_that_a_relation_ties_are_counted() -> None:
    task = task_with(TRANSITIVE, {"kind": "at_most_one", "group": "a", "distinct": "b"})
    related = RelatedRows(task.relations)
    for number, row in enumerate(comparing("xy", "yz", "xz", "xy", "pq", "pp")):
        related.add(row, str(number))
    order, most_one = related.counts()
    assert (order.rows, order.constraints, order.largest_group, order.rows_related_to_themselves) == (4, 1, 4, 1)
    assert (most_one.rows, most_one.constraints, most_one.largest_group) == (5, 2, 3)


@pytest.mark.parametrize(
    ("rule", "clusters", "left"),
    [
        (Rule.EXACTLY_ONE, ((0,), (1,), (2,)), (Rule.AT_MOST_ONE, ((0,), (2,)))),
        (Rule.EXACTLY_ONE, ((0, 1), (2,)), (Rule.EXACTLY_ONE, ((0,), (2,)))),
        (Rule.AT_MOST_ONE, ((0,), (1,)), None),
        (Rule.EXACTLY_ONE, ((0,), (1,)), None),
        (Rule.DIFFERENT_LABEL, ((0,), (1,), (2,)), (Rule.DIFFERENT_LABEL, ((0,), (2,)))),
        (Rule.SAME_LABEL, ((0,), (2,)), (Rule.SAME_LABEL, ((0,), (2,)))),
    ],
)
def test_a_row_that_is_left_out_takes_no_more_of_a_rule_than_it_must(
    rule: Rule, clusters: tuple[tuple[Row, ...], ...], left: tuple[Rule, tuple[tuple[Row, ...], ...]] | None
) -> None:
    found = Constraint(rule, clusters, Label(0)).without({Row(1)})
    assert (None if found is None else (found.rule, found.clusters)) == left


def test_a_comparison_that_is_left_out_leaves_the_others_with_their_things() -> None:
    order = Constraint(Rule.TRANSITIVE, ((Row(0),), (Row(1),), (Row(2),)), Label(0), ((0, 1), (1, 2), (0, 2)))
    found = order.without({Row(1)})
    assert found is not None
    assert found.pairs == ((0, 1), (0, 2))
