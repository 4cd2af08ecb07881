"""The paper's experiments beside their repetition on the small model.

What the paper (arXiv 2506.10139) found is told in words; its numbers belong to models some
ten thousand times larger and to other data.
"""

from collections.abc import Sequence

from benchmarks import experiments
from benchmarks.experiments import FOLDS, PAPER, Scale
from benchmarks.results import Results
from benchmarks.runs import Run
from benchmarks.strategies import GOLD
from benchmarks.tables import markdown, number, spread


def table(results: Results, scale: Scale) -> str:
    """A line for each of the paper's figures and tables that is repeated."""
    lines = (_methods, _salience, _noise, _start, _consistency, _prompts)
    return markdown(("in the paper", "what it found", "here"), [line(results, scale) for line in lines])


def _methods(results: Results, scale: Scale) -> tuple[str, str, str]:
    runs = list(experiments.methods(scale))
    gold = _of(runs, GOLD)
    here = (
        f"accuracy on fresh rows: zero-shot {_mean(results, gold, 'fresh_zero_shot')}, "
        f"random few-shot {_mean(results, gold, 'fresh_random_few_shot')}, "
        f"ICM `folds` {_mean(results, _of(runs, FOLDS), 'fresh')}, "
        f"ICM `paper` {_mean(results, _of(runs, PAPER), 'fresh')}, gold many-shot {_mean(results, gold, 'fresh')}"
    )
    found = "as good as gold labels on TruthfulQA and GSM8K, better than crowdsourced labels on Alpaca"
    return "Fig. 3: labels from ICM as prompt or training data", found, here


def _salience(results: Results, scale: Scale) -> tuple[str, str, str]:
    runs = list(experiments.salience(scale))
    found, gold = _of(runs, FOLDS), _of(runs, GOLD)
    here = (
        f"even length of a city's name: ICM {spread(results.values(found, 'accuracy'))} on its rows, "
        f"{_mean(results, found, 'fresh')} on fresh ones; gold many-shot {_mean(results, gold, 'fresh')}"
    )
    return "Fig. 5: a concept that is not salient (poems about the sun)", "no better than chance", here


def _noise(results: Results, scale: Scale) -> tuple[str, str, str]:
    runs = _of(list(experiments.methods(scale)), FOLDS)
    here = (
        f"fresh rows: found {_mean(results, runs, 'fresh')}, noise {_mean(results, runs, 'fresh_noise')}; "
        f"U: found {number(results.mean(runs, 'utility'), 1)}, noise {number(results.mean(runs, 'noise_utility'), 1)}; "
        f"both labellings {_mean(results, runs, 'accuracy')} accurate"
    )
    return "Fig. 8: equally accurate labels with random errors", "train worse than the labels ICM finds", here


def _start(results: Results, scale: Scale) -> tuple[str, str, str]:
    runs = list(experiments.start(scale))
    parts = []
    for name, start in (("worst", "wrong"), ("random", "random"), ("gold", "gold")):
        some = [run for run in runs if run.start == start]
        inverted = results.verdicts(some, "inverted", "printed_verdict")
        parts.append(f"{name} {spread(results.values(some, 'printed_accuracy'))} ({inverted} of {len(some)} inverted)")
    found = "robust to the K first labels; all of them wrong costs some accuracy and adds variance"
    return (
        "Fig. 9: first labels worst-case, random, gold",
        found,
        "`paper`, without trying the complement: " + ", ".join(parts),
    )


def _consistency(results: Results, scale: Scale) -> tuple[str, str, str]:
    parts = []
    for name, printed in ((PAPER, "printed_"), (FOLDS, "")):
        runs = _of(list(experiments.consistency(scale)), name)
        with_rules, without = ([run for run in runs if run.relations is wanted] for wanted in (True, False))
        collapsed, inverted = (
            results.verdicts(without, verdict, f"{printed}verdict") for verdict in ("collapsed", "inverted")
        )
        parts.append(
            f"`{name}` with {spread(results.values(with_rules, f'{printed}accuracy'))}, without "
            f"{spread(results.values(without, f'{printed}accuracy'))} "
            f"({collapsed} of {len(without)} collapsed, {inverted} inverted)"
        )
    found = "on Alpaca, without it, almost always one label for all rows"
    return "Fig. 10: with and without logical consistency", found, "; ".join(parts)


def _prompts(results: Results, scale: Scale) -> tuple[str, str, str]:
    parts = []
    for name in (PAPER, FOLDS):
        runs = _of(list(experiments.methods(scale)), name)
        iterations, prompts, computed = (
            number(results.mean(runs, measure), 0) for measure in ("iterations_per_row", "prompts_per_row", "computed")
        )
        parts.append(f"`{name}` {iterations} iterations and {prompts} prompts a row, computing {computed} L tokens")
    found = "2 to 4 forward passes per label (its second version says iterations)"
    return "Table 3: forward passes per row", found, f"at N = {scale.few_rows}: " + "; ".join(parts)


def _of(runs: Sequence[Run], strategy: str) -> list[Run]:
    return [run for run in runs if run.strategy == strategy]


def _mean(results: Results, runs: Sequence[Run], name: str) -> str:
    return number(results.mean(runs, name), 3)
