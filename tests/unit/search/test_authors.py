import math
from collections import Counter

import pytest

from service.identifiers import Label, Row
from service.search.moves import repair
from service.search.moves.schedule import FEWEST_DRAWS, draws
from service.search.prompting.evaluation import leave_one_out
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Candidate, Phase, State, StopReason
from service.search.strategies import authors
from service.search.strategies.authors import Authors, as_released, temperature, two_options
from tests.toy import ToyWorld, drive, resolve

A, B, C = Label(0), Label(1), Label(2)


class Opposed(ToyWorld):
    """Scores by which even rows are True and odd ones False, whatever the examples are."""

    def log_probabilities(self, row: Row, others: object) -> tuple[float, ...]:
        return (-0.01, -5.0) if row % 2 == 0 else (-5.0, -0.01)


def alike(rows: int = 2) -> Problem:
    """Rows that must have the same label."""
    rule = Constraint(Rule.SAME_LABEL, tuple((Row(row),) for row in range(rows)), A)
    texts = {Row(row): f"row {row}" for row in range(rows)}
    return Problem(
        texts=texts, labels=("True", "False"), separator="\n", constraint_list=[rule], parameters=Parameters()
    )


def started(world: ToyWorld, problem: Problem) -> State:
    return drive(world, problem, Authors())[1]


@pytest.mark.parametrize(("accepted", "expected"), [(0, 10.0), (1, 10 / (1 + 2 * math.log(2))), (10**300, 0.01)])
def test_the_temperature_falls_with_the_changes_accepted(accepted: int, expected: float) -> None:
    problem = ToyWorld(4, 2, False, 0).problem(initial_temperature=10.0 if accepted < 10**300 else 1.0)
    assert temperature(problem, accepted) == pytest.approx(expected)


@pytest.mark.parametrize(("classes", "shares"), [(2, [4, 4]), (3, [2, 3, 3])])
def test_seeds_are_balanced(classes: int, shares: list[int]) -> None:
    for seed in range(5):
        world = ToyWorld(20, classes, False, seed)
        labels = started(world, world.problem(seed)).labels
        assert sorted(Counter(labels.values()).values()) == shares


def test_rows_that_may_not_agree_get_two_labels_in_either_order() -> None:
    labels = {Row(0): B, Row(1): B, Row(2): C}
    options = two_options(ToyWorld(3, 3, False, 0).problem(), labels, (Row(0), Row(1)))
    assert options == [{0: B, 1: A, 2: C}, {0: A, 1: B, 2: C}]


def test_rows_that_must_agree_get_either_of_their_labels() -> None:
    labels = {Row(0): B, Row(1): A, Row(2): C}
    options = two_options(ToyWorld(3, 3, False, 0).problem(), labels, (Row(0), Row(2)))
    assert options == [{0: B, 1: A, 2: B}, {0: C, 1: A, 2: C}]


def test_a_first_repair_is_taken_though_it_lowers_utility_where_algorithm_2_would_not() -> None:
    world, problem = Opposed(2, 2, False, 0), alike()
    right = {Row(0): A, Row(1): B}
    [candidate] = resolve(world, leave_one_out(problem, right))
    repaired = resolve(world, authors._repair(problem, right, problem.random("repair")))
    assert len(set(repaired.labels.values())) == 1
    assert repaired.utility < as_released(problem, right, candidate).utility
    assert resolve(world, repair.repair(problem, candidate, problem.random("repair"))).labels == right


def test_further_repairs_must_raise_utility() -> None:
    world, problem = Opposed(4, 2, False, 0), alike(4)
    labels = {Row(0): A, Row(1): B, Row(2): A, Row(3): B}
    for seed in range(5):  # the second repair takes back the first, which cost far more than a conflict weighs
        repaired = resolve(world, authors._repair(problem, labels, problem.random("repair", seed)))
        assert repaired.labels == labels


def test_the_released_utility_counts_log_odds_and_conflicts() -> None:
    problem = alike()
    scores = {Row(0): (-1.0, -3.0), Row(1): (-2.5, -0.5)}
    labels = {Row(0): A, Row(1): B}
    assert as_released(problem, labels, Candidate(labels, scores, 0.0)).utility == pytest.approx(50 * 2.0 - 1)


def test_rows_that_no_draw_has_labelled_stay_unlabelled() -> None:
    world = ToyWorld(140, 2, False, 0)
    end = drive(world, world.problem(draws_per_row=0.1), Authors())[-1]
    assert end.iterations == FEWEST_DRAWS
    assert 8 < len(end.labels) < 108
    assert end.scores.keys() == end.labels.keys()
    assert end.stop is StopReason.DRAWS_DONE
    assert end.phase is Phase.DONE


def test_without_relations_there_are_no_conflicts_to_repair() -> None:
    world = ToyWorld(12, 2, False, 1)  # whatever is right: nothing but relations makes a conflict
    problem = world.problem()
    request = next(Authors().step(problem, State()))
    assert len(request) == 1
    assert all(problem.constraints.conflicts(state.labels) == [] for state in drive(world, problem, Authors()))


def test_the_planted_labels_or_their_mirror_image_are_mostly_found() -> None:
    for seed in range(5):
        world = ToyWorld(10, 2, False, seed)
        labels = drive(world, world.problem(seed), Authors())[-1].labels
        right = sum(labels[row] == label for row, label in world.planted.items())
        assert max(right, 10 - right) >= 9


@pytest.mark.parametrize(("per_row", "rows", "expected"), [(5, 10, 100), (5, 21, 105), (0.5, 301, 151)])
def test_small_sets_are_drawn_from_a_hundred_times(per_row: float, rows: int, expected: int) -> None:
    assert draws(Parameters(draws_per_row=per_row), rows) == expected
