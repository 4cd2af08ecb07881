"""Measures labels, confidences and the measures of searches against gold."""

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
    """How well the margin between two labels separates gold labels, over all thresholds; 0.5 is chance.

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


def confidence(labels: Labels, scores: Scores) -> float:
    """The mean probability of the labels: the accuracy that they claim."""
    return math.fsum(math.exp(scores[row][label]) for row, label in labels.items()) / len(labels)


def calibration_error(labels: Labels, scores: Scores, gold: Mapping[Row, Label]) -> float:
    """Expected calibration error: how far confidence is from accuracy, the mean over rows in ten equal bins."""
    bins = _bins([(math.exp(scores[row][label]), label == gold[row]) for row, label in labels.items()])
    return sum(abs(sum(confidence - right for confidence, right in found)) for found in bins) / len(labels)


def calibration_error_by_chance(labels: Labels, scores: Scores) -> float:
    """The expected calibration error that these confidences would show if each were the probability of a right label.

    Of few rows in a bin not exactly the expected number is right, so the plain error is never 0 on average.
    """
    bins = _bins([(math.exp(scores[row][label]), False) for row, label in labels.items()])
    return sum(_mean_gap([confidence for confidence, _ in found]) for found in bins) / len(labels)


def squared_calibration_error(labels: Labels, scores: Scores, gold: Mapping[Row, Label]) -> float:
    """The mean squared distance of confidence and accuracy in ten bins of equal numbers of rows, without chance's part.

    Unbiased: the variance of each bin's accuracy is subtracted (Kumar, Liang and Ma, arXiv 1909.10155), so a
    single run's may be negative. Its root compares with the plain error.
    """
    told = sorted((math.exp(scores[row][label]), label == gold[row]) for row, label in labels.items())
    bins = [told[len(told) * part // BINS : len(told) * (part + 1) // BINS] for part in range(BINS)]
    large = [found for found in bins if len(found) > 1]
    return sum(len(found) * _squared_gap(found) for found in large) / max(1, sum(map(len, large)))


def _bins(told: Sequence[tuple[float, bool]]) -> list[list[tuple[float, bool]]]:
    """Confidences, each with whether its label is right, in ten bins of equal width."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in told:
        bins.setdefault(min(BINS - 1, int(confidence * BINS)), []).append((confidence, right))
    return list(bins.values())


def _mean_gap(chances: Sequence[float]) -> float:
    """The mean distance of a number of successes from its expectation; the distribution is Poisson's binomial."""
    distribution = [1.0]
    for chance in chances:
        failing = [probability * (1 - chance) for probability in distribution]
        distribution = [
            fail + chance * before for fail, before in zip([*failing, 0.0], [0.0, *distribution], strict=True)
        ]
    return math.fsum(chance * abs(count - math.fsum(chances)) for count, chance in enumerate(distribution))


def _squared_gap(found: Sequence[tuple[float, bool]]) -> float:
    accuracy = statistics.fmean(right for _, right in found)
    gap = statistics.fmean(confidence for confidence, _ in found) - accuracy
    return gap**2 - accuracy * (1 - accuracy) / (len(found) - 1)


def unsure(labels: Labels, scores: Scores) -> int:
    """How many rows have a runner-up that is nearly as likely, as the report counts them."""
    return sum(margin(scores[row], label) < UNCERTAIN_MARGIN_NATS for row, label in labels.items())


def shares(labels: Labels, names: Sequence[str]) -> dict[str, float]:
    """The share of each label, in the task's order."""
    counts = Counter(labels.values())
    return {name: counts[Label(number)] / len(labels) for number, name in enumerate(names)}
