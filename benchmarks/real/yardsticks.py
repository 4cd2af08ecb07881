"""The default search beside its yardsticks on the same rows: differences in accuracy, paired by seed.

The mark that the project sets itself: the mean accuracy of a task is at least the better of calibrated zero-shot
less 0.01 and calibrated gold many-shot less 0.02, and no single run falls 0.05 below calibrated zero-shot.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.real.cells import Cell, Measured
from benchmarks.tables import number

SEARCH = "default"
ALLOWANCES = {"zero_shot_calibrated": 0.01, "gold_many_shot_calibrated": 0.02}
WORST = -0.05  # against calibrated zero-shot, of a single run

# Two-sided 95 % quantiles of Student's t by degrees of freedom from 1 (Fisher and Yates, Statistical Tables, III).
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True, slots=True)
class Beside:
    """Accuracies of one task on one language model, seed by seed, of the search and of its yardsticks."""

    search: Sequence[float]
    yardsticks: Mapping[str, Sequence[float]]

    def differences(self, name: str) -> list[float]:
        """The search less a yardstick, by seed."""
        return [ours - theirs for ours, theirs in zip(self.search, self.yardsticks[name], strict=True)]

    @property
    def mark(self) -> float:
        """The mean accuracy that the search has to reach."""
        return max(statistics.fmean(self.yardsticks[name]) - less for name, less in ALLOWANCES.items())

    @property
    def is_reached(self) -> bool:
        """Whether the mean reaches the mark and no run is far below calibrated zero-shot."""
        worst = min(self.differences("zero_shot_calibrated"))
        return statistics.fmean(self.search) >= self.mark - 1e-9 and worst >= WORST - 1e-9


def beside(kept: Mapping[Cell, Measured]) -> Iterator[tuple[str, str, int, Beside]]:
    """Language model, task, number of rows, and the accuracies of the seeds that have every method."""
    found: dict[tuple[str, str, int], dict[int, dict[str, float]]] = {}
    for cell, measured in kept.items():
        if cell.method in {SEARCH, *ALLOWANCES}:
            runs = found.setdefault((cell.model, cell.task, cell.rows), {})
            runs.setdefault(cell.seed, {})[cell.method] = measured["accuracy"]
    for (model, task, rows), runs in found.items():
        whole = [run for run in runs.values() if len(run) == len(ALLOWANCES) + 1]
        if whole:
            yardsticks = {name: [run[name] for run in whole] for name in ALLOWANCES}
            yield model, task, rows, Beside([run[SEARCH] for run in whole], yardsticks)


def lines(kept: Mapping[Cell, Measured]) -> Iterator[tuple[str, ...]]:
    """Lines of the table: means, paired differences with their intervals, the mark."""
    for model, task, _, runs in beside(kept):
        differences = [_interval(runs.differences(name)) for name in ALLOWANCES]
        worst = number(min(runs.differences("zero_shot_calibrated")), 3, sign=True)
        mean, mark = number(statistics.fmean(runs.search), 3), number(runs.mark, 3)
        yield model, task, str(len(runs.search)), mean, *differences, worst, mark, "yes" if runs.is_reached else "no"


def _interval(values: Sequence[float]) -> str:
    """The mean with the half-width of its 95 % interval by Student's t; of one run there is none."""
    mean = number(statistics.fmean(values), 3, sign=True)
    if not 1 < len(values) <= len(_STUDENT) + 1:
        return mean
    half = _STUDENT[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean} ± {number(half, 3)}"
