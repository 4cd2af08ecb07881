"""Puts measured cells together for the page: over seeds, over tasks, and over the labellings that a search met."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.real.cells import Cell, Measured
from benchmarks.real.methods import METHODS
from benchmarks.real.quality import rank_correlation
from benchmarks.real.tasks import TASKS

NEAR = 0.02  # of the best accuracy met: a choice as good as that

Kept = Mapping[Cell, Measured]


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A method at a number of rows, as a line of a table has it."""

    place: int
    method: str
    rows: int


@dataclass(frozen=True, slots=True)
class Choice:
    """How well a measure distinguished good labellings from bad ones, over the runs of a task on a language model.

    `correlation` is the mean over runs of Spearman's rho between measure and accuracy, None where no run met
    labellings that differ; `near` is the share of runs that ended within NEAR of the best accuracy they met.
    """

    runs: int
    met: float
    correlation: float | None
    near: float
    lost: float


class Summary:
    """The cells of a file. Tasks and methods come in the order of the code, language models in that of the file."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.models = list(dict.fromkeys(cell.model for cell in kept))
        found = {cell.task for cell in kept}
        self.tasks = [name for name in TASKS if name in found]
        self.lines = sorted({Line(list(METHODS).index(cell.method), cell.method, cell.rows) for cell in kept})
        self.usual_rows = statistics.mode(cell.rows for cell in kept) if kept else 0

    def name(self, line: Line) -> str:
        """The method, with its number of rows where that is another one than usual."""
        return line.method if line.rows == self.usual_rows else f"{line.method}, N = {line.rows}"

    def of(self, model: str, line: Line, task: str | None = None) -> list[Measured]:
        """The measurements on a language model, for one task or all of them."""
        return [
            measured
            for cell, measured in self.kept.items()
            if (cell.model, cell.method, cell.rows) == (model, line.method, line.rows) and task in (None, cell.task)
        ]

    def choices(self) -> dict[tuple[str, str, str], Choice]:
        """By language model, task and method, for methods that choose among labellings."""
        found = {
            (model, task, self.name(line)): _choice([run for run in self.of(model, line, task) if run["met"]])
            for model in self.models
            for task in self.tasks
            for line in self.lines
        }
        return {key: choice for key, choice in found.items() if choice is not None}


def values(runs: Iterable[Measured], name: str) -> list[float]:
    """One measure of the runs that have it."""
    return [run[name] for run in runs if run[name] is not None]


def mean_of(runs: Iterable[Measured], name: str) -> float | None:
    """The mean of one measure over the runs that have it; None of none."""
    found = values(runs, name)
    return statistics.fmean(found) if found else None


def _choice(runs: Sequence[Measured]) -> Choice | None:
    if not runs:
        return None
    correlations = [rank_correlation(*zip(*run["met"], strict=True)) for run in runs]
    known = [value for value in correlations if value is not None]
    losses = [max(accuracy for _, accuracy in run["met"]) - run["accuracy"] for run in runs]
    return Choice(
        runs=len(runs),
        met=statistics.fmean(len(run["met"]) for run in runs),
        correlation=statistics.fmean(known) if known else None,
        near=sum(loss <= NEAR + 1e-9 for loss in losses) / len(runs),
        lost=statistics.fmean(losses),
    )
