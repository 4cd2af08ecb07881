"""Batch calibration: removes a language model's bias towards some label from its scores (arXiv 2309.17249).

A language model favours some labels whatever the row says: a common word, the label of the last
demonstrations, the label of most demonstrations. This bias is nearly the same for every row, so
one constant for each label removes it.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import reduce
from operator import add, truediv

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, normalized
from service.search.rules.consistency import Labels

Shares = Sequence[float]  # the share of each label among some rows; they add up to 1
Shift = tuple[float, ...]  # nats, added to each label's log-probability

SMOOTHING_ROWS = 0.5  # added to each label's count, so that an absent label keeps a share above zero
_MOST_ROUNDS = 200
_CLOSE = 1e-6  # relative difference between a share and its mean probability at which the fitting ends
_TINY = 1e-300  # lower bound of a mean probability, which keeps the arithmetic finite


def label_shares(labels: Labels, rows: Iterable[Row], classes: int) -> Shares:
    """The smoothed share of each label among these labelled rows."""
    counts = Counter(labels[row] for row in rows)
    total = counts.total() + SMOOTHING_ROWS * classes
    return tuple((counts[Label(label)] + SMOOTHING_ROWS) / total for label in range(classes))


def even_shares(classes: int) -> Shares:
    """The same share for every label."""
    return (1 / classes,) * classes


def moderate(shares: Shares) -> Shares:
    """The mean of these shares and even ones.

    If every sweep relabels to the shares of the last labels, the shares drift towards the commonest label. If it
    relabels to even shares, it never finds a rare label. At the mean, evidence moves the shares and chance fades.
    """
    return tuple((share + 1 / len(shares)) / 2 for share in shares)


def entropy(shares: Shares) -> float:
    """H of the shares, nats: the uncertainty about a row's label if only the shares are known."""
    return -math.fsum(share * math.log(share) for share in shares)


def label_entropy(labels: Labels, rows: Collection[Row], shares: Shares) -> float:
    """The cross-entropy of these rows' labels under the shares, nats per row.

    This is the entropy of the shares except for their smoothing. With few rows and one label, the entropy
    of the smoothed shares would count as information about the rows.
    """
    return -math.fsum(math.log(shares[labels[row]]) for row in rows) / len(rows)


def shift_to(scores: Collection[LogProbabilities], shares: Shares) -> Shift:
    """The constants that make the mean predicted probability of each label equal its share.

    Computed by iterative proportional fitting; the first label's constant is 0.
    """
    columns = list(zip(*map(_relative_probabilities, scores), strict=True))
    factors = [1.0] * len(shares)  # exp of the constants, so that no round computes an exponential for each row
    for _ in range(_MOST_ROUNDS if columns else 0):
        means = _means_with_factors(columns, factors)
        steps = [share / max(mean, _TINY) for share, mean in zip(shares, means, strict=True)]
        factors = [factor * step for factor, step in zip(factors, steps, strict=True)]
        if all(abs(step - 1) < _CLOSE for step in steps):
            break
    return tuple(math.log(max(factor, _TINY) / max(factors[0], _TINY)) for factor in factors)


def mean_probabilities(scores: Collection[LogProbabilities], shift: Shift) -> Shares:
    """The mean predicted probability of each label, with the constants added: what `shift_to` inverts."""
    factors = [math.exp(constant - max(shift)) for constant in shift]
    columns = list(zip(*map(_relative_probabilities, scores), strict=True))
    return tuple(_means_with_factors(columns, factors))


def shifted(scores: Scores, shift: Shift) -> dict[Row, LogProbabilities]:
    """The log-probabilities plus a constant for each label, normalized over the label set."""
    return {row: _shifted(values, shift) for row, values in scores.items()}


def calibrated(scores: Scores, shares: Shares) -> dict[Row, LogProbabilities]:
    """The scores shifted so that the mean predicted probability of each label equals its share."""
    return shifted(scores, shift_to(scores.values(), shares))


def _relative_probabilities(values: LogProbabilities) -> list[float]:
    """Probabilities scaled so that the largest is 1."""
    top = max(values)
    return [math.exp(value - top) for value in values]


def _means_with_factors(columns: Sequence[Sequence[float]], factors: Sequence[float]) -> list[float]:
    """The mean probability of each label, whose column has the relative probabilities of the rows.

    Searches spend most of their own time here; the sums run in C, in the order of the rows.
    """
    weighted = [[value * factor for value in column] for column, factor in zip(columns, factors, strict=True)]
    totals = list(map(sum, zip(*weighted, strict=True)))
    return [reduce(add, map(truediv, column, totals)) / len(totals) for column in weighted]


def _shifted(values: LogProbabilities, shift: Shift) -> LogProbabilities:
    return normalized(tuple(value + constant for value, constant in zip(values, shift, strict=True)))
