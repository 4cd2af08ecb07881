"""Compares labels with gold: accuracy, and whether confidence and margin tell right labels from wrong ones."""

from collections import Counter
from dataclasses import dataclass, field

from service.jobs.reporting.tally import bin_of
from service.jobs.task.gold import GoldReader, GoldValue, Unmatched
from service.records.labels import LabelState
from service.values import is_blank

RELIABILITY_BINS = 10
_MARGIN_DECIMALS = 2  # margins are told apart to a hundredth of a nat, which bounds what is kept of many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldAgreement:
    """The labels against gold."""

    rows: int = 0  # rows with a gold value
    unmatched: int = 0  # those among them whose value is none of the labels: not compared
    unmatched_values: list[GoldValue] = field(default_factory=list)  # the most frequent ones
    labeled: int = 0  # the others that were given a label
    agreeing: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share of the rows compared that agree."""
        return self.agreeing / self.labeled if self.labeled else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The gold rows whose confidence lies in [lower, upper), the last one's upper end included."""

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
    """Running comparison of label states with gold."""

    reader: GoldReader
    rows: int = 0
    labeled: int = 0
    agreeing: int = 0
    _unmatched: Unmatched = field(default_factory=Unmatched)
    _bins: dict[int, list[float]] = field(default_factory=dict)  # rows, sum of confidences, right ones
    _right: Counter[float] = field(default_factory=Counter)  # by margin
    _wrong: Counter[float] = field(default_factory=Counter)

    def add(self, state: LabelState, gold: str) -> None:
        """Compare the next row; a blank value is no gold, and one that is no label is counted apart."""
        if is_blank(gold):
            return
        self.rows += 1
        meant = self.reader.of(gold)
        if meant is None:
            self._unmatched.add(gold)
            return
        if state.label is None:
            return
        right = state.label == meant
        self.labeled += 1
        self.agreeing += right
        if state.confidence is None or state.margin is None:
            return
        sums = self._bins.setdefault(bin_of(state.confidence, RELIABILITY_BINS), [0, 0.0, 0])
        sums[0], sums[1], sums[2] = sums[0] + 1, sums[1] + state.confidence, sums[2] + right
        (self._right if right else self._wrong)[round(state.margin, _MARGIN_DECIMALS)] += 1

    def agreement(self) -> GoldAgreement:
        """The counts."""
        return GoldAgreement(
            rows=self.rows,
            unmatched=self._unmatched.rows,
            unmatched_values=self._unmatched.commonest(),
            labeled=self.labeled,
            agreeing=self.agreeing,
        )

    def calibration(self) -> Calibration | None:
        """None where no row with gold has a confidence."""
        if not self._bins:
            return None
        bins = [_bin(number, *sums) for number, sums in sorted(self._bins.items())]
        rows = sum(part.rows for part in bins)
        off = sum(part.rows * abs(part.confidence - part.accuracy) for part in bins)
        return Calibration(
            rows=rows, bins=bins, expected_calibration_error=off / rows, auroc=auroc(self._right, self._wrong)
        )


def auroc(right: Counter[float], wrong: Counter[float]) -> float | None:
    """The area under the ROC curve from counts by score: ties count one half. None where one side is empty."""
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
