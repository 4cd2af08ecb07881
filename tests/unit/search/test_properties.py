"""Properties of every search on random small worlds; HYPOTHESIS_PROFILE=long draws more of them."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.engine import Search
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Constraints
from service.search.state.objective import mutual_predictability, utility
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Candidate, Phase, State, Strategy, trees_of
from service.search.strategies.authors import Authors
from service.search.strategies.baselines import Bootstrap, FewShotRandom, ZeroShot
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch
from service.search.strategies.paper import Paper
from tests.toy import LABELS, ToyWorld, drive
from tests.unit.search.resuming import check_every_step_resumes
from tests.unit.search.rules import constraint_sets

STRATEGIES = [
    GainSearch(),
    Folds(),
    Paper(),
    Authors(),
    ZeroShot(),
    FewShotRandom(),
    Bootstrap(consistent=True),
    Bootstrap(),
]
NAMES = ["gain", "folds", "paper", "authors", "zero shot", "few shot", "bootstrap by the rules", "bootstrap"]
EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
SMALL = {"draws_per_row": 0.1, "restarts": 2, "sweeps": 2, "initial_rows": 4, "folds": 3, "seed_labels": 3}
FEW = settings(max_examples=400 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 8, deadline=None)


@st.composite
def worlds(draw: st.DrawFn) -> ToyWorld:
    """A few rows, two or three labels, pairs that exclude each other or none."""
    return ToyWorld(draw(st.integers(2, 8)), draw(st.integers(2, 3)), draw(st.booleans()), draw(st.integers(0, 999)))


@EVERY_STRATEGY
@given(world=worlds(), seed=st.integers(0, 99))
@FEW
def test_a_search_stored_and_resumed_ends_like_an_uninterrupted_one(
    strategy: Strategy, world: ToyWorld, seed: int
) -> None:
    check_every_step_resumes(world, world.problem(seed, **SMALL), strategy)


@EVERY_STRATEGY
@given(world=worlds(), seed=st.integers(0, 99))
@FEW
def test_labels_are_of_the_label_set_and_rows_of_the_problem(strategy: Strategy, world: ToyWorld, seed: int) -> None:
    problem = world.problem(seed, **SMALL)
    states = drive(world, problem, strategy)
    for state in states:
        for labels in (state.labels, *(found.labels for found in candidates(state))):
            assert labels.keys() <= set(problem.rows)
            assert set(labels.values()) <= set(problem.label_range)
        for scores in (state.scores, *(found.scores for found in candidates(state))):
            assert all(len(values) == problem.classes for values in scores.values())
    if not isinstance(strategy, Authors):  # which leaves rows without a label, as the released code does
        assert states[-1].labels.keys() == set(problem.rows)


def candidates(state: State) -> list[Candidate]:
    return [*state.starts, *([] if state.best is None else [state.best])]


@pytest.mark.parametrize("strategy", [Paper(), Authors()], ids=["paper", "authors"])
@given(world=worlds(), seed=st.integers(0, 99))
@FEW
def test_scores_carried_along_are_those_of_scoring_everything_anew(
    strategy: Strategy, world: ToyWorld, seed: int
) -> None:
    for state in drive(world, world.problem(seed, **SMALL), strategy):
        if state.phase is Phase.DRAW and state.labels.keys() == state.scores.keys():
            assert_equal(state.scores, rescored(world, state.labels))


@pytest.mark.parametrize("strategy", [Folds(), Paper()], ids=["folds", "paper"])
@given(world=worlds(), seed=st.integers(0, 99))
@FEW
def test_confidences_handed_out_are_those_of_each_row_given_all_others(
    strategy: Strategy, world: ToyWorld, seed: int
) -> None:
    end = drive(world, world.problem(seed, **SMALL), strategy)[-1]
    assert_equal(end.scores, rescored(world, end.labels))


@pytest.mark.parametrize("strategy", [Folds(), Paper()], ids=["folds", "paper"])
@given(world=worlds(), seed=st.integers(0, 99))
@FEW
def test_the_best_labelling_so_far_is_never_replaced_by_a_worse_one(
    strategy: Strategy, world: ToyWorld, seed: int
) -> None:
    kept = [
        (state.phase, len(state.best.labels), state.best.utility)
        for state in drive(world, world.problem(seed, **SMALL), strategy)
        if state.best is not None
    ]
    for (phase, rows, before), (later, more, after) in itertools.pairwise(kept):
        if (phase, rows) == (later, more):
            assert after >= before


@EVERY_STRATEGY
@given(world=worlds(), seed=st.integers(0, 99), budget=st.integers(0, 20), lengths=st.integers(0, 99))
@FEW
def test_no_prompt_is_longer_than_the_budget(
    strategy: Strategy, world: ToyWorld, seed: int, budget: int, lengths: int
) -> None:
    tokens = {row: Random(f"{lengths} {row}").randint(1, 9) for row in world.planted}
    problem = Problem(
        texts={row: f"row {row}" for row in world.planted},
        labels=LABELS[: world.classes],
        separator="\n",
        constraint_list=world.constraints,
        demonstration_tokens=tokens,
        budget_tokens=budget,
        parameters=Parameters(seed=seed, **SMALL),  # type: ignore[arg-type]  # fields of Parameters by name
    )
    search = Search(problem, strategy)
    while (request := search.ask()) is not None:
        for _, prompt in [prompt for tree in trees_of(request) for prompt in tree.prompts()]:
            *shown, _query = prompt.split("\n")
            rows = [Row(int(demonstration.split(" ")[1])) for demonstration in shown]
            assert sum(tokens[row] for row in rows) <= budget
            assert len(rows) == len(set(rows))
        search.tell(world.answers(request))


@given(constraint_sets(), st.randoms(use_true_random=False), st.data())
def test_relatedness_is_mutual_and_does_not_depend_on_the_order_of_rows(
    drawn: tuple[int, Sequence[object]], rng: Random, data: st.DataObject
) -> None:
    count, constraints = drawn
    rows = list(map(Row, range(count)))
    shuffled = rng.sample(rows, count)
    straight = Constraints(rows, constraints)  # type: ignore[arg-type]
    turned = Constraints(shuffled, constraints)  # type: ignore[arg-type]
    for row in rows:
        assert all(row in straight.mates(mate) for mate in straight.mates(row))
    assert set(map(frozenset, straight.groups)) == set(map(frozenset, turned.groups))
    labels = {row: Label(data.draw(st.integers(0, 1))) for row in rows}
    assert set(straight.conflicts(labels)) == set(turned.conflicts({row: labels[row] for row in shuffled}))


@given(world=worlds(), rng=st.randoms(use_true_random=False))
def test_utility_does_not_depend_on_the_order_of_rows(world: ToyWorld, rng: Random) -> None:
    problem, labels = world.problem(), world.planted
    scores = rescored(world, labels)
    order = rng.sample(sorted(labels), len(labels))
    turned = {row: labels[row] for row in order}
    assert utility(problem, turned, scores) == utility(problem, labels, scores)
    assert mutual_predictability(problem, turned, scores) == mutual_predictability(problem, labels, scores)


def rescored(world: ToyWorld, labels: Mapping[Row, Label]) -> Scores:
    """Every row given all others, straight from the world."""
    return {
        row: world.log_probabilities(row, {other: label for other, label in labels.items() if other != row})
        for row in labels
    }


def assert_equal(found: Scores, expected: Scores) -> None:
    assert found.keys() == expected.keys()
    for row, values in expected.items():
        assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(found[row], values, strict=True))
