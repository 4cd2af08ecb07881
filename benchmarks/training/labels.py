"""Trains the small model on labels that the default search found, on gold labels, and on equally accurate noise.

    python -m benchmarks.training.labels

Each cell is a task and a seed: 256 related rows, and 256 fresh rows of the same task (of capitals 176 and 32), asked
without demonstrations before and after each training.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmarks.data import LABELS, Dataset, related
from benchmarks.local import LocalScorer, load_model, search
from benchmarks.measures import accuracy
from benchmarks.strategies import STRATEGIES
from benchmarks.training.records import Measured, Records
from benchmarks.training.runs import forget, parser_of, scores_of, train
from inference.settings import SMALL_MODEL
from service.identifiers import Label
from service.search.state.problem import Parameters
from training.kinds.controls import control_labels
from training.kinds.evaluation import Scores, calibrated
from training.spec import Control

FORM = "statement, I think"
# Rows to label and fresh rows. The small model's world has 52 capitals, which leaves no true claim behind 256 rows.
SIZES: Mapping[str, tuple[int, int]] = {"comparisons": (256, 256), "capitals": (176, 32), "cities": (256, 256)}


@dataclass(frozen=True, slots=True)
class Bench:
    """The work folder of trainings, the records, and the scorer of the search."""

    work: Path
    records: Records
    scorer: LocalScorer

    def cell(self, task: str, seed: int) -> None:
        """Measure everything of a task and seed that is not measured yet."""
        rows, fresh = SIZES[task]
        data = related(task, rows, seed, FORM, fresh=fresh)
        case = {"task": task, "seed": seed, "rows": rows}
        found = self.records.kept({**case, "part": "search"}, partial(self._found, data, seed))["labels"]
        gold = [int(item.gold) for item in data.items]
        taught = {
            "found": found,
            "gold": gold,
            "noise": control_labels(Control.NOISE, found, gold, len(LABELS), seed),
        }
        self.records.kept({**case, "part": "zero_shot"}, partial(_zero_shot, data))
        for name, labels in taught.items():
            self.records.kept(
                {**case, "part": name}, partial(self._trained, data, labels, f"{task}-{name}-{seed}", seed)
            )

    def _found(self, data: Dataset, seed: int) -> Measured:
        """The labels of the default search in the rows' order; gold is used for their accuracy alone."""
        self.scorer.forget()
        problem = data.problem(Parameters(seed=seed))
        labels = search(problem, STRATEGIES["folds_gain"].make(), self.scorer).state.labels
        return {
            "labels": [int(labels[row]) for row in problem.rows],
            "accuracy": round(accuracy(labels, data.gold), 4),
        }

    def _trained(self, data: Dataset, labels: Sequence[int], name: str, seed: int) -> Measured:
        rows = [{"prompt": item.text, "label": LABELS[label]} for item, label in zip(data.items, labels, strict=True)]
        settings: Mapping[str, object] = {
            "base": str(SMALL_MODEL),
            "labels": list(LABELS),
            "separator": data.separator,
            "holdout": 0,
            "seed": seed,
        }
        trained = train(self.work / name, rows, settings)
        measured = {"accuracy": _accuracy(_scores(data, trained.folder / "adapter"), data), **trained.cost}
        forget(self.work / name)
        return measured


def _zero_shot(data: Dataset) -> Measured:
    scores = _scores(data, None)
    return {"accuracy": _accuracy(scores, data), "calibrated": _accuracy(calibrated(scores), data)}


def _scores(data: Dataset, adapter: Path | None) -> Scores:
    return scores_of(str(SMALL_MODEL), adapter, [item.text for item in data.fresh], LABELS)


def _accuracy(scores: Scores, data: Dataset) -> float:
    gold = [Label(item.gold) for item in data.fresh]
    return round(float((scores.argmax(axis=1) == gold).mean()), 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = parser_of(__doc__, seeds=5)
    parser.add_argument("--tasks", nargs="+", choices=SIZES, default=list(SIZES))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench = Bench(given.work, Records(given.results), LocalScorer(load_model(str(SMALL_MODEL)), LABELS))
    for seed, task in product(given.seeds, given.tasks):
        bench.cell(task, seed)
        sys.stdout.write(f"{task}, seed {seed} is measured\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
