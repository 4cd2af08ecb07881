"""The plots of docs/real_models/."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.plots import COLOURS, MARKERS, legend, save
from benchmarks.real.methods import METHODS
from benchmarks.real.quality import rank_correlation
from benchmarks.real.summary import Line, Summary, values

Panel = tuple[Axes, str, str]  # axes, language model, task


def draw_all(summary: Summary, folder: Path) -> list[Path]:
    """Draw every plot for which there are cells."""
    plots = {"accuracy": accuracy, "cost": cost, "measure": measure}
    return save(folder, {name: partial(draw, summary) for name, draw in plots.items()})


def accuracy(summary: Summary) -> Figure | None:
    """Accuracy by method: a point for each seed, a bar at the mean; an open point where labels collapsed."""

    def draw(axes: Axes, model: str, task: str) -> None:
        for place, line in enumerate(summary.lines):
            runs = summary.of(model, line, task)
            look = _look(line)
            for run in runs:
                fill = "none" if run["collapsed"] else look["color"]
                axes.plot(
                    run["accuracy"], place, marker="o", markersize=5, alpha=0.7,
                    markerfacecolor=fill, markeredgecolor=look["color"],
                )  # fmt: skip
            if runs:
                mean = statistics.fmean(values(runs, "accuracy"))
                axes.vlines(mean, place - 0.36, place + 0.36, color=look["color"], linewidth=2)
        axes.set_yticks(range(len(summary.lines)), [summary.name(line) for line in summary.lines])
        axes.set_ylim(len(summary.lines) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)

    return _grid(summary, draw, height=0.8 + 0.2 * len(summary.lines), x="accuracy")


def cost(summary: Summary) -> Figure | None:
    """Accuracy, the mean over seeds, against tokens computed per row."""

    def draw(axes: Axes, model: str, task: str) -> None:
        for line in summary.lines:
            if runs := summary.of(model, line, task):
                axes.plot(
                    statistics.fmean(values(runs, "computed")), statistics.fmean(values(runs, "accuracy")),
                    linestyle="", markersize=6, markeredgewidth=0, alpha=0.85, label=summary.name(line), **_look(line),
                )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(-0.03, 1.03)

    figure = _grid(summary, draw, height=2.2, x="tokens computed\nper row / L", y="accuracy", same_x=True)
    if figure is not None:
        legend(figure, figure.axes)
    return figure


def measure(summary: Summary) -> Figure | None:
    """Accuracy of the labellings that searches met, against the measure they choose by; a colour for each run."""
    if not any(run["met"] for run in summary.kept.values()):
        return None

    def draw(axes: Axes, model: str, task: str) -> None:
        runs = [run for line in summary.lines for run in summary.of(model, line, task) if run["met"]]
        for number, run in enumerate(runs):
            points = tuple(zip(*run["met"], strict=True))
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*points, linestyle="", marker="o", markersize=4, alpha=0.6, markeredgewidth=0, color=colour)
            axes.axhline(run["accuracy"], color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
        known = [rho for run in runs if (rho := rank_correlation(*zip(*run["met"], strict=True))) is not None]
        if known:
            axes.annotate(
                f"\N{GREEK SMALL LETTER RHO} = {statistics.fmean(known):.2f}", (0.04, 0.04), xycoords="axes fraction"
            )
        axes.set_ylim(-0.03, 1.03)

    return _grid(summary, draw, height=2.2, x="measure", y="accuracy")


def _grid(
    summary: Summary,
    draw: Callable[[Axes, str, str], None],
    *,
    height: float,
    x: str,
    y: str = "",
    same_x: bool = False,
) -> Figure | None:
    """A row of panels for each language model, a column for each task."""
    if not summary.kept:
        return None
    size = (1.5 + 1.5 * len(summary.tasks), 0.7 + height * len(summary.models))
    figure = Figure(figsize=size)
    axes = figure.subplots(len(summary.models), len(summary.tasks), sharex=same_x, sharey=True, squeeze=False)
    for panel, model, task in _panels(axes, summary):
        draw(panel, model, task)
        if model == summary.models[0]:
            panel.set_title(task)
        if model == summary.models[-1]:
            panel.set_xlabel(x)
        if task == summary.tasks[0]:
            panel.set_ylabel(f"{model}\n{y}" if y else model)
    return figure


def _panels(axes: Any, summary: Summary) -> Iterator[Panel]:
    for row, model in enumerate(summary.models):
        for column, task in enumerate(summary.tasks):
            yield axes[row][column], model, task


def _look(line: Line) -> dict[str, Any]:
    place = list(METHODS).index(line.method)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
