"""Sharpens the pooled prediction of several views, so that a confidence equals the share of right labels.

The mean of several views is right more often than each of them, but less confident than most, so it needs
sharpening: one factor for all rows (temperature scaling, arXiv 1706.04599), fitted without gold labels. If the views
contradict one another, their mean is mostly chance; `part_left` measures that.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, normalized

_FACTORS = (0.5, 4.0)  # range of the sharpness to try with a witness, around a prior of 1
_STEPS = 50  # steps within that range, evenly spaced in the logarithm
_MATCHING = (0.1, 10.0)  # range of the sharpness that matches an expected accuracy
_HALVINGS = 20  # bisections of that range in the logarithm: precise beyond any visible difference
_LEAST_PART = 0.02  # smallest part of a mean to keep, so that its likeliest label stays the likeliest
_SEVERAL = 1.1  # effective number of views from which their scatter can be measured


def sharpened(values: LogProbabilities, factor: float) -> LogProbabilities:
    """The log-probabilities with all differences between labels multiplied by the factor."""
    return normalized(tuple(factor * value for value in values))


def sharpness_for(scores: Scores, accuracy: float) -> float:
    """The factor with which the mean probability of the likeliest labels equals the expected accuracy."""
    low, high = map(math.log, _MATCHING)
    for _ in range(_HALVINGS if scores else 0):
        middle = (low + high) / 2
        factor = math.exp(middle)
        said = math.fsum(math.exp(max(sharpened(values, factor))) for values in scores.values()) / len(scores)
        low, high = (middle, high) if said < accuracy else (low, middle)
    return math.exp((low + high) / 2)


def best_sharpness(
    scores: Scores, witness: Mapping[Row, Label], *, before: float = 1.0, spread: float = math.inf
) -> float:
    """The sharpening factor with which these scores predict the labels of a witness best.

    The witness is a labelling that the scores do not depend on. The better the scores predict it, the
    more confident they may be. If the witness has few rows, `spread` holds the factor near `before`: it is the standard
    deviation of the factor's logarithm before any evidence.
    """
    rows = [row for row in witness if row in scores]
    if not rows:
        return before
    low, high = math.log(_FACTORS[0] * min(1.0, before)), math.log(_FACTORS[1] * max(1.0, before))
    factors = [math.exp(low + (high - low) * step / _STEPS) for step in range(_STEPS + 1)]

    def fitted(factor: float) -> float:
        unlikely = (math.log(factor / before) / spread) ** 2 / 2
        return math.fsum(sharpened(scores[row], factor)[witness[row]] for row in rows) - unlikely

    return max(factors, key=fitted)


def part_left(opinions: Sequence[LogProbabilities], weights: Sequence[float]) -> float:
    """The part of the views' weighted mean to keep, from 0 to 1: the positive-part James-Stein estimate.

    The mean of random views differs from indifference by chance, by about its standard error. The
    scatter of the views gives an estimate of that error.
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
    """The log-probabilities less their mean: a row's preferences among the labels."""
    middle = math.fsum(values) / len(values)
    return tuple(value - middle for value in values)


def _square(values: Iterable[float]) -> float:
    return math.fsum(value**2 for value in values)
