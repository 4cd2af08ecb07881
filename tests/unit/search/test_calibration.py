import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.predictions.calibration import (
    calibrated,
    entropy,
    even_shares,
    label_shares,
    moderate,
    shift_to,
    shifted,
)
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import likeliest, normalized

FEW = settings(max_examples=20, deadline=None)


@st.composite
def scores_and_shares(draw: st.DrawFn) -> tuple[dict[Row, LogProbabilities], tuple[float, ...]]:
    """Scores of some rows, which may all lean one way, and shares of the labels."""
    classes = draw(st.integers(2, 4))
    lean = draw(st.lists(st.floats(-5, 5), min_size=classes, max_size=classes))
    values = st.lists(st.floats(-2, 2), min_size=classes, max_size=classes)
    drawn = draw(st.lists(values, min_size=1, max_size=6))
    weights = draw(st.lists(st.floats(0.05, 1), min_size=classes, max_size=classes))
    scores = {
        Row(row): normalized(tuple(a + b for a, b in zip(some, lean, strict=True))) for row, some in enumerate(drawn)
    }
    return scores, tuple(weight / sum(weights) for weight in weights)


def mean_probabilities(scores: Mapping[Row, LogProbabilities]) -> list[float]:
    columns = zip(*scores.values(), strict=True)
    return [sum(map(math.exp, column)) / len(scores) for column in columns]


@given(scores_and_shares())
@FEW
def test_after_calibration_the_mean_probability_of_each_label_is_its_share(
    drawn: tuple[dict[Row, LogProbabilities], tuple[float, ...]],
) -> None:
    scores, shares = drawn
    assert mean_probabilities(calibrated(scores, shares)) == pytest.approx(shares, abs=1e-3)


@given(scores_and_shares())
@FEW
def test_calibration_never_changes_which_of_two_rows_prefers_a_label_more(
    drawn: tuple[dict[Row, LogProbabilities], tuple[float, ...]],
) -> None:
    scores, shares = drawn
    found = calibrated(scores, shares)
    for one, before in scores.items():
        for other, rival in scores.items():
            lead = (before[0] - before[1]) - (rival[0] - rival[1])
            after = (found[one][0] - found[one][1]) - (found[other][0] - found[other][1])
            assert after == pytest.approx(lead, abs=1e-6)


@given(scores_and_shares(), st.floats(-9, 9))
@FEW
def test_a_constant_added_to_one_label_is_taken_out_again(
    drawn: tuple[dict[Row, LogProbabilities], tuple[float, ...]], lean: float
) -> None:
    scores, shares = drawn
    leaning = shifted(scores, (lean, *[0.0] * (len(shares) - 1)))
    expected, found = calibrated(scores, shares), calibrated(leaning, shares)
    for row in scores:
        assert list(map(math.exp, found[row])) == pytest.approx(list(map(math.exp, expected[row])), abs=2e-3)


def test_the_first_labels_constant_is_0_and_without_scores_all_are() -> None:
    assert shift_to([(-0.01, -5.0, -6.0)], (0.2, 0.3, 0.5))[0] == 0.0
    assert shift_to([], (0.2, 0.3, 0.5)) == (0.0, 0.0, 0.0)


def test_a_leaning_language_model_is_read_by_what_rows_differ_in() -> None:
    leaning = {Row(0): (-0.01, -4.6), Row(1): (-0.001, -6.9)}
    assert {likeliest(values) for values in leaning.values()} == {0}
    found = calibrated(leaning, even_shares(2))
    assert (likeliest(found[Row(0)]), likeliest(found[Row(1)])) == (1, 0)


def test_shares_are_smoothed_counts_of_the_rows_named() -> None:
    labels = {Row(row): Label(row == 3) for row in range(4)}
    assert label_shares(labels, labels, 2) == pytest.approx((3.5 / 5, 1.5 / 5))
    assert label_shares(labels, [Row(0), Row(1)], 3) == pytest.approx((2.5 / 3.5, 0.5 / 3.5, 0.5 / 3.5))
    assert label_shares({}, [], 2) == (0.5, 0.5)


def test_moderate_shares_lie_halfway_to_even_ones() -> None:
    assert moderate((0.9, 0.1)) == pytest.approx((0.7, 0.3))
    assert moderate(even_shares(5)) == pytest.approx(even_shares(5))


def test_entropy_is_greatest_for_even_shares() -> None:
    assert entropy(even_shares(3)) == pytest.approx(math.log(3))
    assert 0 < entropy((0.99, 0.01)) < entropy((0.7, 0.3)) < math.log(2)
