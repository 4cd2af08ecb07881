"""The shares that a gap between predictions shows, on predictions drawn at random."""

from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.predictions.calibration import calibrated, even_shares
from service.search.predictions.gap import shares_shown
from service.search.predictions.scores import Scores, likeliest, normalized

ROWS = 200


def drawn(shares: tuple[float, ...], *, apart: float, bias: float = 0.0, seed: int = 0) -> tuple[Scores, list[int]]:
    """Predictions that raise the row's own label by `apart` and the first one by `bias`, nats, beside unit noise."""
    rng = Random(seed)
    labels = [label for label, share in enumerate(shares) for _ in range(round(share * ROWS))]
    scores = {}
    for row, label in enumerate(labels):
        values = [rng.gauss(apart * (label == other), 1) + bias * (other == 0) for other in range(len(shares))]
        scores[Row(row)] = normalized(tuple(values))
    return scores, labels


def right(scores: Scores, labels: list[int], shares: tuple[float, ...]) -> float:
    """The share of rows whose likeliest label after calibration to the shares is their own."""
    found = calibrated(scores, shares)
    return sum(likeliest(found[Row(row)]) == label for row, label in enumerate(labels)) / len(labels)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.03, 0.97), (0.7, 0.1, 0.1, 0.1), (0.4, 0.3, 0.2, 0.1)])
@pytest.mark.parametrize("bias", [-3.0, 0.0, 3.0])
def test_the_shares_of_labels_set_apart_are_found_whatever_the_bias(shares: tuple[float, ...], bias: float) -> None:
    scores, labels = drawn(shares, apart=6.0, bias=bias)
    shown = tuple(shares_shown(scores, even_shares(len(shares))))
    assert shown == pytest.approx(shares, abs=0.02)
    assert right(scores, labels, shown) >= 0.97


@pytest.mark.parametrize("apart", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_predictions_without_a_gap_keep_the_assumed_shares(apart: float, seed: int) -> None:
    scores, _ = drawn((0.8, 0.2), apart=apart, seed=seed)
    assert shares_shown(scores, (0.6, 0.4)) == (0.6, 0.4)


def test_a_few_outliers_are_no_group() -> None:
    scores = dict(drawn((1.0, 0.0), apart=0.0)[0])
    scores[Row(0)] = scores[Row(1)] = normalized((0.0, 30.0))
    assert shares_shown(scores, even_shares(2)) == even_shares(2)


def test_a_label_without_a_gap_keeps_its_calibration_against_others_without_one() -> None:
    scores, labels = drawn((0.6, 0.2, 0.2), apart=0.0)
    apart = {row: values for row, values in scores.items() if labels[row]}
    first = {row: normalized((12.0, *values[1:])) for row, values in scores.items() if not labels[row]}
    shown = shares_shown({**apart, **first}, even_shares(3))
    assert shown[0] == pytest.approx(0.6, abs=0.02)
    found = calibrated({**apart, **first}, shown)
    assert {likeliest(found[row]) for row in apart} == {Label(1), Label(2)}


@pytest.mark.parametrize("scores", [{}, {Row(0): (-0.1, -2.3)}, {Row(row): (-0.7, -0.7) for row in range(9)}])
def test_too_few_or_equal_predictions_show_nothing(scores: Scores) -> None:
    assert shares_shown(scores, (0.7, 0.3)) == (0.7, 0.3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_long_tail_of_skewed_predictions_is_no_group(sign: int, seed: int) -> None:
    rng = Random(seed)
    scores = {Row(row): normalized((sign * rng.expovariate(1 / 4), 0.0)) for row in range(ROWS)}
    assert shares_shown(scores, (0.6, 0.4)) == (0.6, 0.4)


def test_log_odds_far_beyond_the_range_of_floats_are_compared() -> None:
    scores = {Row(row): (0.0, -900.0 - row) if row % 4 else (-800.0 - row, 0.0) for row in range(40)}
    shown = shares_shown(scores, even_shares(2))
    assert tuple(shown) == pytest.approx((0.75, 0.25))
