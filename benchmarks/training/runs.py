"""Runs the training command in a separate process, and scores fresh rows with the adapter."""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from training.base import context_tokens, find_base, load_module, load_tokenizer
from training.command import main
from training.data.examples import Example
from training.data.tokenization import RowTokenizer
from training.kinds.evaluation import ROWS_AT_ONCE, Scores, label_scores
from training.progress import Progress
from training.spec import Kind, Method
from training.supervision import StopRequest

CPU = torch.device("cpu")
RESULTS = Path(__file__).parents[2] / "docs/training/results.jsonl"


class TrainingFailed(RuntimeError):
    """The training command ended with an error; the text is its last event."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: its folder and its report."""

    folder: Path
    report: dict[str, Any]

    @property
    def cost(self) -> dict[str, float]:
        """CPU seconds and peak memory of the machine in MB."""
        training = self.report["training"]
        return {
            "cpu_seconds": training["cpu_seconds"],
            "peak_mb": round(training["peak_memory"]["bytes"] / 1e6),
        }


def parser_of(description: str, *, seeds: int) -> argparse.ArgumentParser:
    """The arguments of every benchmark of trainings; by default it runs this many seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(seeds)))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("out/training"), help="folder of unfinished trainings")
    return parser


def train(folder: Path, rows: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> Trained:
    """Train on rows in a folder; called again after an interruption, it resumes. Raises TrainingFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    specification = folder / "spec.json"
    specification.write_text(json.dumps({"examples": "rows.jsonl", "device": "cpu", **settings}), "utf-8")
    arguments = ["run", str(specification), "--out", str(folder / "out")]
    process = get_context("fork").Process(target=_command, args=(arguments, folder / "events"))
    process.start()  # forked, since loading the libraries costs as much as a small training
    process.join()
    if process.exitcode:
        last = (folder / "events").read_text("utf-8").strip().rpartition("\n")[2]
        raise TrainingFailed(last or f"status {process.exitcode}")
    return Trained(folder / "out", json.loads((folder / "out/report.json").read_text("utf-8")))


def _command(arguments: Sequence[str], events: Path) -> None:
    """In the child: the command, its events in a file."""
    stop = StopRequest()
    stop.listen()
    with events.open("w", encoding="utf-8") as file:
        status = main(Progress(file), stop, arguments)
    raise SystemExit(status)


def forget(folder: Path) -> None:
    """Delete the folder of a training that was measured."""
    shutil.rmtree(folder, ignore_errors=True)


def scores_of(base: str, adapter: Path | None, prompts: Sequence[str], labels: Sequence[str]) -> Scores:
    """Log-probabilities in nats, shape (prompts, labels), of the base alone or with an adapter, zero-shot."""
    torch.set_num_threads(1)
    found = find_base(base, Path())
    module = load_module(found, Kind.LABEL, Method.LORA, CPU)
    if adapter is not None:
        module = PeftModel.from_pretrained(module, adapter).eval()
    tokenizer = RowTokenizer(load_tokenizer(found), context_tokens(found))
    rows = [Example(line, prompt, 0) for line, prompt in enumerate(prompts, 1)]
    return label_scores(module, tokenizer.prompts(rows, labels, "\n\n"), lambda: None, ROWS_AT_ONCE)
