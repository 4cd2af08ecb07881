"""Reads label shares off the predictions, where a gap divides the rows into groups.

Batch calibration needs the labels' shares, and even shares are a poor guess where one label is rare. A language model
that tells the labels apart leaves a gap between their rows. A calibration to even shares moves the border out of
this gap into the larger group, and so gives many of its rows the rare label. This module moves the border back.

It looks at one number for each row and label: the log-odds of the label against all others. It divides these numbers
in two by minimum error thresholding (Kittler and Illingworth, Pattern Recognition 19, 1986): two normal distributions
of one variance, each number belonging to the likelier. There is a gap if that explains the numbers far better than one
normal distribution does, and if fewer rows lie at the border than at the middle of either group. So the long tail of a
skewed distribution is no group. Where there is no gap, the shares stay as assumed. Prototypical calibration (arXiv
2205.10183) fits a mixture of normal distributions to predictions for the same purpose.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

from service.search.predictions.calibration import Shares, Shift, mean_probabilities, shift_to
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, log_of_sum

EVIDENT_NATS = 5.0  # two groups explain the numbers better than one by this much: "very strong" (Kass and Raftery 1995)
LEAST_GROUP = 0.02  # of the rows; a few outliers are no group
_MOST_ROUNDS = 6  # with more than two labels, a border that moves changes the other labels' log-odds
_CLOSE_NATS = 0.05  # borders that move less are settled
_REACH = 0.75  # standard deviations either way: long tails pass within 0.5, rare labels are overlooked within 1
_LEAST_VARIANCE = 1e-4  # of the whole variance, within the groups: keeps the evidence finite for equal numbers


def shares_shown(scores: Scores, assumed: Shares) -> Shares:
    """The shares to calibrate to so that borders lie in the gaps; `assumed` if the predictions show no gap.

    They are mean predicted probabilities, as `calibration.calibrated` takes them. A label without a gap keeps the
    constant that `assumed` gives it.
    """
    rows = list(scores.values())
    shift = shift_to(rows, assumed)
    moved = _moved_into_gaps(rows, shift)
    return assumed if moved == shift else mean_probabilities(rows, moved)


def _moved_into_gaps(rows: Sequence[LogProbabilities], shift: Shift) -> Shift:
    """Move the borders of all labels with a gap, again until they settle: each move changes the others' log-odds."""
    constants = list(shift)
    for _ in range(_MOST_ROUNDS):
        before = tuple(constants)
        _set_apart(rows, constants)
        if all(abs(now - then) < _CLOSE_NATS for now, then in zip(constants, before, strict=True)):
            break
    return tuple(constants)


def _set_apart(rows: Sequence[LogProbabilities], constants: list[float]) -> None:
    """Set labels apart one by one, each with the rows above its gap, and change their constants.

    Where a gap sets one label apart, it divides the log-odds of every other label, too. It belongs to the label that
    the language model by itself prefers most in the rows above, since no calibration is known yet.
    """
    labels, none = list(range(len(constants))), [0.0] * len(constants)
    while len(labels) > 1:
        of_rows = [_log_odds(row, labels, constants) for row in rows]
        odds = {label: [values[place] for values in of_rows] for place, label in enumerate(labels)}
        borders = {label: border for label in labels if (border := _gap(odds[label])) is not None}
        if not borders:
            return
        above = {label: [value > border for value in odds[label]] for label, border in borders.items()}
        preferred = {
            label: statistics.fmean(_log_odds(row, labels, none)[place] for row in compress(rows, above[label]))
            for place, label in enumerate(labels)
            if label in borders
        }
        label = max(preferred, key=preferred.__getitem__)
        constants[label] -= borders[label]
        rows = [row for row, is_above in zip(rows, above[label], strict=True) if not is_above]
        labels.remove(label)


def _log_odds(row: LogProbabilities, labels: Sequence[int], constants: Sequence[float]) -> list[float]:
    """The log-odds of each of these labels against the others of them, nats, with the constants added."""
    values = [row[label] + constants[label] for label in labels]
    first = max(range(len(values)), key=values.__getitem__)
    against_first = log_of_sum([value for place, value in enumerate(values) if place != first])
    total = log_of_sum([values[first], against_first])
    return [
        value - (against_first if place == first else total + math.log1p(-math.exp(value - total)))
        for place, value in enumerate(values)
    ]


@dataclass(frozen=True, slots=True)
class _Division:
    """Sorted numbers divided in two: the first `count` of them, and the others."""

    numbers: Sequence[float]
    count: int
    variance: float  # within the groups
    evidence_nats: float  # beyond one group, by the Bayesian information criterion

    @property
    def border(self) -> float:
        return (self.numbers[self.count - 1] + self.numbers[self.count]) / 2

    @property
    def is_gap(self) -> bool:
        """Whether these are two groups, neither only a few outliers, with fewer numbers at the border than inside."""
        smaller = min(self.count, len(self.numbers) - self.count)
        if self.evidence_nats < EVIDENT_NATS or smaller < LEAST_GROUP * len(self.numbers):
            return False
        below, above = (statistics.fmean(group) for group in (self.numbers[: self.count], self.numbers[self.count :]))
        return self._near(self.border) < min(self._near(below), self._near(above))

    def _near(self, number: float) -> int:
        """How many numbers lie near this one."""
        reach = _REACH * math.sqrt(self.variance)
        return sum(abs(other - number) <= reach for other in self.numbers)


def _gap(numbers: Sequence[float]) -> float | None:
    """Where the gap between two groups of numbers lies; None if there is none."""
    if len(numbers) < 2 or min(numbers) == max(numbers):
        return None
    division = _best_division(sorted(numbers))
    return division.border if division.is_gap else None


def _best_division(numbers: Sequence[float]) -> _Division:
    """The likeliest division of sorted numbers into two groups with one variance, by trying all."""
    total, mean = len(numbers), math.fsum(numbers) / len(numbers)
    sums = list(accumulate(number - mean for number in numbers))
    squares = math.fsum((number - mean) ** 2 for number in numbers)
    divisions = []
    for count in range(1, total):
        between = sums[count - 1] ** 2 * total / (count * (total - count))
        within = max(squares - between, _LEAST_VARIANCE * squares)
        share = count / total
        uncertainty = -share * math.log(share) - (1 - share) * math.log(1 - share)
        evidence = total * (math.log(squares / within) / 2 - uncertainty) - math.log(total)
        divisions.append((evidence, count, within / total))
    evidence, count, variance = max(divisions)
    return _Division(numbers, count, variance, evidence)
