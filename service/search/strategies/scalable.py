"""Strategy `scalable`: relabels each fold by a training on all others (arXiv 2506.10139v2, appendix G, Algorithm 3).

The search divides the rows at random into F folds. In each round it trains the base F times, on the labels of all folds
but one, and relabels that fold. So p(y | x, D without the fold) in the weights replaces p(y | x, D without the row) in
the context, and the context does not limit the number of rows. Related rows share a fold, since a row's twin would
reveal its label. The rounds end when fewer than 1 % of the labels change.

Algorithm 4 makes related rows consistent with the most confident of them. This strategy gives them the consistent
labelling that is likeliest for all of them together; for twins that is the same (docs/decisions/0035).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.identifiers import Row
from service.search.measures.agreement import share_of_equal_labels
from service.search.moves.redraw import random_labels
from service.search.moves.relabelling import counted, relabelled
from service.search.predictions.training import TrainAndScore
from service.search.state.objective import Objective
from service.search.state.problem import Problem, Start
from service.search.state.steps import Phase, State, Step, StopReason, train
from service.search.strategies.approach import Approach
from service.search.strategies.trained import (
    count_trainings,
    extend_to_all,
    finish_rounds,
    first_part,
    search_first_part,
    tokens_of_trial,
    training_of,
    try_polarity,
)

CONVERGED_SHARE = 0.01  # the rounds end when a smaller share of the labels changes


@dataclass(frozen=True)
class Scalable:
    """Searches a first part in context, or starts with random labels; then makes rounds of trainings on folds."""

    def step(self, problem: Problem, state: State) -> Step:
        """Do a step of the first part's search, extend it to all rows, make a round, or make the trial of polarity."""
        match state.phase:
            case Phase.START if problem.parameters.start is Start.RANDOM:
                return _start_at_random(problem, state)
            case Phase.EXTEND:
                return extend_to_all(problem, state)
            case Phase.TRAIN:
                return _round(problem, state)
            case Phase.TRIAL:
                return try_polarity(problem, state)
        return search_first_part(problem, state, first_part(problem, problem.parameters.anchor_rows), Phase.EXTEND)


def folds_of(problem: Problem) -> list[list[Row]]:
    """The rows in F folds of about the same size, the same in all rounds, related rows together."""
    rng, folds = problem.random("folds"), [list[Row]() for _ in range(problem.parameters.folds)]
    groups = rng.sample(problem.groups, len(problem.groups))
    for group in sorted(groups, key=len, reverse=True):
        min(folds, key=len).extend(group)
    return [fold for fold in folds if fold]


def _start_at_random(problem: Problem, state: State) -> Step:
    """Start with a random labelling that breaks no rule."""
    yield from ()
    return state.enter(Phase.TRAIN, labels=random_labels(problem))


def _round(problem: Problem, state: State) -> Step:
    """Make F trainings, each on the labels outside a fold, and take their likeliest labelling that breaks no rule."""
    trainings = _trainings(problem, state, folds_of(problem))
    answers = yield from train(*trainings)
    scores = {row: values for answer in answers for row, values in answer.log_probabilities.items()}
    drawn = relabelled(problem, state.labels, scores)
    changed = 1 - share_of_equal_labels(state.labels, drawn.labels)
    state = count_trainings(problem, counted(problem, state, state.labels, drawn), trainings)
    state = state.with_facts(changed_shares=[*state.facts.get("changed_shares", []), changed])
    state = replace(state, labels=drawn.labels, scores=scores, raw=scores, round=state.round + 1)
    if changed < CONVERGED_SHARE:
        return finish_rounds(problem, state, StopReason.CONVERGED)
    if state.round >= problem.parameters.rounds:
        return finish_rounds(problem, state, StopReason.ROUNDS_DONE)
    return state


def _trainings(problem: Problem, state: State, folds: Sequence[Sequence[Row]]) -> list[TrainAndScore]:
    everything = set(problem.rows)
    return [
        training_of(problem, state.labels, sorted(everything.difference(fold)), sorted(fold), number)
        for number, fold in enumerate(folds)
    ]


def _tokens_left(problem: Problem, state: State) -> int:
    """The tokens of all remaining rounds: each scores every row once, and learns it for every other fold."""
    if state.phase in (Phase.TRIAL, Phase.DONE):
        return tokens_of_trial(problem, state)
    parameters = problem.parameters
    rounds = parameters.rounds - (state.round if state.phase is Phase.TRAIN else 0)
    passes = parameters.epochs * (parameters.folds - 1) + 1
    return rounds * passes * problem.tokens(problem.rows) + tokens_of_trial(problem, state)


APPROACH = Approach(searches={Objective.GAIN: Scalable()}, tokens_left=_tokens_left)
