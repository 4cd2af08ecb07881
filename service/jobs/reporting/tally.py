"""Counts a job's label states for its report: rows by label, by status and by confidence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.identifiers import Label
from service.jobs.running.run import UNCERTAIN_MARGIN_NATS
from service.records.labels import LabelState, LabelStatus

CONFIDENCE_BINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """The number of rows with a label, and its share."""

    label: str
    rows: int
    share: float  # of the labelled rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceBin:
    """The number of rows with a confidence in [lower, upper); the last bin includes its upper end."""

    lower: float
    upper: float
    rows: int


@dataclass(slots=True)
class Tally:
    """Counts over the rows of a job, added one by one."""

    rows: int = 0
    labels: Counter[Label] = field(default_factory=Counter)
    statuses: Counter[LabelStatus] = field(default_factory=Counter)
    unsure: int = 0  # rows without label or margin, or with a margin below UNCERTAIN_MARGIN_NATS
    confidences: Counter[int] = field(default_factory=Counter)  # by the bin's number

    def add(self, state: LabelState) -> None:
        """Count the next row."""
        self.rows += 1
        self.statuses[state.status] += 1
        if state.label is not None:
            self.labels[state.label] += 1
        if state.label is None or state.margin is None or state.margin < UNCERTAIN_MARGIN_NATS:
            self.unsure += 1
        if state.confidence is not None:
            self.confidences[bin_of(state.confidence, CONFIDENCE_BINS)] += 1

    def confidence_bins(self) -> list[ConfidenceBin]:
        """The histogram of the rows' confidence, from 0 to 1."""
        return [
            ConfidenceBin(lower=n / CONFIDENCE_BINS, upper=(n + 1) / CONFIDENCE_BINS, rows=self.confidences[n])
            for n in range(CONFIDENCE_BINS)
        ]


def label_shares(counts: Mapping[Label, int], labels: Sequence[str]) -> list[LabelShare]:
    """Every label of the task with its count and its share of all counts."""
    total = max(1, sum(counts.values()))
    rows = [counts.get(Label(number), 0) for number in range(len(labels))]
    return [LabelShare(label=name, rows=n, share=n / total) for name, n in zip(labels, rows, strict=True)]


def bin_of(probability: float, bins: int) -> int:
    """The number of the probability's bin, among `bins` bins of equal width from 0 to 1."""
    return min(int(probability * bins), bins - 1)
