import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.moves.proposal import RELATED_WEIGHT, propose_row
from service.search.moves.schedule import accepts, temperature
from service.search.predictions.scores import likeliest, margin, normalized
from service.search.rules.consistency import Constraint, Rule
from service.search.state.objective import mutual_predictability, utility
from service.search.state.problem import Parameters, Problem

A, B = Label(0), Label(1)
ROWS = (Row(0), Row(1))
SCORES = {Row(0): (math.log(0.8), math.log(0.2)), Row(1): (math.log(0.4), math.log(0.6))}


def problem_with(**parameters: object) -> Problem:
    both = Constraint(Rule.AT_MOST_ONE, ((Row(0),), (Row(1),)), A)
    return Problem(
        texts={row: f"row {row}" for row in ROWS},
        labels=("A", "B"),
        constraint_list=[both],
        parameters=Parameters(**parameters),  # type: ignore[arg-type]  # fields of Parameters by name
    )


def test_mutual_predictability_is_the_mean_log_probability_of_the_labels() -> None:
    expected = (math.log(0.8) + math.log(0.6)) / 2
    assert mutual_predictability(problem_with(), {Row(0): A, Row(1): B}, SCORES) == pytest.approx(expected)


def test_the_sum_form_is_the_formula_as_printed() -> None:
    expected = math.log(0.8) + math.log(0.6)
    assert mutual_predictability(problem_with(mean=False), {Row(0): A, Row(1): B}, SCORES) == pytest.approx(expected)


def test_utility_weighs_predictability_by_alpha_and_subtracts_each_conflict() -> None:
    labels = {Row(0): A, Row(1): A}
    predictability = (math.log(0.8) + math.log(0.4)) / 2
    assert utility(problem_with(alpha=20.0), labels, SCORES) == pytest.approx(20 * predictability - 1)


def test_a_labelling_of_nothing_has_no_utility_and_no_conflict() -> None:
    assert utility(problem_with(), {}, {}) == 0


@given(st.lists(st.floats(-1000, 0), min_size=2, max_size=5))
def test_normalized_probabilities_sum_to_one_and_keep_differences(values: list[float]) -> None:
    result = normalized(tuple(values))
    assert math.fsum(map(math.exp, result)) == pytest.approx(1)
    assert result[0] - result[1] == pytest.approx(values[0] - values[1], abs=1e-9)


def test_of_equally_likely_labels_the_first_is_taken() -> None:
    assert likeliest((-1.0, -1.0)) == A


def test_the_margin_is_negative_where_another_label_is_likelier() -> None:
    assert margin((-2.0, -0.5), A) == -1.5
    assert margin((-2.0, -0.5), B) == 1.5


@pytest.mark.parametrize(("iteration", "expected"), [(1, 10.0), (2, 10 / (1 + 0.99 * math.log(2))), (10**9, 0.4649)])
def test_temperature_falls_with_the_logarithm_of_the_iteration(iteration: int, expected: float) -> None:
    assert temperature(Parameters(), iteration) == pytest.approx(expected, rel=1e-3)


def test_temperature_does_not_fall_below_its_floor() -> None:
    assert temperature(Parameters(final_temperature=5.0), 10**9) == 5.0


def test_gains_are_always_accepted_and_huge_losses_never() -> None:
    rng = Random(0)
    assert all(accepts(1e-9, 0.01, rng) for _ in range(100))
    assert not any(accepts(-1000.0, 0.01, rng) for _ in range(100))


def test_losses_are_accepted_with_the_boltzmann_probability() -> None:
    rng = Random(0)
    share = sum(accepts(-1.0, 2.0, rng) for _ in range(20_000)) / 20_000
    assert share == pytest.approx(math.exp(-0.5), abs=0.015)


def test_rows_tied_to_labelled_ones_are_drawn_a_hundred_times_as_often() -> None:
    texts = {Row(row): str(row) for row in range(4)}
    pair = Constraint(Rule.AT_MOST_ONE, ((Row(0),), (Row(1),)), A)
    problem = Problem(texts=texts, labels=("A", "B"), constraint_list=[pair])
    rng = Random(0)
    drawn = [propose_row(problem, {Row(0): A}, rng) for _ in range(20_000)]
    expected = RELATED_WEIGHT / (RELATED_WEIGHT + 3)
    assert drawn.count(Row(1)) / len(drawn) == pytest.approx(expected, abs=0.01)
