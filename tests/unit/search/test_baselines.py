from dataclasses import replace

import pytest

from service.search.predictions.scores import likeliest
from service.search.state.steps import Phase, StopReason, Strategy
from service.search.strategies.baselines import Bootstrap, FewShotRandom, ZeroShot
from tests.toy import ToyWorld, drive, prompts


def rows_shown(prompt: str) -> list[int]:
    return [int(line.split()[1]) for line in prompt.split("\n")[:-1]]


@pytest.mark.parametrize("seed", range(2))
def test_a_consistent_bootstrap_breaks_no_relation(seed: int) -> None:
    world = ToyWorld(40, 2, True, seed)
    problem = world.problem(seed)
    end = drive(world, problem, Bootstrap(consistent=True))[-1]
    assert end.labels.keys() == set(problem.rows)
    assert problem.constraints.conflicts(end.labels) == []


def test_a_bootstrap_that_ignores_relations_takes_the_likeliest_label_of_each_row() -> None:
    broken = 0
    for seed in range(5):
        world = ToyWorld(40, 2, True, seed)
        problem = world.problem(seed, rounds=1)
        end = drive(world, problem, Bootstrap(consistent=False))[-1]
        assert end.labels == {row: likeliest(end.scores[row]) for row in problem.rows}
        broken += len(problem.constraints.conflicts(end.labels))
    assert broken > 0


def test_a_bootstrap_shows_twice_as_many_labels_each_round() -> None:
    world = ToyWorld(100, 2, False, 0)
    problem = world.problem(rounds=3)
    asked = prompts(world, problem, Bootstrap())
    longest = [max(len(rows_shown(prompt)) for _, prompt in asked[start : start + 100]) for start in (0, 100, 200)]
    assert longest[0] == 8
    assert longest[1:] == [16, 32]


def test_a_bootstrap_ends_after_its_rounds_or_when_nothing_changes() -> None:
    world = ToyWorld(40, 2, False, 0)
    assert drive(world, world.problem(rounds=1), Bootstrap())[-1].stop is StopReason.ROUNDS_DONE
    certain = ToyWorld(40, 2, False, 0, home=20.0)
    end = drive(certain, certain.problem(rounds=9), Bootstrap())[-1]
    assert end.stop is StopReason.CONVERGED
    assert end.labels == certain.planted


@pytest.mark.parametrize("strategy", [FewShotRandom(), Bootstrap()])
def test_no_row_is_ever_shown_its_own_label(strategy: Strategy) -> None:
    world = ToyWorld(30, 2, False, 0)
    for row, prompt in prompts(world, world.problem(), strategy):
        assert row not in rows_shown(prompt)


def test_behind_a_few_random_labels_every_row_is_asked_for_once() -> None:
    world = ToyWorld(30, 2, True, 0)
    asked = prompts(world, world.problem(), FewShotRandom())
    assert sorted(row for row, _ in asked) == list(range(30))
    assert {len(rows_shown(prompt)) for _, prompt in asked} == {7, 8}


@pytest.mark.parametrize("strategy", [ZeroShot(), FewShotRandom(), Bootstrap()])
def test_every_baseline_labels_every_row(strategy: Strategy) -> None:
    world = ToyWorld(30, 3, True, 0)
    end = drive(world, world.problem(), strategy)[-1]
    assert end.phase is Phase.DONE
    assert end.labels.keys() == end.scores.keys() == set(world.planted)
    assert isinstance(end.facts["utility"], float)


@pytest.mark.parametrize("consistent", [True, False])
def test_behind_an_anchor_a_bootstrap_asks_for_every_row_once(*, consistent: bool) -> None:
    world = ToyWorld(30, 2, False, 0)
    anchor = "".join(f"row {row} {world.problem().labels[world.planted[row]]}\n" for row in list(world.planted)[:10])
    later = {row: text for row, text in world.problem().texts.items() if row >= 10}
    problem = replace(world.problem(), texts=later, prefix=anchor)
    end = drive(world, problem, Bootstrap(consistent=consistent))[-1]
    assert end.stop is StopReason.ASKED_ONCE
    assert end.labels == {row: label for row, label in world.planted.items() if row >= 10}
