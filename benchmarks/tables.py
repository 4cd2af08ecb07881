"""The tables of docs/benchmarks.md."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks import experiments
from benchmarks.experiments import FOLDS, PAPER, PRINTED_DRAWS, Scale
from benchmarks.results import Results
from benchmarks.runs import Run
from benchmarks.strategies import GOLD, STRATEGIES

NEAR = 1.0  # of U at alpha = 50: 0.02 nats a row


def coherence(results: Results, scale: Scale) -> str:
    """Every strategy on the same rows."""
    rows = []
    for (task, strategy), runs in grouped(experiments.coherence(scale), lambda run: (run.task, run.strategy)):
        gold = [run for run in experiments.coherence(scale) if run.task == task and run.strategy == GOLD]
        gaps = _gaps(results, runs, gold)
        rows.append(
            (
                task,
                _label(runs[0]),
                _incomplete(results.mean(runs, "labelled")),
                spread(results.values(runs, "accuracy")),
                spread(results.values(runs, "utility"), 2),
                "" if strategy == GOLD else number(statistics.fmean(gaps) if gaps else None, 2, sign=True),
                "" if strategy == GOLD else number(min(gaps, default=None), 2, sign=True),
                number(results.mean(runs, "many_shot"), 3),
                "" if strategy == GOLD else number(results.mean(runs, "computed"), 1),
                "" if strategy == GOLD else number(results.mean(runs, "sent"), 0),
                _failures(results, runs),
                "" if strategy == GOLD else number(results.mean(runs, "seconds"), 0),
            )
        )
    head = (
        "task", "strategy", "labelled", "accuracy", "U", "U - U(gold)", "worst", "many-shot",
        "computed", "sent", "inverted / collapsed", "seconds",
    )  # fmt: skip
    return markdown(head, rows)


def _incomplete(share: float | None) -> str:
    """The share of rows that were labelled, where it was not all of them."""
    return number(share, 2) if share is not None and share < 1 else ""


def _gaps(results: Results, runs: Sequence[Run], gold: Sequence[Run]) -> list[float]:
    """U of each run less that of the gold labels of the same rows."""
    of_seed = {run.seed: run for run in gold}
    pairs = [(results.values([run], "utility"), results.values([of_seed[run.seed]], "utility")) for run in runs]
    return [found[0] - best[0] for found, best in pairs if found and best]


def tokens(results: Results, scale: Scale) -> str:
    """Tokens per row against the number of rows."""
    sizes = (*scale.counted_rows, scale.many_rows)
    rows = []
    for name, way, measure in ways():
        cells = []
        for size in sizes:
            runs = [run for run in experiments.tokens(scale) if run.strategy == name and run.rows == size]
            cells.append(number(results.mean(runs, measure), 1 if measure == "computed" else 0))
        rows.append((f"`{name}`", way, *cells))
    return markdown(("strategy", "prompts", *(f"N = {size:,}" for size in sizes)), rows)


def computed_and_counted(scale: Scale) -> tuple[list[Run], list[Run]]:
    """The runs of the paper's full search that were computed, and the same runs counted."""
    real = [run for run in experiments.methods(scale) if run.strategy == PAPER and run.task == scale.tasks[0]]
    counted = [run for run in experiments.tokens(scale) if run.strategy == PAPER and run.rows == scale.few_rows]
    return real, counted


def ways() -> list[tuple[str, str, str]]:
    """Strategy, way of prompting, and the measure that holds its tokens."""
    found = []
    for name, contender in STRATEGIES.items():
        if contender.rescores:
            found += [
                (name, "as sent", "sent"),
                (name, "fixed order, prefix cache", "fixed_order"),
                (name, "divide and conquer, prefix cache", "computed"),
            ]
        elif name == FOLDS:
            found += [(name, "as sent", "sent"), (name, "prefix cache", "computed")]
    return found


def imbalance(results: Results, scale: Scale) -> str:
    """Utility found against utility of gold."""
    rows = []
    for (task, share), runs in grouped(experiments.imbalance(scale), lambda run: (run.task, f"{run.share_true:.0%}")):
        found, gold = ([run for run in runs if (run.strategy == GOLD) is wanted] for wanted in (False, True))
        mine, target = results.values(found, "utility"), results.values(gold, "utility")
        if not mine or len(mine) != len(target):
            continue
        gaps = [one - other for one, other in zip(mine, target, strict=True)]
        rows.append(
            (
                task,
                share,
                spread(mine, 2),
                spread(target, 2),
                f"{sum(gap >= 0 for gap in gaps)} / {len(gaps)}",
                f"{sum(gap >= -NEAR for gap in gaps)} / {len(gaps)}",
                number(min(gaps), 2, sign=True),
                spread(results.values(found, "accuracy")),
                _failures(results, found),
            )
        )
    head = (
        "task", "True", "U found", "U(gold)", "U at least gold's", f"within {NEAR:.0f}", "worst gap", "accuracy",
        "inverted / collapsed",
    )  # fmt: skip
    return markdown(head, rows)


def methods(results: Results, scale: Scale) -> str:
    """Accuracy on fresh rows, by the content of the prompt."""
    rows = []
    for (task,), runs in grouped(experiments.methods(scale), lambda run: (run.task,)):
        gold = [run for run in runs if run.strategy == GOLD]
        searches = [[run for run in runs if run.strategy == name] for name in STRATEGIES if name != "zero_shot"]
        rows.append(
            (
                task,
                spread(results.values(gold, "fresh_zero_shot")),
                spread(results.values(gold, "fresh_random_few_shot")),
                *(spread(results.values(some, "fresh")) for some in searches),
                spread(results.values(gold, "fresh")),
            )
        )
    names = [f"`{name}`" for name in STRATEGIES if name != "zero_shot"]
    return markdown(("task", "zero-shot", "random few-shot", *names, "gold many-shot"), rows)


def noise(results: Results, scale: Scale) -> str:
    """Labels found against labels with equally many errors on random rows."""
    rows = []
    for (task,), runs in grouped(experiments.methods(scale), lambda run: (run.task,)):
        found = [run for run in runs if run.strategy == FOLDS]
        rows.append(
            (
                task,
                spread(results.values(found, "accuracy")),
                spread(results.values(found, "fresh")),
                spread(results.values(found, "fresh_noise")),
                spread(results.values(found, "utility"), 2),
                spread(results.values(found, "noise_utility"), 2),
            )
        )
    head = ("task", "accuracy of both", "fresh rows: found", "fresh rows: noise", "U: found", "U: noise")
    return markdown(head, rows)


def _label(run: Run) -> str:
    if run.strategy == GOLD:
        return "gold labels"
    is_short = STRATEGIES[run.strategy].rescores and run.draws_per_row != PRINTED_DRAWS
    return f"`{run.strategy}`" + (f", {run.draws_per_row:g} draws a row" if is_short else "")


def _failures(results: Results, runs: Sequence[Run]) -> str:
    return f"{results.verdicts(runs, 'inverted')} / {results.verdicts(runs, 'collapsed')} of {len(runs)}"


def grouped(runs: Iterable[Run], key: Callable[[Run], tuple[str, ...]]) -> list[tuple[tuple[str, ...], list[Run]]]:
    """Runs grouped by a key, in the order of their first runs."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return list(found.items())


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number for a table; a dash where there is none."""
    return "-" if value is None else f"{value:{'+' if sign else ''},.{digits}f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
