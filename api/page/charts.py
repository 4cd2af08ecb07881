"""Geometry of the report's plots, in the units of each plot's view box."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from api.schemas import ReportBody

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """Map values to coordinates along one axis."""

    lower: float
    upper: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value, to a hundredth; the middle if all values are equal."""
        extent = self.upper - self.lower
        part = (value - self.lower) / extent if extent else 0.5
        return round(self.start + part * (self.end - self.start), 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """A dot on a number line; `kind` names its style."""

    name: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Lane:
    """Comparable dots on one scale."""

    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure by its step; `limit` is a line that it should stay below."""

    name: str
    unit: str
    points: Sequence[tuple[float, float]]
    limit: float | None = None


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points: each is the mean of neighbours, if there are more."""
    size = math.ceil(len(points) / most)
    parts = [points[start : start + size] for start in range(0, len(points), size or 1)]
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts]


def ticks(lower: float, upper: float, wanted: int = 4) -> list[float]:
    """Round numbers that span the range, about as many as requested; for one value, that value to a hundredth."""
    if not upper > lower:
        return [round(lower, 2)]
    rough = (upper - lower) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(lower / step + 1e-9), math.ceil(upper / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def digits(marks: Iterable[float]) -> int:
    """The number of decimals that these round numbers need, at least one."""
    known = list(marks)
    return next(count for count in range(1, 11) if all(round(mark, count) == mark for mark in known))


def scale(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale from the first to the last round number around the values."""
    known = list(values)
    marks = ticks(min(known), max(known))
    if len(marks) == 1:
        return Scale(marks[0], marks[0], start, end)
    return Scale(min(marks[0], *known), max(marks[-1], *known), start, end)  # ticks are round to ten decimals at most


def utility_lanes(report: ReportBody) -> list[Lane]:
    """The labels among their rivals, all scored on one sample of rows, and the restarts among themselves."""
    search = report.search
    rivals = [
        ("these labels", search.sample_utility, "own"),
        ("labels permuted", search.complement_utility, "rival"),
        ("labels shuffled", search.shuffled_utility, "chance"),
    ]
    anchor = [Mark(name, value, kind) for name, value, kind in rivals if value is not None]
    best = max(search.restart_utilities, default=0.0)
    restarts = [
        Mark(f"restart {number}", value, "own" if value == best else "rival")
        for number, value in enumerate(search.restart_utilities, start=1)
    ]
    lanes = [Lane("a sample of the rows", anchor), Lane("independent restarts", restarts)]
    return [lane for lane in lanes if len(lane.marks) > 1]
