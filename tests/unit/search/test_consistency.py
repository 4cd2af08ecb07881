import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint, Constraints, Rule, TooManySteps
from tests.long import examples
from tests.unit.search.rules import conflicts, constraint_sets, labellings, rows

TRUE, FALSE, OTHER = Label(0), Label(1), Label(2)


def labels(*values: Label) -> dict[Row, Label]:
    return {Row(row): value for row, value in enumerate(values)}


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


ORDER = Constraint(Rule.TRANSITIVE, (rows(0), rows(1), rows(2)), TRUE, ((0, 1), (1, 2), (0, 2)))
CIRCLE = Constraint(Rule.TRANSITIVE, (rows(0), rows(1), rows(2)), TRUE, ((0, 1), (1, 2), (2, 0)))


@pytest.mark.parametrize(
    ("constraint", "given_labels", "broken"),
    [
        (ORDER, labels(TRUE, TRUE, TRUE), []),
        (ORDER, labels(TRUE, FALSE, FALSE), []),
        (ORDER, labels(TRUE, TRUE, FALSE), [(0, 1, 2)]),
        (ORDER, labels(TRUE, TRUE), []),  # the third row may yet be true
        (CIRCLE, labels(TRUE, TRUE, FALSE), []),
        (CIRCLE, labels(TRUE, TRUE, TRUE), [(0, 1, 2)]),  # no order goes in a circle
    ],
)
def test_a_path_whose_end_is_denied_and_a_circle_are_one_conflict(
    constraint: Constraint, given_labels: dict[Row, Label], broken: list[tuple[int, ...]]
) -> None:
    assert Constraints(rows(0, 1, 2), [constraint]).conflicts(given_labels) == broken


def test_a_circle_among_rows_in_both_directions_is_one_conflict_of_all_six() -> None:
    pairs = ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))
    order = Constraint(Rule.TRANSITIVE, tuple(rows(number) for number in range(6)), TRUE, pairs)
    constraints = Constraints(rows(*range(6)), [order])
    assert constraints.conflicts(labels(TRUE, TRUE, TRUE, FALSE, FALSE, FALSE)) == [(0, 1, 2, 3, 4, 5)]


def test_rows_with_the_same_claim_count_as_one() -> None:
    twice = Constraint(Rule.TRANSITIVE, (rows(0, 3), rows(1), rows(2)), TRUE, ((0, 1), (1, 2), (0, 2)))
    constraints = Constraints(rows(0, 1, 2, 3), [twice])
    assert constraints.conflicts(labels(TRUE, TRUE, FALSE, FALSE)) == [(0, 1, 2, 3)]
    assert constraints.conflicts(labels(TRUE, TRUE, FALSE, TRUE)) == [(0, 1, 2, 3)]
    assert constraints.conflicts(labels(FALSE, TRUE, FALSE, FALSE)) == []


def test_a_row_between_things_that_are_in_conflict_already_is_part_of_the_conflict_whatever_its_label() -> None:
    order = Constraint(
        Rule.TRANSITIVE, tuple(rows(number) for number in range(4)), TRUE, ((0, 1), (1, 2), (1, 0), (2, 0))
    )
    constraints = Constraints(rows(*range(4)), [order])
    fixed = {Row(1): TRUE, Row(2): FALSE, Row(3): TRUE}  # 1 before 2, 2 before 0, but not 1 before 0
    assert list(constraints.consistent(rows(0), fixed, 2)) == []


@settings(max_examples=examples(300), deadline=None)
@given(constraint_sets(), st.integers(2, 3), st.data())
def test_conflicts_are_those_of_the_definition(
    drawn: tuple[int, list[Constraint]], classes: int, data: st.DataObject
) -> None:
    count, given_constraints = drawn
    labelling = data.draw(st.sampled_from(labellings(count, classes)))
    constraints = Constraints(rows(*range(count)), given_constraints)
    found = constraints.conflicts(labelling)
    assert found == sorted(set(found))  # whatever the order of the rules
    assert set(map(frozenset, found)) == conflicts(given_constraints, labelling)
    for row in rows(*range(count)):
        assert constraints.conflicts_of([row], labelling) == [conflict for conflict in found if row in conflict]


@settings(max_examples=examples(150), deadline=None)
@given(constraint_sets(), st.integers(2, 3))
def test_consistent_labellings_are_exactly_those_without_conflict(
    drawn: tuple[int, list[Constraint]], classes: int
) -> None:
    count, given_constraints = drawn
    everything = rows(*range(count))
    found = list(Constraints(everything, given_constraints).consistent(everything, {}, classes))
    assert found == [labels for labels in labellings(count, classes) if not conflicts(given_constraints, labels)]


@settings(max_examples=examples(150), deadline=None)
@given(constraint_sets(), st.integers(2, 3), st.data())
def test_beside_fixed_labels_the_labellings_without_a_conflict_of_the_other_rows_are_found(
    drawn: tuple[int, list[Constraint]], classes: int, data: st.DataObject
) -> None:
    count, given_constraints = drawn
    free = rows(*data.draw(st.sets(st.integers(0, count - 1))))
    fixed = data.draw(st.sampled_from(labellings(count, classes)))
    fixed = {row: label for row, label in fixed.items() if row not in free}
    found = list(Constraints(rows(*range(count)), given_constraints).consistent(free, fixed, classes))
    every = [labels for labels in labellings(count, classes) if labels.items() >= fixed.items()]
    wanted = [labels for labels in every if not any(set(free) & c for c in conflicts(given_constraints, labels))]
    assert sorted(tuple(choice[row] for row in free) for choice in found) == sorted(
        tuple(labels[row] for row in free) for labels in wanted
    )


def test_a_listing_that_takes_too_long_says_so() -> None:
    constraints = Constraints(rows(*range(30)), [Constraint(Rule.SAME_LABEL, (rows(0), rows(29)), TRUE)])
    with pytest.raises(TooManySteps):
        list(constraints.consistent(rows(*range(30)), {}, 2, max_steps=1_000))


@settings(max_examples=examples(100), deadline=None)
@given(constraint_sets(), st.data())
def test_groups_are_never_split_by_a_rule(drawn: tuple[int, list[Constraint]], data: st.DataObject) -> None:
    count, given_constraints = drawn
    constraints = Constraints(rows(*range(count)), given_constraints)
    assert sorted(row for group in constraints.groups for row in group) == list(range(count))
    for constraint in given_constraints:
        assert len({constraints.group_of[row] for row in constraint.rows}) == 1
    labelling = data.draw(st.sampled_from(labellings(count, 2)))
    for conflict in constraints.conflicts(labelling):
        assert len({constraints.group_of[row] for row in conflict}) == 1
