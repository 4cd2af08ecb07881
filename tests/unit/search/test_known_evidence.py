import math
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.measures.known_evidence import SLIP, fit_nats, part_of_other
from service.search.predictions.calibration import even_shares
from service.search.predictions.panel import pooled
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import normalized
from service.search.state.problem import Problem

ROWS = 64


def knowing(count: int, classes: int = 2) -> Problem:
    """Row number modulo classes is the label; the first rows are known."""
    labels = tuple(map(str, range(classes)))
    known = {Row(row): Label(row % classes) for row in range(count)}
    return Problem(texts={Row(row): str(row) for row in range(ROWS)}, labels=labels, known=known)


def told(seed: int, strength: float, noise: float = 1.0, classes: int = 2) -> dict[Row, LogProbabilities]:
    """Scores that prefer each row's label by so many nats, with noise."""
    rng = Random(seed)
    return {
        Row(row): normalized(tuple(rng.gauss(strength * (label == row % classes), noise) for label in range(classes)))
        for row in range(ROWS)
    }


def test_known_labels_that_are_as_likely_as_by_chance_fit_by_nothing_and_sure_ones_by_the_entropy() -> None:
    problem = knowing(10)
    assert fit_nats(problem, dict.fromkeys(problem.rows, (math.log(0.5),) * 2)) == pytest.approx(0)
    assert fit_nats(problem, told(0, 50.0, 0.0)) == pytest.approx(10 * math.log(2), rel=0.05)
    assert fit_nats(problem, {Row(40): (-9.0, 0.0)}) == 0


def test_one_slip_among_the_known_labels_costs_little_however_sure_the_scores_are() -> None:
    problem = knowing(10)
    scores = told(0, 50.0, 0.0)
    assert fit_nats(problem, {**scores, Row(3): (0.0, -50.0)}) >= fit_nats(problem, scores) - math.log(2 / SLIP)


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_weights_the_source_that_predicts_known_rows(seed: int) -> None:
    problem, right, noise = knowing(16), told(seed, 3.0), told(seed + 10, 0.0, 2.0)
    assert part_of_other(problem, right, noise, even_shares(2)) < 0.3
    assert part_of_other(problem, noise, right, even_shares(2)) > 0.7


def test_two_sources_that_predict_alike_both_get_weight() -> None:
    problem = knowing(16)
    part = part_of_other(problem, told(1, 1.5), told(2, 1.5), even_shares(2))
    assert 0.25 < part < 0.75


def test_a_source_that_agrees_with_nothing_is_left_out_though_lucky() -> None:
    problem, right, noise = knowing(4), told(1, 1.5), told(2, 0.0, 1.0)
    lucky = {**noise, **{row: noise[Row(row + 1 - 2 * label)] for row, label in problem.known.items()}}
    for other in (noise, lucky):
        assert part_of_other(problem, right, other, even_shares(2)) == pytest.approx(0, abs=0.001)


def test_a_choice_made_on_known_rows_needs_a_margin_of_likelihood() -> None:
    problem, own, other = knowing(8), told(1, 0.3), told(5, 0.0)
    lucky = {**other, **{row: (-0.5 - label, -1.5 + label) for row, label in problem.known.items()}}
    assert part_of_other(problem, own, lucky, even_shares(2)) > 0.3
    assert part_of_other(problem, own, lucky, even_shares(2), handicap_nats=4.0) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("seed", range(12))
def test_the_mean_never_predicts_known_rows_worse_than_what_it_begins_with(seed: int) -> None:
    rng = Random(seed)
    problem = knowing(rng.choice([2, 5, 16, 40]), 3)
    own, other = (told(seed + 100 * n, rng.uniform(-1, 2), rng.uniform(0, 3), 3) for n in range(2))
    part = part_of_other(problem, own, other, even_shares(3))
    mixed = pooled([own, other], [1 - part, part], even_shares(3))
    assert fit_nats(problem, mixed) >= fit_nats(problem, pooled([own], [1.0], even_shares(3))) - 0.01


def test_predictions_that_agree_get_half_the_weight_each_without_known_rows() -> None:
    scores = told(0, 2.0)
    assert part_of_other(knowing(0), scores, told(1, 2.0), even_shares(2)) == pytest.approx(0.5)
    assert part_of_other(knowing(0), scores, told(1, 0.0), even_shares(2)) == pytest.approx(0, abs=0.001)
    unasked = {row: values for row, values in scores.items() if row >= 8}
    assert part_of_other(knowing(8), unasked, scores, even_shares(2)) == pytest.approx(0.5)
