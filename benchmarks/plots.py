"""The plots of docs/benchmarks/: SVG without a background, in colours that are readable on light and dark pages."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import experiments
from benchmarks.experiments import FOLDS, PAPER, Scale
from benchmarks.results import Results
from benchmarks.runs import Run
from benchmarks.strategies import GOLD, STRATEGIES
from benchmarks.tables import grouped, ways

INK = "#7a828b"  # as far from white as from near-black
GRID = "#7a828b33"
COLOURS = (  # which colour-blind readers can distinguish
    "#3b82c4",
    "#d9772b",
    "#2f9e6e",
    "#b85cb0",
    "#b8a02e",
    "#c4504f",
    "#7a7f87",
)
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: dict[Any, Any] = {  # matplotlib types the name of every parameter as a literal
    "svg.hashsalt": "icm",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.transparent": True,
    "figure.constrained_layout.use": True,
}


def draw_all(results: Results, scale: Scale, folder: Path) -> list[Path]:
    """Draw every plot for which there are results."""
    plots = {"quality": quality, "tokens": tokens, "paper": paper}
    return save(folder, {name: partial(draw, results, scale) for name, draw in plots.items()})


def save(folder: Path, plots: Mapping[str, Callable[[], Figure | None]]) -> list[Path]:
    """Draw the plots in the common style and write each into the folder under its name, unless it is None."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(STYLE):
        for name, draw in plots.items():
            figure = draw()
            if figure is not None:
                path = folder / f"{name}.svg"
                figure.savefig(path, metadata={"Date": None, "Creator": None})
                drawn.append(path)
    return drawn


def quality(results: Results, scale: Scale) -> Figure | None:
    """Accuracy, and utility less that of gold, against tokens computed; a column for each task."""
    tasks = grouped(experiments.coherence(scale), lambda run: (run.task,))
    if not results.values(experiments.coherence(scale), "accuracy"):
        return None
    figure = Figure(figsize=(2.4 * len(tasks) + 0.6, 4.8))
    axes = figure.subplots(2, len(tasks), sharex=True, sharey="row", squeeze=False)
    for column, ((task,), runs) in enumerate(tasks):
        above, below = axes[0][column], axes[1][column]
        above.set_title(task)
        gold = [run for run in runs if run.strategy == GOLD]
        for name in STRATEGIES:
            _scatter(above, below, results, [run for run in runs if run.strategy == name], gold)
        many_shot = results.mean(gold, "many_shot")
        if many_shot is not None:
            above.axhline(many_shot, color=INK, linestyle=(0, (4, 3)), linewidth=1, label="gold many-shot")
        below.axhline(0, color=INK, linestyle=(0, (1, 2)), linewidth=1, label="gold labels")
        below.set_xlabel("tokens computed per row / L")
        below.set_xscale("log")
        below.set_yscale("symlog", linthresh=1)
    axes[0][0].set_ylabel("accuracy against gold")
    axes[1][0].set_ylabel("U \N{MINUS SIGN} U(gold labels)")
    legend(figure, axes.flat)
    return figure


def tokens(results: Results, scale: Scale) -> Figure | None:
    """Tokens per row against the number of rows."""
    figure = Figure(figsize=(6.6, 3.9))
    axes: Axes = figure.subplots()
    sizes = (*scale.counted_rows, scale.many_rows)
    for name, way, measure in ways():
        points = []
        for size in sizes:
            runs = [run for run in experiments.tokens(scale) if run.strategy == name and run.rows == size]
            if (mean := results.mean(runs, measure)) is not None:
                points.append((size, mean))
        if points:
            line = {"sent": (0, (1, 1.5)), "fixed_order": (0, (4, 2)), "computed": "-"}[measure]
            look = _look(name)
            axes.plot(*zip(*points, strict=True), linestyle=line, linewidth=1.6, markersize=5, **look)
            axes.annotate(
                f" {name}, {way}", points[-1], color=look["color"], fontsize=8, va="center", xytext=(6, 0),
                textcoords="offset points", annotation_clip=False,
            )  # fmt: skip
    if not axes.lines:
        return None
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("rows N")
    axes.set_ylabel("tokens per row / L")
    return figure


def paper(results: Results, scale: Scale) -> Figure | None:
    """The paper's experiments as points, one for each seed and task, with their means."""
    panels = _panels(results, scale)
    if not any(values for _, groups in panels for _, values in groups):
        return None
    widths = [max(2, len(groups)) for _, groups in panels]
    figure = Figure(figsize=(9.6, 3.4))
    axes = figure.subplots(1, len(panels), sharey=True, width_ratios=widths, squeeze=False)[0]
    for place, (axis, (title, groups)) in enumerate(zip(axes, panels, strict=True)):
        _strip(axis, groups, COLOURS[place % len(COLOURS)])
        axis.set_title(title)
        axis.set_ylim(-0.03, 1.03)
        axis.axhline(0.5, color=INK, linestyle=(0, (1, 2)), linewidth=1)  # chance
        axis.grid(visible=False, axis="x")
    axes[0].set_ylabel("accuracy")
    return figure


Groups = Sequence[tuple[str, list[float]]]


def _panels(results: Results, scale: Scale) -> list[tuple[str, Groups]]:
    methods, starts = list(experiments.methods(scale)), list(experiments.start(scale))
    rules, salience = list(experiments.consistency(scale)), list(experiments.salience(scale))

    def values(runs: Sequence[Run], name: str, **wanted: object) -> list[float]:
        return results.values([run for run in runs if _matches(run, wanted)], name)

    return [
        (
            "Fig. 3: prompted with",
            [
                ("nothing", values(methods, "fresh_zero_shot", strategy=GOLD)),
                ("random\nlabels", values(methods, "fresh_random_few_shot", strategy=GOLD)),
                ("ICM\nfolds", values(methods, "fresh", strategy=FOLDS)),
                ("ICM\npaper", values(methods, "fresh", strategy=PAPER)),
                ("gold", values(methods, "fresh", strategy=GOLD)),
            ],
        ),
        (
            "Fig. 8: errors",
            [
                ("found", values(methods, "fresh", strategy=FOLDS)),
                ("random", values(methods, "fresh_noise", strategy=FOLDS)),
            ],
        ),
        (
            "Fig. 9: start (paper)",
            [(name, values(starts, "printed_accuracy", start=name)) for name in ("wrong", "random", "gold")],
        ),
        (
            "Fig. 10: relations",
            [
                (f"{name}\n{word}", values(rules, measure, strategy=name, relations=word == "with"))
                for name, measure in ((PAPER, "printed_accuracy"), (FOLDS, "accuracy"))
                for word in ("with", "without")
            ],
        ),
        (
            "Fig. 5: concept",
            [("ICM", values(salience, "accuracy", strategy=FOLDS)), ("gold", values(salience, "fresh", strategy=GOLD))],
        ),
    ]  # fmt: skip


def _matches(run: Run, wanted: dict[str, object]) -> bool:
    return all(getattr(run, name) == value for name, value in wanted.items())


def _scatter(above: Axes, below: Axes, results: Results, runs: Sequence[Run], gold: Sequence[Run]) -> None:
    """A point for each seed; utility against gold of the same rows, where all of them were labelled."""
    seeds = {run.seed for run in runs}
    complete = min(results.values(runs, "labelled"), default=1.0) == 1.0
    for axis, measure in ((above, "accuracy"), (below, "utility"))[: 2 if complete else 1]:
        same = [run for run in gold if run.seed in seeds]
        base = results.values(same, measure) if measure == "utility" else [0.0] * len(runs)
        values = results.values(runs, measure)
        if not values or len(values) != len(base):
            continue
        gaps = [value - zero for value, zero in zip(values, base, strict=True)]
        name = runs[0].strategy
        axis.plot(
            results.values(runs, "computed"), gaps, linestyle="", markersize=6, alpha=0.75, label=name,
            markeredgewidth=0, **_look(name),
        )  # fmt: skip


def _strip(axis: Axes, groups: Groups, colour: str) -> None:
    for place, (_, values) in enumerate(groups):
        count = len(values)
        spread = [place + 0.26 * (2 * (number + 0.5) / count - 1) for number in range(count)]
        axis.plot(spread, values, linestyle="", marker="o", markersize=4, alpha=0.55, markeredgewidth=0, color=colour)
        if values:
            axis.hlines(statistics.fmean(values), place - 0.36, place + 0.36, color=colour, linewidth=2)
    axis.set_xticks(range(len(groups)), [name for name, _ in groups], fontsize=8)
    axis.set_xlim(-0.6, len(groups) - 0.4)


def _look(name: str) -> dict[str, Any]:
    place = list(STRATEGIES).index(name)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Put one legend for all panels below them."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=5)
