"""Proportions estimated from a number of rows, with the interval that the true one lies in."""

import math
from dataclasses import dataclass

from service.jobs.reporting.facts import SearchFacts

_Z = 1.959964  # standard errors to each side of the middle 95 % of a normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A count among some rows, and the 95 % Wilson interval of the proportion that they were drawn from."""

    rows: int
    hits: int
    share: float
    lower: float
    upper: float


def proportion(hits: int, rows: int) -> Proportion | None:
    """The proportion and its score interval (Wilson 1927), as if the rows were independent draws; none of no rows."""
    if rows == 0:
        return None
    lower, upper = wilson(hits / rows, rows)
    return Proportion(rows=rows, hits=hits, share=hits / rows, lower=lower, upper=upper)


def wilson(share: float, rows: float) -> tuple[float, float]:
    """The ends of the 95 % score interval (Wilson 1927) of a share among so many independent draws, above 0."""
    weight = _Z**2 / rows
    middle = (share + weight / 2) / (1 + weight)
    half = _Z * math.sqrt(share * (1 - share) / rows + weight / (4 * rows)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def known_accuracy(facts: SearchFacts) -> Proportion | None:
    """Accuracy on the known rows when they are left out of the demonstrations; nothing where the search did not say."""
    if facts.known_rows is None or facts.known_right is None:
        return None
    return proportion(facts.known_right, facts.known_rows)
