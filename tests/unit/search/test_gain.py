import math
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.measures.gain import (
    LEAST_WEIGHT,
    gain,
    gain_of,
    gain_utility,
    impression_weight,
    mean_gain,
    view_weight,
)
from service.search.predictions.calibration import shifted
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import normalized
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Parameters, Problem

ROWS = 400
HALVES = {Row(row): Label(row % 2) for row in range(ROWS)}


def telling(nats: float) -> dict[Row, LogProbabilities]:
    """Scores that prefer the labels of HALVES by so much."""
    return {row: normalized((nats * (label == 0), nats * (label == 1))) for row, label in HALVES.items()}


def noise(seed: int, size: float = 2.0) -> dict[Row, LogProbabilities]:
    rng = Random(seed)
    return {row: normalized((rng.gauss(0, size), rng.gauss(0, size))) for row in HALVES}


@pytest.mark.parametrize("lean", [0.0, 3.0, 12.0])
def test_one_label_everywhere_gains_nothing_however_certain_it_is(lean: float) -> None:
    alike = dict.fromkeys(HALVES, Label(0))
    assert gain(alike, shifted(dict.fromkeys(HALVES, (0.0, 0.0)), (lean, 0.0)), 2) == pytest.approx(0, abs=1e-3)
    assert gain(alike, shifted(telling(4.0), (lean, 0.0)), 2) < 0.02


@pytest.mark.parametrize("seed", range(2))
def test_noise_gains_less_than_nothing(seed: int) -> None:
    assert gain(HALVES, noise(seed), 2) < -0.1
    assert gain(HALVES, noise(seed, 0.01), 2) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_few_rows_with_one_label_gain_nothing_either(rows: int) -> None:
    alike = {Row(row): Label(0) for row in range(rows)}
    assert gain(alike, dict.fromkeys(alike, normalized((0.0, 2.0, 0.0))), 3) == pytest.approx(0, abs=1e-4)
    assert view_weight(alike, dict.fromkeys(alike, normalized((0.0, 2.0, 0.0))), 3) == LEAST_WEIGHT


def test_a_predictable_concept_gains_nearly_the_entropy_and_never_more() -> None:
    found = [gain(HALVES, telling(nats), 2) for nats in (0.0, 1.0, 3.0, 9.0)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert math.log(2) - 0.01 < found[-1] <= math.log(2)


def test_a_predictable_rare_label_gains_more_than_one_label_everywhere() -> None:
    rare = {row: Label(row % 10 == 0) for row in HALVES}
    told = {row: normalized((5.0 * (label == 0), 5.0 * (label == 1))) for row, label in rare.items()}
    assert gain(rare, told, 2) > 0.2
    assert gain(dict.fromkeys(HALVES, Label(0)), told, 2) < 0.02


def test_a_bias_towards_one_label_costs_nothing() -> None:
    leaning = shifted(telling(2.0), (5.0, 0.0))
    assert gain(HALVES, leaning, 2) == pytest.approx(gain(HALVES, telling(2.0), 2), abs=1e-4)


def test_rows_that_a_view_was_not_asked_for_are_left_out() -> None:
    few = {row: values for row, values in telling(9.0).items() if row < 100}
    assert gain(HALVES, few, 2) == pytest.approx(math.log(2), abs=0.01)
    assert gain(HALVES, {}, 2) == 0.0
    assert gain({}, few, 2) == 0.0


def test_the_gain_by_several_views_is_their_mean() -> None:
    views = [telling(2.0), noise(1)]
    assert mean_gain(HALVES, views, 2) == pytest.approx(sum(gain(HALVES, view, 2) for view in views) / 2)
    assert mean_gain(HALVES, [], 2) == 0.0


def test_a_view_weighs_its_gain_and_one_of_noise_hardly_anything() -> None:
    assert view_weight(HALVES, telling(2.0), 2) == gain(HALVES, telling(2.0), 2)
    assert view_weight(HALVES, noise(0), 2) == LEAST_WEIGHT


def test_utility_weighs_the_gain_against_broken_rules() -> None:
    rule = Constraint(Rule.EXACTLY_ONE, ((Row(0),), (Row(1),)), Label(0))
    texts = {Row(0): "a", Row(1): "b"}
    problem = Problem(texts=texts, labels=("T", "F"), constraint_list=[rule], parameters=Parameters(alpha=20.0))
    assert gain_utility(problem, {Row(0): Label(0), Row(1): Label(1)}, 0.5) == 10.0
    assert gain_utility(problem, {Row(0): Label(0), Row(1): Label(0)}, 0.5) == 9.0


def test_the_gain_does_not_contain_the_cost_of_conflicts() -> None:
    ties = [Constraint(Rule.DIFFERENT_LABEL, ((Row(row),), (Row(row + 1),)), Label(0)) for row in range(0, 20, 2)]
    problem = Problem(texts={Row(row): "text" for row in range(20)}, labels=["yes", "no"], constraint_list=ties)
    alike = dict.fromkeys(problem.rows, Label(0))
    assert gain_utility(problem, alike, 0.3) == pytest.approx(problem.parameters.alpha * 0.3 - 10)
    assert gain_of(problem, alike, gain_utility(problem, alike, 0.3)) == pytest.approx(0.3)


def test_an_impression_weighs_no_more_than_the_views_do_on_average() -> None:
    sure, unsure = telling(4.0), telling(0.5)
    others = [view_weight(HALVES, telling(nats), 2) for nats in (1.0, 2.0)]
    assert impression_weight(HALVES, sure, 2, others) == pytest.approx(sum(others) / 2)
    assert impression_weight(HALVES, unsure, 2, others) == view_weight(HALVES, unsure, 2) < min(others)
