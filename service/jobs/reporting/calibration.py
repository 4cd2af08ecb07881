"""Compares labels with gold: computes accuracy, calibration of the confidence, and how well margins rank the labels."""

from collections import Counter
from dataclasses import dataclass, field

from service.jobs.reporting.tally import bin_of
from service.jobs.task.gold import GoldReader, GoldValue, Unmatched
from service.records.labels import LabelState
from service.values import is_blank

RELIABILITY_BINS = 10
_MARGIN_DECIMALS = 2  # margins are rounded to a hundredth of a nat, which bounds the memory for many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldAgreement:
    """Counts of labels that agree with gold."""

    rows: int = 0  # rows with a gold value
    unmatched: int = 0  # of these, rows whose value is not a label, so that it cannot be compared
    unmatched_values: list[GoldValue] = field(default_factory=list)  # the most frequent ones
    labeled: int = 0  # of the others, rows that have a label
    agreeing: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share of the compared rows that agree."""
        return self.agreeing / self.labeled if self.labeled else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The gold rows with a confidence in [lower, upper); the last bin includes its upper end."""

    lower: float
    upper: float
    rows: int
    confidence: float  # their mean
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well confidence agrees with accuracy."""

    rows: int
    bins: list[ReliabilityBin]  # empty ones left out
    expected_calibration_error: float  # mean distance between confidence and accuracy, weighted by rows
    auroc: float | None  # chance that a right label has a larger margin than a wrong one; null without both


@dataclass(slots=True)
class GoldTally:
    """Compares label states with gold, row by row, and keeps only counts."""

    reader: GoldReader
    rows: int = 0
    labeled: int = 0
    agreeing: int = 0
    _unmatched: Unmatched = field(default_factory=Unmatched)
    _bins: dict[int, list[float]] = field(default_factory=dict)  # by bin: rows, sum of confidences, right labels
    _right: Counter[float] = field(default_factory=Counter)  # by margin
    _wrong: Counter[float] = field(default_factory=Counter)

    def add(self, state: LabelState, gold: str) -> None:
        """Compare the next row; ignores a blank gold value, and counts one that is not a label separately."""
        if is_blank(gold):
            return
        self.rows += 1
        gold_label = self.reader.of(gold)
        if gold_label is None:
            self._unmatched.add(gold)
            return
        if state.label is None:
            return
        right = state.label == gold_label
        self.labeled += 1
        self.agreeing += right
        if state.confidence is None or state.margin is None:
            return
        sums = self._bins.setdefault(bin_of(state.confidence, RELIABILITY_BINS), [0, 0.0, 0])
        sums[0], sums[1], sums[2] = sums[0] + 1, sums[1] + state.confidence, sums[2] + right
        (self._right if right else self._wrong)[round(state.margin, _MARGIN_DECIMALS)] += 1

    def agreement(self) -> GoldAgreement:
        """The counts so far."""
        return GoldAgreement(
            rows=self.rows,
            unmatched=self._unmatched.rows,
            unmatched_values=self._unmatched.commonest(),
            labeled=self.labeled,
            agreeing=self.agreeing,
        )

    def calibration(self) -> Calibration | None:
        """The calibration so far; None if no row with gold has a confidence."""
        if not self._bins:
            return None
        bins = [_bin(number, *sums) for number, sums in sorted(self._bins.items())]
        rows = sum(part.rows for part in bins)
        off = sum(part.rows * abs(part.confidence - part.accuracy) for part in bins)
        return Calibration(
            rows=rows, bins=bins, expected_calibration_error=off / rows, auroc=auroc(self._right, self._wrong)
        )


def auroc(right: Counter[float], wrong: Counter[float]) -> float | None:
    """The area under the ROC curve from counts by score; ties count one half. None if one side is empty."""
    pairs = right.total() * wrong.total()
    if not pairs:
        return None
    below, won = 0, 0.0
    for score in sorted(right.keys() | wrong.keys()):
        won += right[score] * (below + wrong[score] / 2)
        below += wrong[score]
    return won / pairs


def _bin(number: int, rows: float, confidence: float, right: float) -> ReliabilityBin:
    return ReliabilityBin(
        lower=number / RELIABILITY_BINS,
        upper=(number + 1) / RELIABILITY_BINS,
        rows=int(rows),
        confidence=confidence / rows,
        accuracy=right / rows,
    )
