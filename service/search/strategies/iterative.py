"""Strategy `iterative`: batch after batch, each labelled by the base trained on the batches before it.

So the authors' README has it (the code released with arXiv 2506.10139): the rows are split into batches; the
pretrained language model fine-tuned on the labels of batches 1 to j is M_j; M_j labels batch j + 1. M_j
always begins with the base, so that an error of one batch is not learned again and again. The first batch is
searched in context. Every later one is asked of M_j without demonstrations, and related rows get the consistent
labelling that is likeliest for all of them together; a label that was given stays.
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
    first_part,
    noting_trainings,
    part_of,
    searched,
    settled,
    tokens_of_trial,
    training_of,
    tried,
)


@dataclass(frozen=True)
class Iterative:
    """A first batch searched in context, then one training for each further batch."""

    def step(self, problem: Problem, state: State) -> Step:
        """A step of the first batch's search, the next batch, or the trial of polarity."""
        match state.phase:
            case Phase.TRAIN:
                return _next_batch(problem, state)
            case Phase.TRIAL:
                return tried(problem, state)
        return searched(problem, state, batches_of(problem)[0], Phase.TRAIN)


def batches_of(problem: Problem) -> list[list[Row]]:
    """All rows in batches, related rows side by side; known ones come first, so that they are learned from."""
    batches = [first_part(problem, problem.parameters.batch_rows)]
    taken = set(batches[0])
    batches.append([])
    for group in dict.fromkeys(problem.constraints.group_of[row] for row in problem.order if row not in taken):
        if len(batches[-1]) >= problem.parameters.batch_rows:
            batches.append([])
        batches[-1].extend(group)
    return [batch for batch in batches if batch]


def _next_batch(problem: Problem, state: State) -> Step:
    """Train the base on everything labelled so far; label the next batch by what it says."""
    waiting = [batch for batch in batches_of(problem) if batch[0] not in state.labels]
    if not waiting:
        return settled(problem, state, StopReason.BATCHES_DONE)
    batch = waiting[0]
    training = training_of(problem, state.labels, sorted(state.labels), sorted(batch), state.round)
    [answer] = yield from train(training)
    drawn = relabelled(part_of(problem, batch), {}, answer.log_probabilities)
    labels = {**state.labels, **drawn.labels}
    state = counted(problem, state, state.labels, replace(drawn, labels=labels))
    state = noting_trainings(problem, state, [training])
    scores, raw = {**state.scores, **answer.log_probabilities}, {**state.raw, **answer.log_probabilities}
    return replace(state, labels=labels, scores=scores, raw=raw, round=state.round + 1)


def _tokens_left(problem: Problem, state: State) -> int:
    """Those of all batches that follow: each is asked for once, behind a training on all batches before it."""
    left, before = tokens_of_trial(problem, state), 0
    if state.phase in (Phase.TRIAL, Phase.DONE):
        return left
    for batch, later in itertools.pairwise(batches_of(problem)):
        before += problem.tokens(batch)
        if state.phase is not Phase.TRAIN or later[0] not in state.labels:
            left += problem.parameters.epochs * before + problem.tokens(later)
    return left


APPROACH = Approach(searches={Objective.GAIN: Iterative()}, tokens_left=_tokens_left)
