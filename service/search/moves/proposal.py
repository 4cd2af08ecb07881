"""Draws the rows that begin with random labels, and the next row to relabel (Algorithm 1, lines 1 and 5)."""

from random import Random

from service.identifiers import Row
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem

RELATED_WEIGHT = 100.0  # of an unlabelled row tied to a labelled one; every other row has weight 1


def free_rows(problem: Problem) -> tuple[Row, ...]:
    """The rows that the search labels: all but the known ones, in the user's order."""
    return tuple(row for row in problem.rows if row not in problem.known)


def seed_rows(problem: Problem, rng: Random) -> list[Row]:
    """Draw rows to begin with random labels: K less the number of known rows, but at least none."""
    free = free_rows(problem)
    return rng.sample(free, min(max(0, problem.parameters.seed_labels - len(problem.known)), len(free)))


def propose_row(problem: Problem, labels: Labels, rng: Random) -> Row:
    """Draw a row that is not known; rows tied to labelled ones come far more often, so that rules apply early."""
    rows = free_rows(problem)
    return rng.choices(rows, [_weight(problem, row, labels) for row in rows])[0]


def _weight(problem: Problem, row: Row, labels: Labels) -> float:
    waits = row not in labels and any(mate in labels for mate in problem.constraints.mates(row))
    return RELATED_WEIGHT if waits else 1.0
