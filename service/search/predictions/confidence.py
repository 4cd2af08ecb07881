"""How sure to be of what several views say of a row.

The mean of several views is right more often than any of them, and less sure than most: it has to be
sharpened. Where the views contradict one another, the mean is what chance has left, and has to be shrunk.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, normalized

_FACTORS = (0.5, 4.0)  # the least and the greatest sharpness tried
_STEPS = 50  # between them, evenly spaced in the logarithm
_LEAST_PART = (
    0.02  # of a mean that is left however much the views scatter, so that it still says which label is likelier
)
_SEVERAL = 1.1  # views, by their weights, from which there is a scatter to be measured


def sharpened(values: LogProbabilities, factor: float) -> LogProbabilities:
    """Log-probabilities with all differences among them multiplied."""
    return normalized(tuple(factor * value for value in values))


def best_sharpness(scores: Scores, witness: Mapping[Row, Label], *, spread: float = math.inf) -> float:
    """The factor with which scores predict a witness's labels best.

    A witness that took no part in the scores tells how sure they may be: labels that it shares are
    likelier right. Where the witness has few rows, `spread` holds the factor near 1: it is the standard deviation
    of the factor's logarithm before anything was seen.
    """
    rows = [row for row in witness if row in scores]
    if not rows:
        return 1.0
    low, high = map(math.log, _FACTORS)
    factors = [math.exp(low + (high - low) * step / _STEPS) for step in range(_STEPS + 1)]

    def fitted(factor: float) -> float:
        unlikely = (math.log(factor) / spread) ** 2 / 2
        return math.fsum(sharpened(scores[row], factor)[witness[row]] for row in rows) - unlikely

    return max(factors, key=fitted)


def part_left(opinions: Sequence[LogProbabilities], weights: Sequence[float]) -> float:
    """The part of the views' weighted mean to keep, from 0 to 1: the positive-part James-Stein estimate.

    Of views that answer by lot the mean is by chance far from no opinion, by about its standard
    error, which the scatter of the views tells.
    """
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    effective = 1 / _square(shares)
    centred = [_centred(values) for values in opinions]
    mean = [
        math.fsum(value * share for value, share in zip(column, shares, strict=True))
        for column in zip(*centred, strict=True)
    ]
    if effective < _SEVERAL or not any(mean):
        return 1.0
    scatter = math.fsum(
        share * _square(value - middle for value, middle in zip(values, mean, strict=True))
        for values, share in zip(centred, shares, strict=True)
    )
    return max(_LEAST_PART, 1 - scatter / (effective - 1) / _square(mean))


def _centred(values: LogProbabilities) -> LogProbabilities:
    """Log-probabilities as preferences among the labels: their mean is 0."""
    middle = math.fsum(values) / len(values)
    return tuple(value - middle for value in values)


def _square(values: Iterable[float]) -> float:
    return math.fsum(value**2 for value in values)
