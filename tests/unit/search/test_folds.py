import itertools
from collections import Counter
from dataclasses import replace
from functools import cached_property

import pytest

from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint, Rule
from service.search.state.objective import utility
from service.search.state.steps import Phase, Strategy
from service.search.strategies.authors import Authors
from service.search.strategies.baselines import Bootstrap, FewShotRandom
from service.search.strategies.folds import Folds
from service.search.strategies.paper import Paper
from tests.long import LONG
from tests.toy import ToyWorld, drive, prompts

PAIRS = tuple(itertools.permutations(range(6), 2))
EVERY = [Folds(), Paper(), Authors(), Bootstrap(), FewShotRandom()]


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize(("most", "related"), [(1, True), (5, False)])
def test_no_prompt_has_more_demonstrations_than_allowed(strategy: Strategy, most: int, *, related: bool) -> None:
    world = ToyWorld(24, 2, related, 1)
    asked = prompts(world, replace(world.problem(draws_per_row=10.0), max_demonstrations=most), strategy)
    assert {row for row, _ in asked} == set(world.planted)
    assert max(prompt.count("\n") for _, prompt in asked) <= most


@pytest.mark.parametrize("most", [6, 12])
def test_with_few_demonstrations_the_planted_labels_are_found_all_the_same(most: int) -> None:
    world = ToyWorld(60, 2, False, 2, home=0.5)
    end = drive(world, replace(world.problem(), max_demonstrations=most), Folds())[-1]
    assert sum(end.labels[row] == label for row, label in world.planted.items()) >= 57


class Ordered(ToyWorld):
    """Comparisons of six things, all tied together by one rule."""

    @cached_property
    def planted(self) -> dict[Row, Label]:
        return {Row(number): Label(int(first < second)) for number, (first, second) in enumerate(PAIRS)}

    @property
    def constraints(self) -> list[Constraint]:
        return [Constraint(Rule.TRANSITIVE, tuple((Row(number),) for number in range(len(PAIRS))), Label(0), PAIRS)]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", range(4 if LONG else 1))
def test_rows_that_are_all_related_are_labelled_by_one_another(seed: int, *, exact: bool) -> None:
    world = Ordered(len(PAIRS), 2, False, seed, home=0.2)  # less than the lean towards the first label
    end = drive(world, world.problem(seed, exact_scores=exact), Folds())[-1]
    assert end.labels == world.planted


@pytest.mark.parametrize("related", [False, True])
def test_twenty_labels_are_distinguished(*, related: bool) -> None:
    world = ToyWorld(60, 20, related, 4, home=1.5)
    problem = world.problem()
    end = drive(world, problem, Folds())[-1]
    assert end.phase is Phase.DONE
    assert problem.constraints.conflicts(end.labels) == []
    assert sum(end.labels[row] == label for row, label in world.planted.items()) >= 54
    assert len(Counter(end.labels.values())) > (2 if related else 10)
    assert isinstance(end.facts["permuted_utility"], float)


def test_exact_scores_are_those_of_every_row_given_all_others() -> None:
    world = ToyWorld(30, 2, False, 3)
    end = drive(world, world.problem(exact_scores=True), Folds())[-1]
    for row, label in end.labels.items():
        others = {other: held for other, held in end.labels.items() if other != row}
        assert end.scores[row] == pytest.approx(world.log_probabilities(row, others))
        assert label in (0, 1)
    assert end.facts["utility"] == pytest.approx(world.utility(end.labels))


def test_without_them_a_row_is_scored_given_the_labels_outside_its_fold() -> None:
    world = ToyWorld(30, 2, False, 3)
    exact, rough = (drive(world, world.problem(exact_scores=exact), Folds())[-1] for exact in (True, False))
    assert rough.labels == exact.labels
    assert rough.scores != exact.scores
    assert rough.facts["utility"] == pytest.approx(utility(world.problem(), rough.labels, rough.scores))
