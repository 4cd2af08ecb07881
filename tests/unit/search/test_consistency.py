import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.consistency import Constraint, Constraints, Rule

TRUE, FALSE, OTHER = Label(0), Label(1), Label(2)


def rows(*numbers: int) -> tuple[Row, ...]:
    return tuple(map(Row, numbers))


def labels(*values: Label) -> dict[Row, Label]:
    return {Row(row): value for row, value in enumerate(values)}


@st.composite
def constraint_sets(draw: st.DrawFn) -> tuple[int, list[Constraint]]:
    """Up to five rows with up to three random rules among them."""
    count = draw(st.integers(1, 5))
    constraints = []
    for _ in range(draw(st.integers(0, 3))):
        members = draw(st.permutations(range(count)))[: draw(st.integers(1, count))]
        cut = draw(st.integers(0, len(members)))
        clusters = tuple(rows(*part) for part in (members[:cut], members[cut:]) if part)
        constraints.append(Constraint(draw(st.sampled_from(Rule)), clusters, Label(draw(st.integers(0, 1)))))
    return count, constraints


@pytest.mark.parametrize(
    ("rule", "given_labels", "broken"),
    [
        (Rule.AT_MOST_ONE, labels(TRUE, FALSE, FALSE), 0),
        (Rule.AT_MOST_ONE, labels(FALSE, FALSE, FALSE), 0),
        (Rule.AT_MOST_ONE, labels(TRUE, TRUE, FALSE), 1),
        (Rule.AT_MOST_ONE, labels(TRUE, TRUE, TRUE), 3),
        (Rule.EXACTLY_ONE, labels(FALSE, FALSE, FALSE), 1),
        (Rule.EXACTLY_ONE, labels(FALSE, TRUE, FALSE), 0),
        (Rule.EXACTLY_ONE, {Row(0): FALSE, Row(1): FALSE}, 0),  # the third may still be it
        (Rule.SAME_LABEL, labels(TRUE, TRUE, TRUE), 0),
        (Rule.SAME_LABEL, labels(TRUE, FALSE, TRUE), 2),
        (Rule.DIFFERENT_LABEL, labels(TRUE, FALSE, OTHER), 0),
        (Rule.DIFFERENT_LABEL, labels(TRUE, FALSE, FALSE), 1),
    ],
)
def test_conflicts_are_the_pairs_that_break_the_rule(rule: Rule, given_labels: dict[Row, Label], broken: int) -> None:
    constraint = Constraint(rule, (rows(0), rows(1), rows(2)), TRUE)
    assert len(Constraints(rows(0, 1, 2), [constraint]).conflicts(given_labels)) == broken


def test_rows_of_one_cluster_may_share_the_label() -> None:
    same_answer = Constraint(Rule.AT_MOST_ONE, (rows(0, 1), rows(2)), TRUE)
    constraints = Constraints(rows(0, 1, 2), [same_answer])
    assert constraints.conflicts(labels(TRUE, TRUE, FALSE)) == []
    assert constraints.conflicts(labels(TRUE, TRUE, TRUE)) == [(0, 2), (1, 2)]


def test_a_pair_broken_by_two_rules_is_one_conflict() -> None:
    pair = (rows(0), rows(1))
    rules = [Constraint(Rule.AT_MOST_ONE, pair, TRUE), Constraint(Rule.DIFFERENT_LABEL, pair, TRUE)]
    assert Constraints(rows(0, 1), rules).conflicts(labels(TRUE, TRUE)) == [(0, 1)]


def test_groups_are_the_rows_that_rules_connect() -> None:
    chain = [Constraint(Rule.SAME_LABEL, (rows(a), rows(b)), TRUE) for a, b in ((0, 2), (2, 4))]
    constraints = Constraints(rows(0, 1, 2, 3, 4), chain)
    assert constraints.groups == (rows(0, 2, 4), rows(1), rows(3))
    assert constraints.mates(Row(2)) == rows(0, 4)


@settings(max_examples=150, deadline=None)
@given(constraint_sets(), st.integers(2, 3))
def test_consistent_labellings_are_exactly_those_without_conflict(
    drawn: tuple[int, list[Constraint]], classes: int
) -> None:
    count, given_constraints = drawn
    everything = rows(*range(count))
    constraints = Constraints(everything, given_constraints)
    found = [
        tuple(labelling[row] for row in everything) for labelling in constraints.consistent(everything, {}, classes)
    ]
    every = itertools.product(map(Label, range(classes)), repeat=count)
    assert found == [choice for choice in every if not constraints.conflicts(labels(*choice))]


@settings(max_examples=100, deadline=None)
@given(constraint_sets(), st.data())
def test_conflicts_do_not_depend_on_the_order_of_rules(
    drawn: tuple[int, list[Constraint]], data: st.DataObject
) -> None:
    count, given_constraints = drawn
    everything = rows(*range(count))
    labelling = {row: Label(data.draw(st.integers(0, 1))) for row in everything}
    shuffled = data.draw(st.permutations(given_constraints))
    assert Constraints(everything, given_constraints).conflicts(labelling) == Constraints(
        everything, shuffled
    ).conflicts(labelling)
