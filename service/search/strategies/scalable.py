"""Strategy `scalable`: labels that trainings on the other folds bear out (arXiv 2506.10139v2, appendix G, Algorithm 3).

The rows are divided at random into F folds. In each round the base is trained F times, on the labels of all folds but
one, and relabels that one: p(y | x, D without the fold) by weights stands in for p(y | x, D without the row) by
demonstrations, so that no context bounds the number of rows. Related rows share a fold, or a row's twin would tell
its label. Rounds end when fewer than 1 % of the labels change.

Algorithm 4 makes related rows consistent by the most confident of them. Here they get the consistent labelling
that is likeliest for all of them together, which for twins is the same (docs/decisions/0035).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.identifiers import Row
from service.search.measures.agreement import share_of_equal_labels
from service.search.moves.relabelling import counted, relabelled
from service.search.predictions.training import TrainAndScore
from service.search.state.objective import Objective
from service.search.state.problem import Problem, Start
from service.search.state.steps import Phase, State, Step, StopReason, train
from service.search.strategies.approach import Approach
from service.search.strategies.gain_search import random_labels
from service.search.strategies.trained import (
    extended_to_all,
    first_part,
    noting_trainings,
    searched,
    settled,
    tokens_of_trial,
    training_of,
    tried,
)

SETTLED = 0.01  # share of changed labels below which another round would change next to nothing


@dataclass(frozen=True)
class Scalable:
    """A first part searched in context, or random labels; then rounds of trainings on folds."""

    def step(self, problem: Problem, state: State) -> Step:
        """A step of the first part's search, its extension to all rows, one round, or the trial of polarity."""
        match state.phase:
            case Phase.START if problem.parameters.start is Start.RANDOM:
                return _at_random(problem, state)
            case Phase.EXTEND:
                return extended_to_all(problem, state)
            case Phase.TRAIN:
                return _round(problem, state)
            case Phase.TRIAL:
                return tried(problem, state)
        return searched(problem, state, first_part(problem, problem.parameters.anchor_rows), Phase.EXTEND)


def folds_of(problem: Problem) -> list[list[Row]]:
    """The rows in F parts of about the same size, drawn once for all rounds, related rows side by side."""
    rng, folds = problem.random("folds"), [list[Row]() for _ in range(problem.parameters.folds)]
    groups = rng.sample(problem.groups, len(problem.groups))
    for group in sorted(groups, key=len, reverse=True):
        min(folds, key=len).extend(group)
    return [fold for fold in folds if fold]


def _at_random(problem: Problem, state: State) -> Step:
    """Every row labelled at random among the labellings that break no rule."""
    yield from ()
    return state.enter(Phase.TRAIN, labels=random_labels(problem))


def _round(problem: Problem, state: State) -> Step:
    """F trainings, each on the labels outside a fold; the likeliest labelling that breaks no rule by what they say."""
    trainings = _trainings(problem, state, folds_of(problem))
    answers = yield from train(*trainings)
    scores = {row: values for answer in answers for row, values in answer.log_probabilities.items()}
    drawn = relabelled(problem, state.labels, scores)
    changed = 1 - share_of_equal_labels(state.labels, drawn.labels)
    state = noting_trainings(problem, counted(problem, state, state.labels, drawn), trainings)
    state = state.noting(changed_shares=[*state.facts.get("changed_shares", []), changed])
    state = replace(state, labels=drawn.labels, scores=scores, raw=scores, round=state.round + 1)
    if changed < SETTLED:
        return settled(problem, state, StopReason.CONVERGED)
    if state.round >= problem.parameters.rounds:
        return settled(problem, state, StopReason.ROUNDS_DONE)
    return state


def _trainings(problem: Problem, state: State, folds: Sequence[Sequence[Row]]) -> list[TrainAndScore]:
    everything = set(problem.rows)
    return [
        training_of(problem, state.labels, sorted(everything.difference(fold)), sorted(fold), number)
        for number, fold in enumerate(folds)
    ]


def _tokens_left(problem: Problem, state: State) -> int:
    """Those of all rounds that may follow: in each, every row is asked for once and learned for the other folds."""
    if state.phase in (Phase.TRIAL, Phase.DONE):
        return tokens_of_trial(problem, state)
    parameters = problem.parameters
    rounds = parameters.rounds - (state.round if state.phase is Phase.TRAIN else 0)
    passes = parameters.epochs * (parameters.folds - 1) + 1
    return rounds * passes * problem.tokens(problem.rows) + tokens_of_trial(problem, state)


APPROACH = Approach(searches={Objective.GAIN: Scalable()}, tokens_left=_tokens_left)
