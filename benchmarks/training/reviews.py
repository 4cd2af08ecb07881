"""Trains on labels that the default search found for film reviews, with a language model pretrained on real text.

    python -m benchmarks.training.reviews --model FOLDER --data FOLDER

`--data` is the folder of `benchmarks.real` (docs/real_models.md). For each seed: 128 reviews, their found labels and
their gold labels, each trained on from the same base; all are measured on 300 fresh reviews.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.local import resolve
from benchmarks.measures import accuracy
from benchmarks.real.cells import problem_of
from benchmarks.real.methods import METHODS
from benchmarks.real.outcome import Material
from benchmarks.real.scorer import Loaded, RealScorer
from benchmarks.real.tasks import Drawn, draw
from benchmarks.training.records import Measured, Records
from benchmarks.training.runs import forget, parser_of, scores_of, train
from service.identifiers import Label, Row
from training.kinds.evaluation import Scores, calibrated

TASK, ROWS, FRESH_ROWS = "sst2", 128, 300
LEARNING_RATE = 2e-4


@dataclass(frozen=True, slots=True)
class Bench:
    """The language model, data, work folder and records of the benchmark."""

    model: str
    data: Path
    work: Path
    records: Records

    def seed(self, seed: int) -> None:
        """Measure everything of a seed that is not measured yet."""
        drawn = draw(TASK, self.data, ROWS, seed, known=FRESH_ROWS)
        name = Path(self.model).name
        case = {"task": TASK, "model": name, "rows": ROWS, "seed": seed}
        found = self.records.kept({**case, "part": "search"}, partial(_found, self.model, drawn))
        labels = {
            "found": {row: Label(label) for row, label in zip(drawn.texts, found["labels"], strict=True)},
            "gold": drawn.gold,
        }
        self.records.kept({**case, "part": "zero_shot"}, partial(self._zero_shot, drawn))
        for taught, chosen in labels.items():
            self.records.kept({**case, "part": taught}, partial(self._trained, drawn, chosen, f"{taught}-{seed}", seed))

    def _zero_shot(self, drawn: Drawn) -> Measured:
        scores = scores_of(self.model, None, [text for text, _ in drawn.known], drawn.config.task.labels)
        return {"accuracy": _accuracy(scores, drawn), "calibrated": _accuracy(calibrated(scores), drawn)}

    def _trained(self, drawn: Drawn, labels: Mapping[Row, Label], name: str, seed: int) -> Measured:
        words = drawn.config.task.labels
        rows = [{"prompt": text, "label": words[labels[row]]} for row, text in drawn.texts.items()]
        settings = {
            "base": self.model,
            "labels": list(words),
            "separator": drawn.config.task.separator,
            "learning_rate": LEARNING_RATE,
            "holdout": 0,
            "seed": seed,
            "checkpoint_steps": 8,
        }
        began = time.monotonic()
        trained = train(self.work / name, rows, settings)
        scores = scores_of(self.model, trained.folder / "adapter", [text for text, _ in drawn.known], words)
        measured = {"accuracy": _accuracy(scores, drawn), "seconds": round(time.monotonic() - began), **trained.cost}
        forget(self.work / name)
        return measured


def _found(model: str, drawn: Drawn) -> Measured:
    """The labels of the default search, in the order of the rows; gold is used for their accuracy alone."""
    scorer = RealScorer(Loaded.of(model), drawn.config.task.labels, next(iter(drawn.texts.values())))
    material = Material(config=drawn.config, problem=problem_of(drawn, scorer), gold={}, known=(), known_tokens=())
    began = time.process_time()
    outcome = resolve(METHODS["default"].find(material), scorer)
    return {
        "labels": [int(outcome.labels[row]) for row in drawn.texts],
        "accuracy": round(accuracy(outcome.labels, drawn.gold), 4),
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def _accuracy(scores: Scores, drawn: Drawn) -> float:
    gold = [int(label) for _, label in drawn.known]
    return round(float((scores.argmax(axis=1) == gold).mean()), 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = parser_of(__doc__, seeds=3)
    parser.add_argument("--model", required=True, help="folder or hub name of a pretrained language model")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds real/sst2.jsonl")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = Path(given.model)  # a specification's folder is not the one that this was started in
    model = str(folder.resolve()) if folder.is_dir() else given.model
    bench = Bench(model, given.data, given.work, Records(given.results))
    for seed in given.seeds:
        bench.seed(seed)
        sys.stdout.write(f"seed {seed} is measured\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
