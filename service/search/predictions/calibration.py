"""Batch calibration: removes a language model's leaning towards a label from its scores (arXiv 2309.17249).

A language model answers some label more often than the rows call for: the commoner word, the
label of the last demonstrations, the one that most demonstrations have. The leaning is nearly
the same for every row, so that one constant for each label takes it out.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, normalized
from service.search.rules.consistency import Labels

Shares = Sequence[float]  # of each label among some rows; they add up to 1
Shift = tuple[float, ...]  # nats, added to each label's log-probability

SMOOTHING_ROWS = 0.5  # added to each label's count, so that an absent label keeps a share above zero
_MOST_ROUNDS = 200
_CLOSE = 1e-6  # of a share to its mean probability, relatively
_TINY = 1e-300  # a mean probability below it is taken for it


def label_shares(labels: Labels, rows: Iterable[Row], classes: int) -> Shares:
    """The share of each label among these labelled rows, smoothed."""
    counts = Counter(labels[row] for row in rows)
    total = counts.total() + SMOOTHING_ROWS * classes
    return tuple((counts[Label(label)] + SMOOTHING_ROWS) / total for label in range(classes))


def even_shares(classes: int) -> Shares:
    """All labels equally often."""
    return (1 / classes,) * classes


def moderate(shares: Shares) -> Shares:
    """Halfway between these shares and even ones.

    Relabelling to the shares of the last labels lets them drift towards the commonest label; to even ones,
    it never finds that a label is rare. Halfway, shares move for evidence and what moved them by chance fades.
    """
    return tuple((share + 1 / len(shares)) / 2 for share in shares)


def entropy(shares: Shares) -> float:
    """H of the shares, nats: what a row's label costs somebody who knows the shares alone."""
    return -math.fsum(share * math.log(share) for share in shares)


def label_entropy(labels: Labels, rows: Collection[Row], shares: Shares) -> float:
    """What these rows' labels cost somebody who knows the shares alone, nats a row.

    The entropy of the shares, but for their smoothing: of few rows with one label that would count
    as much for what the label tells.
    """
    return -math.fsum(math.log(shares[labels[row]]) for row in rows) / len(rows)


def shift_to(scores: Collection[LogProbabilities], shares: Shares) -> Shift:
    """The constants that make the mean predicted probability of each label equal its share.

    Found by proportional fitting; the first label's constant is 0.
    """
    rows = [_relative_probabilities(values) for values in scores]
    factors = [1.0] * len(shares)  # exponentials of the constants: one exponential for each row, not one each round
    for _ in range(_MOST_ROUNDS if rows else 0):
        steps = [
            share / max(mean, _TINY) for share, mean in zip(shares, _mean_probabilities(rows, factors), strict=True)
        ]
        factors = [factor * step for factor, step in zip(factors, steps, strict=True)]
        if all(abs(step - 1) < _CLOSE for step in steps):
            break
    return tuple(math.log(max(factor, _TINY) / max(factors[0], _TINY)) for factor in factors)


def shifted(scores: Scores, shift: Shift) -> dict[Row, LogProbabilities]:
    """Log-probabilities with a constant for each label added, normalized over the label set."""
    return {row: _shifted(values, shift) for row, values in scores.items()}


def calibrated(scores: Scores, shares: Shares) -> dict[Row, LogProbabilities]:
    """The scores with the mean predicted probability of each label at its share."""
    return shifted(scores, shift_to(scores.values(), shares))


def _relative_probabilities(values: LogProbabilities) -> list[float]:
    """Probabilities up to a factor, the greatest of them 1."""
    top = max(values)
    return [math.exp(value - top) for value in values]


def _mean_probabilities(rows: Sequence[Sequence[float]], factors: Sequence[float]) -> list[float]:
    sums = [0.0] * len(factors)
    for row in rows:
        weighted = [value * factor for value, factor in zip(row, factors, strict=True)]
        total = sum(weighted)
        for label, value in enumerate(weighted):
            sums[label] += value / total
    return [total / len(rows) for total in sums]


def _shifted(values: LogProbabilities, shift: Shift) -> LogProbabilities:
    return normalized(tuple(value + constant for value, constant in zip(values, shift, strict=True)))
