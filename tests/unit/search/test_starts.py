import math
from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.state.problem import Problem
from service.search.state.steps import Phase
from service.search.strategies import starts
from service.search.strategies.folds import Folds
from tests.toy import ToyWorld, drive, resolve


def first_prompts(problem: Problem, seed: int, *, seeded: bool) -> list[str]:
    """The first prompts of a start."""
    request = next(starts.start(problem, problem.random("start", seed), seeded=seeded))
    return [prompt for tree in request for _, prompt in tree.prompts()]


def restarts(world: ToyWorld, **parameters: int) -> tuple[int, float]:
    """How many starts a search made, and how much they agreed."""
    summary = drive(world, world.problem(0, **parameters), Folds())[-1].facts
    agreement = summary["restart_agreement"]
    assert agreement is not None
    return len(summary["restart_utilities"]), agreement


def test_two_starts_that_agree_end_the_restarts() -> None:
    assert restarts(ToyWorld(40, 2, False, 1, home=3.0), restarts=6) == (2, 1.0)


class Fickle(ToyWorld):
    """A world in which every prompt has an answer of its own, so that no two starts find the same."""

    def log_probabilities(self, row: Row, others: Mapping[Row, Label]) -> LogProbabilities:
        first = Random(f"{row} {sorted(others.items())}").uniform(0.1, 0.9)
        return (math.log(first), math.log(1 - first))


def test_starts_that_find_different_labellings_are_all_made() -> None:
    count, agreement = restarts(Fickle(40, 2, False, 1), restarts=3)
    assert count == 3
    assert agreement < 0.9


def test_a_tiny_set_is_begun_four_times_as_often_even_if_two_starts_agree() -> None:
    assert restarts(ToyWorld(starts.TINY_ROWS, 2, False, 1, home=3.0), restarts=2)[0] == 8
    assert restarts(ToyWorld(starts.TINY_ROWS + 1, 2, False, 1, home=3.0), restarts=2)[0] == 2


@pytest.mark.parametrize("seed_labels", [1, 8, 13])
def test_seeded_starts_begin_behind_k_random_labels(seed_labels: int) -> None:
    problem = ToyWorld(30, 2, False, 0).problem(seed_labels=seed_labels)
    labels = Counter[str]()
    for seed in range(20):
        for prompt in first_prompts(problem, seed, seeded=True):
            shown = prompt.split("\n")[:-1]
            assert len(shown) == seed_labels
            labels.update(line.split()[2] for line in shown)
    assert min(labels["True"], labels["False"]) > 0.3 * labels.total()


def test_other_starts_begin_with_no_label_at_all() -> None:
    [prompt] = first_prompts(ToyWorld(30, 2, False, 0).problem(), 0, seeded=False)
    assert "\n" not in prompt


def test_random_labels_of_related_rows_break_no_rule() -> None:
    world = ToyWorld(30, 2, True, 0)
    for seed in range(10):
        for prompt in first_prompts(world.problem(), seed, seeded=True):
            shown = {int(row): label for _, row, label in map(str.split, prompt.split("\n")[:-1])}
            assert all({shown[row], shown[row + 1]} == {"True", "False"} for row in shown if row % 2 == 0)


def test_every_start_labels_the_same_first_rows_in_prompts() -> None:
    world = ToyWorld(60, 2, True, 0)
    problem = world.problem(initial_rows=20)
    small = [row for group in starts.start_groups(problem) for row in group]
    assert small == list(problem.order[:20])
    for seed in range(3):
        found = resolve(world, starts.start(problem, problem.random("start", seed), seeded=seed % 2 == 1))
        assert found.labels.keys() == set(small) == found.scores.keys()


def test_a_start_that_found_the_mirror_image_is_turned_right() -> None:
    world = ToyWorld(24, 2, False, 3, home=0.4)
    problem = world.problem()
    mirrored = {row: Label(1 - label) for row, label in world.planted.items()}
    found = resolve(world, starts._polish(problem, problem.in_order(mirrored)))
    assert found.labels == mirrored
    assert resolve(world, starts.choose_polarity(problem, found, problem.random("turn"))).labels == world.planted


def test_growth_labels_twice_as_many_rows_each_time() -> None:
    world = ToyWorld(100, 2, False, 1, home=2.0)
    states = drive(world, world.problem(initial_rows=12), Folds())
    sizes = [len(state.labels) for state in states if state.phase is Phase.GROW]
    assert sizes == [12, 24, 48, 96, 100]
