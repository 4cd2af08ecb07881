import copy
import itertools

import pytest

from service.search.engine import Search
from service.search.state import checkpoint
from service.search.state.steps import Phase, State, Strategy
from service.search.strategies.authors import Authors
from service.search.strategies.baselines import Bootstrap, FewShotRandom
from service.search.strategies.folds import Folds
from service.search.strategies.iterative import Iterative
from service.search.strategies.paper import Paper
from service.search.strategies.scalable import Scalable
from tests.toy import ToyWorld, drive

STRATEGIES = [
    pytest.param(Paper(), id="paper"),
    pytest.param(Folds(), id="folds"),
    pytest.param(Authors(), id="authors"),
    pytest.param(Bootstrap(), id="bootstrap"),
    pytest.param(FewShotRandom(), id="few_shot_random"),
    pytest.param(Scalable(), id="scalable"),
    pytest.param(Iterative(), id="iterative"),
]


def test_a_state_of_another_version_is_refused() -> None:
    values = {**checkpoint.to_json(State()), "version": 0}
    with pytest.raises(ValueError, match="version 0"):
        checkpoint.from_json(values)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupted_step_leaves_the_state_unchanged(strategy: Strategy) -> None:
    world = ToyWorld(9, 2, True, 5)
    search = Search(world.problem(), strategy)
    while (request := search.ask()) is not None:
        before = copy.deepcopy(search.state)
        if not search.tell(world.answers(request)):
            assert search.state == before


def test_a_rejected_proposal_leaves_labels_scores_and_best_bit_identical() -> None:
    rejected = 0
    for seed in range(8):
        world = ToyWorld(10, 2, True, seed)
        states = drive(world, world.problem(seed, initial_temperature=0.02), Paper())
        for before, after in itertools.pairwise(states):
            if before.phase is Phase.DRAW and after.phase is Phase.DRAW and after.accepted == before.accepted:
                assert checkpoint.to_json(after)["labels"] == checkpoint.to_json(before)["labels"]
                assert (after.scores, after.best) == (before.scores, before.best)
                rejected += after.iterations > before.iterations
    assert rejected > 20


def test_asking_again_gives_the_same_request() -> None:
    world = ToyWorld(6, 2, False, 0)
    search = Search(world.problem(), Folds())
    assert search.ask() is search.ask()


def test_an_answer_that_does_not_fit_the_request_is_refused_and_changes_nothing() -> None:
    world = ToyWorld(6, 2, False, 0)
    search = Search(world.problem(), Folds())
    search.ask()
    before = search.state
    with pytest.raises(ValueError, match="one answer for each tree"):
        search.tell([])
    assert search.state is before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_seed_decides_the_run(strategy: Strategy) -> None:
    world = ToyWorld(10, 2, False, 6)
    first, again = (drive(world, world.problem(seed=3), strategy) for _ in range(2))
    assert first == again
