"""Which row is (re)labelled next (Algorithm 1, line 5)."""

from random import Random

from service.identifiers import Row
from service.search.consistency import Labels
from service.search.problem import Problem

RELATED_WEIGHT = 100.0  # of an unlabelled row tied to a labelled one; every other row has weight 1


def propose_row(problem: Problem, labels: Labels, rng: Random) -> Row:
    """Draw a row, rows tied to labelled ones far more often, so that rules are met early."""
    weights = [_weight(problem, row, labels) for row in problem.rows]
    return rng.choices(problem.rows, weights)[0]


def _weight(problem: Problem, row: Row, labels: Labels) -> float:
    waits = row not in labels and any(mate in labels for mate in problem.constraints.mates(row))
    return RELATED_WEIGHT if waits else 1.0
