"""Joint redraw of related rows among the labellings that break no rule."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from service.identifiers import Label, Row
from service.search.consistency import Labels
from service.search.objective import Scores
from service.search.problem import Problem

EXACT_LABELLINGS = 4096  # a group with more consistent labellings is sampled row by row
GIBBS_ROUNDS = 8
_COLDEST = 1e-3  # nats; below this a draw is the best labelling


def redraw(
    problem: Problem, labels: Labels, scores: Scores, *, temperature: float, share: float, rng: Random
) -> dict[Row, Label]:
    """Redraw a random share of the groups that have scores; the others keep their labels.

    A group's labelling is drawn with weight exp(sum of log p / temperature) among those
    that break no rule, given the labels of its members without scores. Where the labels so
    far admit none, the group stays as it is.
    """
    result = dict(labels)
    for group in problem.groups:
        members = [row for row in group if row in scores]
        if not members or (share < 1 and rng.random() >= share):
            continue
        fixed = {row: labels[row] for row in group if row in labels and row not in scores}
        options = list(itertools.islice(_options(problem, members, fixed), EXACT_LABELLINGS + 1))
        if len(options) > EXACT_LABELLINGS:
            start = {row: result[row] for row in members if row in result}
            sampler = _Gibbs(problem, scores, temperature, rng)
            result |= sampler.run({**fixed, **options[0], **start}, members)
        elif options:
            result |= _draw(options, scores, temperature, rng)
    return result


def _options(problem: Problem, members: Sequence[Row], fixed: Labels) -> Iterator[dict[Row, Label]]:
    return problem.constraints.consistent(members, fixed, problem.classes)


def _draw(options: Sequence[dict[Row, Label]], scores: Scores, temperature: float, rng: Random) -> dict[Row, Label]:
    sums = [sum(scores[row][label] for row, label in option.items()) for option in options]
    best = max(sums)
    if temperature <= _COLDEST:
        return options[sums.index(best)]
    return rng.choices(options, [math.exp((value - best) / temperature) for value in sums])[0]


@dataclass(frozen=True)
class _Gibbs:
    """Redraws one row at a time, or two that exchange labels, never adding a conflict."""

    problem: Problem
    scores: Scores
    temperature: float
    rng: Random

    def run(self, labels: dict[Row, Label], members: Sequence[Row]) -> dict[Row, Label]:
        """The members' labels after some rounds; `labels` also holds what is fixed."""
        for _ in range(GIBBS_ROUNDS):
            for row in self.rng.sample(members, len(members)):
                labels = labels | self._move(labels, row, self.rng.choice(members))
        return {row: labels[row] for row in members}

    def _move(self, labels: Labels, row: Row, other: Row) -> dict[Row, Label]:
        kept = {row: labels[row], other: labels[other]}
        moves = [{**kept, row: label} for label in self.problem.label_range]
        moves.append({row: labels[other], other: labels[row]})
        conflicts = [len(self.problem.constraints.conflicts({**labels, **move})) for move in moves]
        allowed = [move for move, count in zip(moves, conflicts, strict=True) if count == min(conflicts)]
        return _draw(allowed, self.scores, self.temperature, self.rng)
