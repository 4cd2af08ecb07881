"""Which rows are labelled at random first, and which is (re)labelled next (Algorithm 1, lines 1 and 5)."""

from random import Random

from service.identifiers import Row
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem

RELATED_WEIGHT = 100.0  # of an unlabelled row tied to a labelled one; every other row has weight 1


def free_rows(problem: Problem) -> tuple[Row, ...]:
    """The rows whose labels are searched for: all but the known ones, in the user's order."""
    return tuple(row for row in problem.rows if row not in problem.known)


def seed_rows(problem: Problem, rng: Random) -> list[Row]:
    """The rows that begin with random labels: with the known rows there are K examples, or the known ones alone."""
    free = free_rows(problem)
    return rng.sample(free, min(max(0, problem.parameters.seed_labels - len(problem.known)), len(free)))


def propose_row(problem: Problem, labels: Labels, rng: Random) -> Row:
    """Draw a row that is not known, rows tied to labelled ones far more often, so that rules are met early."""
    rows = free_rows(problem)
    return rng.choices(rows, [_weight(problem, row, labels) for row in rows])[0]


def _weight(problem: Problem, row: Row, labels: Labels) -> float:
    waits = row not in labels and any(mate in labels for mate in problem.constraints.mates(row))
    return RELATED_WEIGHT if waits else 1.0
