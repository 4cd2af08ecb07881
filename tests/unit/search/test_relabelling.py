from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.moves.relabelling import cautious, expected_shares, relabelled
from service.search.predictions.scores import normalized
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Problem

ROWS = 20


def problem(classes: int = 2, **changes: object) -> Problem:
    texts = {Row(row): str(row) for row in range(ROWS)}
    return Problem(texts=texts, labels=tuple("abcd"[:classes]), **changes)  # type: ignore[arg-type]


SCORES = {Row(row): normalized((row - 4.5, 0.0)) for row in range(ROWS)}  # 5 rows prefer the second label


def test_without_bounds_shares_are_expected_halfway_to_even_ones() -> None:
    assert expected_shares(problem(), (0.9, 0.1)) == pytest.approx((0.7, 0.3))


def test_bounds_that_the_user_knows_are_kept() -> None:
    known = problem(shares={Label(0): (0.1, 0.2)})
    assert expected_shares(known, (0.9, 0.1)) == pytest.approx((0.2, 0.8))
    assert expected_shares(problem(shares={Label(0): (0.65, 0.8)}), (0.9, 0.1)) == pytest.approx((0.7, 0.3))
    three = expected_shares(problem(3, shares={Label(2): (0.5, 0.5)}), (0.6, 0.2, 0.2))
    assert three[2] == pytest.approx(0.5)
    assert three[0] > three[1]


@given(st.data(), st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_expected_shares_add_up_to_1_and_none_is_0(data: st.DataObject, classes: int) -> None:
    weights = data.draw(st.lists(st.floats(0.001, 1), min_size=classes, max_size=classes))
    bounds = {}
    left = 1.0
    for label in data.draw(st.sets(st.integers(0, classes - 1), max_size=classes - 1)):
        share = data.draw(st.floats(0, left))
        bounds[Label(label)] = (share, share)
        left -= share
    found = expected_shares(problem(classes, shares=bounds), tuple(weight / sum(weights) for weight in weights))
    assert sum(found) == pytest.approx(1)
    assert min(found) > 0
    for label, (share, _) in bounds.items():
        assert found[label] == pytest.approx(share, abs=0.005)


def test_every_row_takes_its_likeliest_label() -> None:
    drawn = relabelled(problem(), {}, SCORES)
    assert drawn.labels == {Row(row): Label(row < 5) for row in range(ROWS)}
    assert drawn.unproven_groups == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_the_likeliest_rows_have_a_label_in_the_number_that_the_user_gives(share: float) -> None:
    drawn = relabelled(problem(shares={Label(1): (share, share)}), {}, SCORES)
    assert drawn.labels == {Row(row): Label(row < share * ROWS) for row in range(ROWS)}


def test_known_labels_and_rules_go_before_scores() -> None:
    rule = Constraint(Rule.SAME_LABEL, ((Row(0),), (Row(19),)), Label(0))
    chosen = problem(constraint_list=[rule], known={Row(1): Label(0)}, shares={Label(1): (0.2, 0.2)})
    labels = relabelled(chosen, {}, SCORES).labels
    assert labels[Row(0)] == labels[Row(19)]
    assert labels[Row(1)] == 0
    assert Counter(labels.values())[Label(1)] == 4


@pytest.mark.parametrize("shares", [(0.26, 0.32, 0.27, 0.15), (0.25,) * 4])
def test_shares_within_chance_count_as_even(shares: tuple[float, ...]) -> None:
    assert cautious(shares, 80) == pytest.approx((0.25,) * 4)


@pytest.mark.parametrize("rare", [0.1, 0.2])
def test_shares_that_chance_does_not_explain_are_nearly_kept_the_more_so_the_more_rows_there_are(rare: float) -> None:
    [few, many] = (cautious((rare, 1 - rare), rows) for rows in (60, 600))
    assert rare < many[0] < few[0] < rare + 0.05
    assert sum(few) == pytest.approx(1)
