"""Strategy `iterative`: labels the rows batch by batch, each batch with the base trained on all batches before it.

It follows the authors' README (the code released with arXiv 2506.10139). The search splits the rows into batches. M_j
is the base trained on the labels of batches 1 to j, and M_j labels batch j + 1. Every M_j starts from the base, so that
trainings do not repeat the error of one batch. A search in context labels the first batch. M_j scores every later one
without demonstrations; related rows get the consistent labelling that is likeliest for all of them together. Labels
never change afterwards.
"""

import itertools
from dataclasses import dataclass, replace

from service.identifiers import Row
from service.search.moves.relabelling import counted, relabelled
from service.search.state.objective import Objective
from service.search.state.problem import Problem
from service.search.state.steps import Phase, State, Step, StopReason, train
from service.search.strategies.approach import Approach
from service.search.strategies.trained import (
    count_trainings,
    finish_rounds,
    first_part,
    search_first_part,
    subproblem,
    tokens_of_trial,
    training_of,
    try_polarity,
)


@dataclass(frozen=True)
class Iterative:
    """Searches the first batch in context, then trains once for each further batch."""

    def step(self, problem: Problem, state: State) -> Step:
        """Do a step of the first batch's search, label the next batch, or make the trial of polarity."""
        match state.phase:
            case Phase.TRAIN:
                return _next_batch(problem, state)
            case Phase.TRIAL:
                return try_polarity(problem, state)
        return search_first_part(problem, state, batches_of(problem)[0], Phase.TRAIN)


def batches_of(problem: Problem) -> list[list[Row]]:
    """All rows in batches, related rows together; known rows come first, so that every training learns them."""
    batches = [first_part(problem, problem.parameters.batch_rows)]
    taken = set(batches[0])
    batches.append([])
    for group in dict.fromkeys(problem.constraints.group_of[row] for row in problem.order if row not in taken):
        if len(batches[-1]) >= problem.parameters.batch_rows:
            batches.append([])
        batches[-1].extend(group)
    return [batch for batch in batches if batch]


def _next_batch(problem: Problem, state: State) -> Step:
    """Train the base on all labels so far, and label the next batch by its scores."""
    waiting = [batch for batch in batches_of(problem) if batch[0] not in state.labels]
    if not waiting:
        return finish_rounds(problem, state, StopReason.BATCHES_DONE)
    batch = waiting[0]
    training = training_of(problem, state.labels, sorted(state.labels), sorted(batch), state.round)
    [answer] = yield from train(training)
    drawn = relabelled(subproblem(problem, batch), {}, answer.log_probabilities)
    labels = {**state.labels, **drawn.labels}
    state = counted(problem, state, state.labels, replace(drawn, labels=labels))
    state = count_trainings(problem, state, [training])
    scores, raw = {**state.scores, **answer.log_probabilities}, {**state.raw, **answer.log_probabilities}
    return replace(state, labels=labels, scores=scores, raw=raw, round=state.round + 1)


def _tokens_left(problem: Problem, state: State) -> int:
    """The tokens of all remaining batches: a training on the batches before scores each."""
    left, before = tokens_of_trial(problem, state), 0
    if state.phase in (Phase.TRIAL, Phase.DONE):
        return left
    for batch, later in itertools.pairwise(batches_of(problem)):
        before += problem.tokens(batch)
        if state.phase is not Phase.TRAIN or later[0] not in state.labels:
            left += problem.parameters.epochs * before + problem.tokens(later)
    return left


APPROACH = Approach(searches={Objective.GAIN: Iterative()}, tokens_left=_tokens_left)
