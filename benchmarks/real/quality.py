"""How good labels are against gold, and what confidence and measures say of that: numbers, nothing computed."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from service.identifiers import Label, Row
from service.jobs.running.run import UNCERTAIN_MARGIN_NATS
from service.search.predictions.scores import Scores, margin
from service.search.rules.consistency import Labels

BINS = 10


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for place in order[start:stop]:
            found[place] = (start + 1 + stop) / 2
        start = stop
    return found


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rho; None where there are fewer than two pairs or one side does not vary."""
    if len(first) < 2 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return statistics.correlation(ranks(first), ranks(second))


def auroc(scores: Scores, gold: Mapping[Row, Label]) -> float | None:
    """How well the margin between two labels tells gold labels apart, whatever the threshold; 0.5 is chance.

    The probability that a row whose gold label is the first has a larger margin for it than one whose
    gold label is the second (Mann-Whitney). None for more than two labels, or where gold has one only.
    """
    rows = list(scores)
    if not rows or len(scores[rows[0]]) != 2:
        return None
    positives = [gold[row] == 0 for row in rows]
    first, second = sum(positives), len(positives) - sum(positives)
    if not first or not second:
        return None
    ranked = ranks([scores[row][0] - scores[row][1] for row in rows])
    total = sum(rank for rank, positive in zip(ranked, positives, strict=True) if positive)
    return (total - first * (first + 1) / 2) / (first * second)


def calibration_error(labels: Labels, scores: Scores, gold: Mapping[Row, Label]) -> float:
    """Expected calibration error: how far confidence is from accuracy, the mean over rows in ten equal bins."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in labels.items():
        confidence = math.exp(scores[row][label])
        bins.setdefault(min(BINS - 1, int(confidence * BINS)), []).append((confidence, label == gold[row]))
    gaps = [abs(sum(confidence - right for confidence, right in found)) for found in bins.values()]
    return sum(gaps) / len(labels)


def unsure(labels: Labels, scores: Scores) -> int:
    """How many rows have a runner-up that is nearly as likely, as the report counts them."""
    return sum(margin(scores[row], label) < UNCERTAIN_MARGIN_NATS for row, label in labels.items())


def shares(labels: Labels, names: Sequence[str]) -> dict[str, float]:
    """The share of each label, in the task's order."""
    counts = Counter(labels.values())
    return {name: counts[Label(number)] / len(labels) for number, name in enumerate(names)}
