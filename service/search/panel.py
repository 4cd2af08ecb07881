"""A panel: several views of the rows, how each is calibrated and weighed, and what they say together.

A panel that was fitted to the anchor's rows labels the rows of later shards, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.identifiers import Label, Row
from service.search.calibration import Shares, Shift, shift_to, shifted
from service.search.prompt_tree import LogProbabilities
from service.search.scores import Scores, likeliest, normalized

SAYS_THE_SAME = 0.98  # share of the rows that some members label as all of them do
_SHARPNESS = (1.0, 4.0)  # the factors tried, evenly spaced in their logarithm
_SHARPNESS_STEPS = 50


@dataclass(frozen=True, slots=True)
class Member:
    """One view: the labelled rows it shows, none for the impression; its calibration, nats; its weight."""

    demonstrations: tuple[tuple[Row, Label], ...]
    shift: Shift
    weight: float


@dataclass(frozen=True, slots=True)
class Panel:
    """Views, the calibration of their mean, nats, and the factor that sharpens it.

    The `first` members, whose mean is calibrated by `first_shift`, label nearly all rows as all members do.
    """

    members: tuple[Member, ...]
    shift: Shift
    first: int
    first_shift: Shift
    sharpness: float = 1.0

    def scores(self, views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
        """Label log-probabilities, nats, by all the views together; `views` has one for each member.

        Weighted means of the calibrated log-probabilities, that is a product of experts: a view that is
        sure counts for more than one that is not. A row that a view was not asked for takes the others' mean.
        """
        return self._scores(self.members, views, self.shift)

    def first_scores(self, views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
        """The same by the first members alone; `views` has one for each of these."""
        return self._scores(self.members[: self.first], views, self.first_shift)

    def _scores(self, members: Sequence[Member], views: Sequence[Scores], shift: Shift) -> dict[Row, LogProbabilities]:
        means = shifted(_means(members, views), shift)
        return {row: _sharp(values, self.sharpness) for row, values in means.items()}


def fit(
    shown: Sequence[Sequence[tuple[Row, Label]]], views: Sequence[Scores], weights: Sequence[float], shares: Shares
) -> Panel:
    """The panel of these views, each of them and their mean calibrated to the shares.

    As few of them are its `first` members as say nearly the same as all: later shards ask for
    every row once for each of these.
    """
    members = tuple(
        Member(tuple(rows), shift_to(scores.values(), shares), weight)
        for rows, scores, weight in zip(shown, views, weights, strict=True)
    )
    shift, told = _calibrated(members, views, shares)
    for count in range(1, len(members) + 1):
        first_shift, said = _calibrated(members[:count], views[:count], shares)
        if _share_alike(said, told) >= SAYS_THE_SAME:
            break
    return Panel(members, shift, count, first_shift)


def _calibrated(
    members: Sequence[Member], views: Sequence[Scores], shares: Shares
) -> tuple[Shift, dict[Row, LogProbabilities]]:
    means = _means(members, views)
    shift = shift_to(means.values(), shares)
    return shift, shifted(means, shift)


def _share_alike(said: Scores, told: Scores) -> float:
    """The share of all rows for which both hold the same label for likeliest."""
    return sum(row in said and likeliest(said[row]) == likeliest(told[row]) for row in told) / max(1, len(told))


def sharpness(scores: Scores, witness: Mapping[Row, Label]) -> float:
    """The factor on log-probabilities under which they predict a witness's labels best.

    A mean over views is less sure than their agreement allows, and by how much depends on how alike they
    err. A witness that took no part in the scores tells it: labels that it shares are likelier right.
    """
    rows = [row for row in witness if row in scores]
    if not rows:
        return 1.0
    low, high = map(math.log, _SHARPNESS)
    steps = [math.exp(low + (high - low) * step / _SHARPNESS_STEPS) for step in range(_SHARPNESS_STEPS + 1)]
    return max(steps, key=lambda factor: math.fsum(_sharp(scores[row], factor)[witness[row]] for row in rows))


def _sharp(values: LogProbabilities, factor: float) -> LogProbabilities:
    return normalized(tuple(factor * value for value in values))


def _means(members: Sequence[Member], views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
    told = [shifted(scores, member.shift) for member, scores in zip(members, views, strict=True)]
    weights = [member.weight for member in members]
    return {row: _mean(row, told, weights) for row in dict.fromkeys(row for scores in told for row in scores)}


def _mean(row: Row, told: Sequence[Mapping[Row, LogProbabilities]], weights: Sequence[float]) -> LogProbabilities:
    parts = [(scores[row], weight) for scores, weight in zip(told, weights, strict=True) if row in scores]
    total = math.fsum(weight for _, weight in parts)
    columns = zip(*(tuple(value * weight / total for value in values) for values, weight in parts), strict=True)
    return normalized(tuple(map(math.fsum, columns)))
