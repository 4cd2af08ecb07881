"""Computes confidence intervals of proportions, such as the accuracy on known rows."""

import math
from dataclasses import dataclass

from service.jobs.reporting.facts import SearchFacts

_Z = 1.959964  # standard errors to each side of the middle 95 % of a normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A count among some rows, and the 95 % Wilson interval of the underlying proportion."""

    rows: int
    hits: int
    share: float
    lower: float
    upper: float


def proportion(hits: int, rows: int) -> Proportion | None:
    """The proportion and its score interval (Wilson 1927), assuming independent rows; None if there are no rows."""
    if rows == 0:
        return None
    lower, upper = wilson(hits / rows, rows)
    return Proportion(rows=rows, hits=hits, share=hits / rows, lower=lower, upper=upper)


def wilson(share: float, rows: float) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of a share among `rows` independent draws; `rows` must be above 0."""
    weight = _Z**2 / rows
    middle = (share + weight / 2) / (1 + weight)
    half = _Z * math.sqrt(share * (1 - share) / rows + weight / (4 * rows)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def known_accuracy(facts: SearchFacts) -> Proportion | None:
    """The accuracy on known rows that were not shown as demonstrations; None if the search did not record it."""
    if facts.known_rows is None or facts.known_right is None:
        return None
    return proportion(facts.known_right, facts.known_rows)
