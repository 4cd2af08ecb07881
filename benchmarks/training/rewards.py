"""Trains a reward model on the few pairs that the search labelled, lets it label the rest, and trains again on all.

    python -m benchmarks.training.rewards

A pair is a comparison of two numbers and its twin, the same with the numbers swapped. For each seed the search labels
6 % of the pairs; `first` is trained on them, `final` on all pairs with the others as `first` prefers them, `gold` on
all pairs as they should be. All are measured on fresh pairs.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.data import LABELS, TRUE, Item, related
from benchmarks.local import LocalScorer, load_model, search
from benchmarks.measures import accuracy
from benchmarks.strategies import STRATEGIES
from benchmarks.training.labels import FORM
from benchmarks.training.records import Measured, Records
from benchmarks.training.runs import CPU, forget, parser_of, train
from inference.settings import SMALL_MODEL
from service.search.state.problem import Parameters
from training.base import find_base
from training.policy.reward_models import LoadedRewardModel, RewardReader, find_reward_model

PAIRS, FRESH_PAIRS, SEARCHED = 600, 200, 36  # 6 % are searched
FIRST_EPOCHS = 12  # few pairs are read more often, or there would be 15 steps
_NAMED = {"base": str(SMALL_MODEL), "kind": "reward", "holdout": 0}

Twins = tuple[str, str]  # a claim and its twin


@dataclass(frozen=True, slots=True)
class Bench:
    """The work folder of trainings, the records, and the scorer of the search."""

    work: Path
    records: Records
    scorer: LocalScorer

    def seed(self, seed: int) -> None:
        """Measure a seed, if it is not measured yet."""
        self.records.kept({"task": "preference twins", "seed": seed}, lambda: self._measured(seed))

    def _measured(self, seed: int) -> Measured:
        items = related("comparisons", 2 * (PAIRS + FRESH_PAIRS), seed, FORM).items
        twins = [(_claim(one), _claim(other)) for one, other in zip(items[::2], items[1::2], strict=True)]
        gold = [item.gold == TRUE for item in items[::2]]  # whether the first of two twins is the better one
        searched, search_accuracy = self._searched(seed)
        fresh, fresh_gold = twins[PAIRS:], gold[PAIRS:]
        first = self._trained("first", twins[:SEARCHED], searched, seed)
        rest = _preferred(first, twins[SEARCHED:PAIRS])
        final = self._trained("final", twins[:PAIRS], searched + rest, seed)
        right = self._trained("gold", twins[:PAIRS], gold[:PAIRS], seed)
        measured = {
            "search_accuracy": search_accuracy,
            "rest_labelled_right": _share(rest, gold[SEARCHED:PAIRS]),
            **{
                name: _share(_preferred(folder, fresh), fresh_gold)
                for name, folder in (("first", first), ("final", final), ("gold", right))
            },
        }
        forget(self.work / f"rewards-{seed}")
        return measured

    def _searched(self, seed: int) -> tuple[list[bool], float]:
        """Whether the first of the first twins is the better one, as the search labels them; its accuracy on rows."""
        self.scorer.forget()
        data = related("comparisons", 2 * SEARCHED, seed, FORM)
        problem = data.problem(Parameters(seed=seed))
        labels = search(problem, STRATEGIES["folds_gain"].make(), self.scorer).state.labels
        rows = list(problem.rows)
        return [labels[row] == TRUE for row in rows[::2]], round(accuracy(labels, data.gold), 4)

    def _trained(self, name: str, twins: Sequence[Twins], firsts: Sequence[bool], seed: int) -> Path:
        rows = []
        for (one, other), first in zip(twins, firsts, strict=True):
            chosen, rejected = (one, other) if first else (other, one)
            rows.append({"chosen": chosen, "rejected": rejected})
        epochs = {"epochs": FIRST_EPOCHS} if name == "first" else {}
        return train(self.work / f"rewards-{seed}" / name, rows, {**_NAMED, "seed": seed, **epochs}).folder


def _claim(item: Item) -> str:
    return item.text.partition("\n")[0]


def _preferred(folder: Path, twins: Sequence[Twins]) -> list[bool]:
    """Whether a reward model prefers the first of each two twins."""
    torch.set_num_threads(1)
    base = find_base(str(SMALL_MODEL), Path())
    model = LoadedRewardModel(RewardReader.of(find_reward_model("reward", str(folder), Path()), base), CPU)
    ones, others = (model.rewards([pair[place] for pair in twins]) for place in (0, 1))
    return [bool(one > other) for one, other in zip(ones, others, strict=True)]


def _share(preferred: Sequence[bool], gold: Sequence[bool]) -> float:
    return round(sum(one == other for one, other in zip(preferred, gold, strict=True)) / len(gold), 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = parser_of(__doc__, seeds=5)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench = Bench(given.work, Records(given.results), LocalScorer(load_model(str(SMALL_MODEL)), LABELS))
    for seed in given.seeds:
        bench.seed(seed)
        sys.stdout.write(f"seed {seed} is measured\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
