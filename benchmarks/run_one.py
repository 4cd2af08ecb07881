"""Runs one search and prints its accuracy and cost, for work on the search.

    python -m benchmarks.run_one --task comparisons --rows 256 --seed 0 --strategy folds

Several tasks, seeds and strategies may be given. Parameters of the search by name: --set restarts=5 folds=8.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.data import LABELS, Dataset, related, unrelated
from benchmarks.local import LocalScorer, load_model, search
from benchmarks.measures import accuracy, exact, mean_demonstration_tokens, share_true, verdict
from benchmarks.strategies import STRATEGIES
from inference.pretraining.evaluate import forms
from inference.pretraining.world import TASKS
from inference.settings import SMALL_MODEL
from service.search.state.problem import Parameters

HEAD = (
    f"{'task':<18} {'seed':>4} {'strategy':<16} {'accuracy':>8} {'verdict':<9} {'True':>5} {'U':>8} {'U gold':>8} "
    f"{'gold many-shot':>14} {'computed':>9} {'sent':>9} {'seconds':>8}\n"
)


def line(arguments: argparse.Namespace, scorer: LocalScorer, *run: str) -> str:
    """Run one search; computed and sent are tokens per row in units of L."""
    task, seed, strategy = run
    data = dataset(arguments, task, int(seed))
    problem = data.problem(parameters(int(seed), arguments.set))
    scorer.forget()
    began = time.perf_counter()
    found = search(problem, STRATEGIES[strategy].make(), scorer)
    seconds = time.perf_counter() - began
    labels = found.state.labels
    mine, gold = (exact(problem, labelling, data.gold, scorer) for labelling in (labels, data.gold))
    unit = len(problem.rows) * mean_demonstration_tokens(problem, scorer)
    return (
        f"{task:<18} {seed:>4} {strategy:<16} {accuracy(labels, data.gold):8.3f} {verdict(labels, data.gold):<9} "
        f"{share_true(labels):5.2f} {mine.utility:8.2f} {gold.utility:8.2f} {gold.accuracy:14.3f} "
        f"{found.usage.tokens_computed / unit:9.1f} {found.usage.tokens_sent / unit:9.0f} {seconds:8.1f}\n"
    )


def dataset(arguments: argparse.Namespace, task: str, seed: int) -> Dataset:
    """The rows the command line asks for."""
    if arguments.unrelated is None:
        return related(task, arguments.rows, seed, arguments.form)
    return unrelated(task, arguments.rows, seed, arguments.form, arguments.unrelated)


def parameters(seed: int, changes: list[str]) -> Parameters:
    """The search's numbers: defaults with `name=value` changes."""
    defaults = Parameters(seed=seed)
    changed = dict(change.split("=", 1) for change in changes)
    return replace(defaults, **{name: type(getattr(defaults, name))(float(new)) for name, new in changed.items()})


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """A line for every run."""
    scorer = LocalScorer(load_model(arguments.model), LABELS)
    yield HEAD
    for run in itertools.product(arguments.task, map(str, arguments.seed), arguments.strategy):
        yield line(arguments, scorer, *run)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=["comparisons"], help="comparisons, or a task of the small world")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="of the rows and of the search")
    parser.add_argument("--strategy", nargs="+", default=["folds"], choices=list(STRATEGIES))
    parser.add_argument("--unrelated", type=float, metavar="SHARE", help="no relations, and this share of true claims")
    parser.add_argument("--form", default="statement, question mark", choices=list(forms(TASKS[0])))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters of the search")
    parser.add_argument("--model", default=str(SMALL_MODEL), help="folder or hub name")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    for text in lines(arguments):
        sys.stdout.write(text)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
