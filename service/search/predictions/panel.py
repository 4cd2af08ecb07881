"""Pools the predictions of several views of the rows: calibrates each view, weighs it, and takes the mean.

A panel is a set of views with their calibrations and weights. The panel that was fitted to the anchor's rows
labels the rows of later shards, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from service.identifiers import Label, Row
from service.search.predictions.calibration import Shares, Shift, shift_to, shifted
from service.search.predictions.confidence import part_left, sharpened
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, likeliest, normalized

SAME_LABELS = 0.98  # of the rows: the first members give as many of them the same label as all members


@dataclass(frozen=True, slots=True)
class Member:
    """One view: the labelled rows it shows, none for the impression; its calibration, nats; its weight.

    `reading` has for each label the one whose word stands for it; empty where every word stands for itself.
    """

    demonstrations: tuple[tuple[Row, Label], ...]
    shift: Shift
    weight: float
    reading: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Views with the calibration of their mean (nats) and the factors that sharpen it.

    The `first` members, whose mean `first_shift` calibrates, give nearly all rows the same label as all members do.
    `certainty` makes the mean a confidence; it is None in a panel that an earlier release stored. `sharpness` serves
    `doubts`.
    """

    members: tuple[Member, ...]
    shift: Shift
    first: int
    first_shift: Shift
    sharpness: float = 1.0
    certainty: float | None = 1.0

    @property
    def leading(self) -> "Panel":
        """The panel of the first members alone."""
        return replace(self, members=self.members[: self.first], shift=self.first_shift)

    def scores(self, views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
        """The pooled label log-probabilities, nats; `views` has one element for each member.

        They are weighted means of the calibrated log-probabilities, that is a product of experts: a confident
        view counts for more than an unsure one. For a row that a view did not score, the others' mean counts.
        """
        return shifted({row: opinion.mean for row, opinion in self._opinions(views).items()}, self.shift)

    def uncalibrated(self, views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
        """The same weighted means of the language model's own log-probabilities, nats, without calibration."""
        none = (0.0,) * len(self.shift)
        members = tuple(replace(member, shift=none) for member in self.members)
        return replace(self, members=members, shift=none).scores(views)

    def confidences(self, views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
        """The pooled log-probabilities, sharpened to calibrated confidence: the probability that a label is right."""
        if self.certainty is None:
            return self.doubts(views)
        return {row: sharpened(values, self.certainty) for row, values in self.scores(views).items()}

    def doubts(self, views: Sequence[Scores]) -> dict[Row, LogProbabilities]:
        """The pooled log-probabilities, shrunk by the views' disagreement: small margins where others may disagree."""
        opinions = self._opinions(views)
        kept = {row: tuple(part_left(o.by_view, o.weights) * value for value in o.mean) for row, o in opinions.items()}
        return {row: sharpened(values, self.sharpness) for row, values in shifted(kept, self.shift).items()}

    def with_source(self, place: int, source: "Panel") -> "Panel":
        """The panel with its member at this place replaced by the members of `source`, whose panel made its scores.

        The pooled scores of a row that every member scores stay the same, since constants for each label add up.
        """
        own, total = self.members[place], math.fsum(member.weight for member in source.members)
        constant = tuple(map(math.fsum, zip(own.shift, source.shift, strict=True)))
        inner = [replace(member, weight=own.weight * member.weight / total) for member in source.members]
        members = (*self.members[:place], *inner, *self.members[place + 1 :])
        shift = _moved(self.shift, constant, own.weight / math.fsum(member.weight for member in self.members))
        if place >= self.first:
            return replace(self, members=members, shift=shift)
        share = own.weight / math.fsum(member.weight for member in self.members[: self.first])
        first = self.first - 1 + len(inner)
        return replace(
            self, members=members, shift=shift, first=first, first_shift=_moved(self.first_shift, constant, share)
        )

    def _opinions(self, views: Sequence[Scores]) -> dict[Row, "_Opinions"]:
        return _opinions(self.members, views)


@dataclass(frozen=True, slots=True)
class _Opinions:
    """The calibrated predictions of one row by the views that scored it, with their weights."""

    by_view: Sequence[LogProbabilities]
    weights: Sequence[float]

    @property
    def mean(self) -> LogProbabilities:
        total = math.fsum(self.weights)
        columns = zip(*self.by_view, strict=True)
        means = (math.fsum(v * w for v, w in zip(column, self.weights, strict=True)) / total for column in columns)
        return normalized(tuple(means))


def fit(
    shown: Sequence[Sequence[tuple[Row, Label]]], views: Sequence[Scores], weights: Sequence[float], shares: Shares
) -> Panel:
    """The panel of these views, each of them and their mean calibrated to the shares.

    Its `first` members are as few as give nearly the same labels as all, since later shards score every row once
    for each of these.
    """
    members = tuple(
        Member(tuple(rows), shift_to(scores.values(), shares), weight)
        for rows, scores, weight in zip(shown, views, weights, strict=True)
    )
    shift, pooled_scores = _calibrated(members, views, shares)
    for count in range(1, len(members) + 1):
        first_shift, of_first = _calibrated(members[:count], views[:count], shares)
        if _share_alike(of_first, pooled_scores) >= SAME_LABELS:
            break
    return Panel(members, shift, count, first_shift)


def pooled(views: Sequence[Scores], weights: Sequence[float], shares: Shares) -> dict[Row, LogProbabilities]:
    """The pooled scores of the rows that any view scores, calibrated to the shares."""
    members = [
        Member((), shift_to(scores.values(), shares), weight) for scores, weight in zip(views, weights, strict=True)
    ]
    return _calibrated(members, views, shares)[1]


def read_as(scores: Scores, reading: Sequence[Label]) -> Scores:
    """The scores of each label, read from the label word that stands for it; an empty reading changes nothing."""
    if not reading:
        return scores
    return {row: tuple(values[label] for label in reading) for row, values in scores.items()}


def _moved(shift: Shift, constant: Shift, share: float) -> Shift:
    return tuple(value + share * other for value, other in zip(shift, constant, strict=True))


def _calibrated(
    members: Sequence[Member], views: Sequence[Scores], shares: Shares
) -> tuple[Shift, dict[Row, LogProbabilities]]:
    means = {row: opinions.mean for row, opinions in _opinions(members, views).items()}
    shift = shift_to(means.values(), shares)
    return shift, shifted(means, shift)


def _share_alike(first: Scores, second: Scores) -> float:
    """The share of the second prediction's rows to which both give the same likeliest label."""
    same = sum(row in first and likeliest(first[row]) == likeliest(values) for row, values in second.items())
    return same / max(1, len(second))


def _opinions(members: Sequence[Member], views: Sequence[Scores]) -> dict[Row, _Opinions]:
    by_view = [
        shifted(read_as(scores, member.reading), member.shift) for member, scores in zip(members, views, strict=True)
    ]
    rows = dict.fromkeys(row for scores in by_view for row in scores)
    return {row: _opinions_of(row, members, by_view) for row in rows}


def _opinions_of(row: Row, members: Sequence[Member], by_view: Sequence[Mapping[Row, LogProbabilities]]) -> _Opinions:
    scored = [(scores[row], member.weight) for member, scores in zip(members, by_view, strict=True) if row in scores]
    return _Opinions([values for values, _ in scored], [weight for _, weight in scored])
