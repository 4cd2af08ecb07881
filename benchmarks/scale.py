"""Measures a large job through the whole service: accuracy, polarity over all shards, tokens and rows per second.

    python -m benchmarks.scale --rows 20000 --workers 1 2
    python -m benchmarks.scale --data larger_than.jsonl --text statement --twins n1 n2

Starts a private service (Postgres, embedded inference server, API, workers) for each number of
workers, posts the data set, waits, and reads result and report back. Prints a table in Markdown.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from transformers import AutoTokenizer

from icm import Client
from icm.local_stack.temporary_service import PrivateService
from inference.model.tokenization import PromptTokenizer
from inference.pretraining.world import LARGEST_NUMBER, in_words
from inference.settings import SMALL_MODEL

SEPARATOR = "\n\n"
STRETCH = 250  # rows with a separate accuracy, to find a stretch with the wrong polarity
_HEAD = (
    "| rows | workers | accuracy | worst stretch | verdict | sent/row (L) | computed/row (L) | estimated | rows/s |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Data:
    """Rows with gold labels in the column `gold`, and the configuration of their job."""

    rows: Sequence[dict[str, Any]]
    config: dict[str, Any]

    @property
    def mean_tokens(self) -> float:
        """L: mean tokens of a row with label and separator, by the small model's tokenizer."""
        tokenizer = PromptTokenizer(AutoTokenizer.from_pretrained(SMALL_MODEL))
        template = self.config["task"]["template"]
        texts = [f"{template.format(**row)} False{SEPARATOR}" for row in self.rows[:2000]]
        return fmean(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)


def generated(count: int) -> Data:
    """Comparisons of numbers in digits and in words, in two phrasings, each with its swapped twin."""
    numbers = range(LARGEST_NUMBER + 1)
    forms = [(spell, verb) for spell in (str, in_words) for verb in ("larger", "greater")]
    pairs = [(low, high, form) for high in numbers for low in range(high) for form in range(len(forms))]
    rows = []
    for low, high, form in Random(0).sample(pairs, count // 2):
        spell, verb = forms[form]
        for first, second in Random(f"{low} {high} {form}").sample([(low, high), (high, low)], 2):
            statement = f"{spell(first).capitalize()} is {verb} than {spell(second)}."
            rows.append(
                {"statement": statement, "first": first, "second": second, "form": form, "gold": first > second}
            )
    return Data(rows, config_of("statement", ("first", "second"), "form"))


def read(path: Path, text: str, twins: Sequence[str], at_most_one: str | None) -> Data:
    """A file of JSON lines whose column `label` is gold."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for row in rows:
        row["gold"] = row.pop("label")
    config = config_of(text, twins, None)
    if at_most_one is not None:
        config["task"]["relations"] = [{"kind": "at_most_one", "group": at_most_one}]
    return Data(rows, config)


def config_of(text: str, twins: Sequence[str], group: str | None) -> dict[str, Any]:
    """A job that asks whether each row's statement is true."""
    relation = {"kind": "antisymmetric", "first": twins[0], "second": twins[1], "group": group} if twins else None
    return {
        "name": "scale",
        "task": {
            "template": f"{{{text}}}\nI think this claim is",
            "separator": SEPARATOR,
            "gold_field": "gold",
            "relations": [] if relation is None else [relation],
        },
    }


def measure(data: Data, workers: int, seed: int, language_model: str | None) -> str:
    """A line of the table: one job on a private service."""
    config = {**data.config, "search": {"seed": seed}}
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "rows.jsonl"), Path(folder, "labelled.jsonl")
        path.write_text("".join(f"{json.dumps(row)}\n" for row in data.rows), encoding="utf-8")
        with PrivateService(language_model=language_model, workers=workers) as url, Client(url) as client:
            estimated = client.estimate(path, config)["tokens_computed"]
            started = time.monotonic()
            job = client.wait(client.create_job(path, config).id)
            seconds = time.monotonic() - started
            report = client.report(job.id)
            client.result(job.id, to=out)
        labelled = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    right = [row["icm_label"] == str(row["gold"]) for row in labelled]
    worst = min(fmean(right[start : start + STRETCH]) for start in range(0, len(right), STRETCH))
    cost, unit = report["cost"], data.mean_tokens * len(data.rows)
    return (
        f"| {len(right)} | {workers} | {fmean(right):.4f} | {worst:.3f} | {report['verdict']} "
        f"| {cost['tokens_sent'] / unit:.1f} | {cost['tokens_computed'] / unit:.2f} "
        f"| {estimated / cost['tokens_computed']:.2f} | {len(right) / seconds:.0f} |\n"
    )


def table_rows(arguments: argparse.Namespace) -> Iterator[str]:
    """A line for every number of workers and seed."""
    if arguments.data is None:
        data = generated(arguments.rows)
    else:
        data = read(arguments.data, arguments.text, arguments.twins, arguments.at_most_one)
    for workers in arguments.workers:
        for seed in range(arguments.seeds):
            yield measure(data, workers, seed, arguments.model)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="how many rows are generated")
    parser.add_argument("--data", type=Path, help="JSON lines in their place; `label` is gold")
    parser.add_argument("--text", default="statement", help="the column of --data that is shown")
    parser.add_argument("--twins", nargs=2, default=(), help="columns of --data whose exchange turns the label")
    parser.add_argument("--at-most-one", help="column of --data by which one row at most is true")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="how many worker processes")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of the search")
    parser.add_argument("--model", help="folder or hub name of another language model")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    sys.stdout.write(_HEAD)
    for line in table_rows(read_arguments()):
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
