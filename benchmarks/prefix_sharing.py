"""Counts what leave-one-out scoring costs: prompts as sent, in a fixed order, and in divide-and-conquer order.

    python -m benchmarks.prefix_sharing --rows larger_than.jsonl --text statement

Every row is scored behind all others with their labels, through the embedded
server's engine, 64 prompts at a time, with an empty prefix cache for each order. Prints a
table in Markdown; the last column compares with plain unshared passes over some of the prompts.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inference.engine import CacheLimits, Engine
from inference.model.language_model import LanguageModel, Source, load, token_arrays
from inference.model.tokenization import PromptTokenizer
from inference.settings import SMALL_MODEL
from service.identifiers import Label, Row
from service.search.prompting.planner import leave_one_out
from service.search.state.problem import Problem

LABELS = ("True", "False")
_HEAD = (
    "| rows | order | tokens sent | tokens computed | computed/row | sent/computed | seconds | difference (nats) |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
BATCH = 64  # as many requests as a worker has under way


@dataclass(frozen=True)
class Cost:
    """One order's cost; `difference` is the largest seen on a label's score, in nats."""

    sent: int
    computed: int
    seconds: float
    difference: float


def divide_and_conquer(problem: Problem, labels: dict[Row, Label]) -> list[str]:
    """The prompts as the search plans them."""
    return [prompt for _, prompt in leave_one_out(problem, problem.rows, labels).prompts()]


def fixed_order(problem: Problem, labels: dict[Row, Label]) -> list[str]:
    """The prompts with the other rows always in the user's order."""
    return [
        problem.demonstrations([other for other in problem.rows if other != row], labels) + problem.query(row).text
        for row in problem.rows
    ]


def measure(language_model: LanguageModel, prompts: Sequence[list[int]], label_ids: list[int], checks: int) -> Cost:
    """Score the prompts on a fresh engine, and `checks` of them plainly too."""
    engine = Engine(language_model, CacheLimits())
    started = time.perf_counter()
    scores = []
    for start in range(0, len(prompts), BATCH):
        answers = engine.score(prompts[start : start + BATCH])
        scores += [answer.log_probabilities[label_ids] for answer in answers]
    seconds = time.perf_counter() - started
    sample = range(0, len(prompts), max(1, len(prompts) // checks))
    plain = [language_model.plain(prompt)[label_ids] for prompt in token_arrays([prompts[place] for place in sample])]
    difference = max(
        float((scores[place] - expected).abs().max()) for place, expected in zip(sample, plain, strict=True)
    )
    return Cost(engine.tokens_sent, engine.tokens_computed, seconds, difference)


def problem_of(rows: Sequence[dict[str, Any]], text: str) -> tuple[Problem, dict[Row, Label]]:
    """The rows with a label each: their own where they have one, else every other True."""
    texts = {Row(number): str(row[text]) for number, row in enumerate(rows)}
    labels = {
        Row(number): Label(0 if row.get("label", number % 2 == 0) in (True, "True", "true") else 1)
        for number, row in enumerate(rows)
    }
    return Problem(texts=texts, labels=LABELS), labels


def table_rows(arguments: argparse.Namespace, language_model: LanguageModel) -> Iterator[str]:
    """A line for every size and order."""
    data = [json.loads(line) for line in arguments.rows.read_text().splitlines() if line.strip()]
    tokenizer = PromptTokenizer(language_model.tokenizer)
    label_ids = [tokenizer.encode(f" {label}", add_special_tokens=False)[0] for label in LABELS]
    for size in arguments.sizes:
        problem, labels = problem_of(data[:size], arguments.text)
        for name, order in (("fixed", fixed_order), ("divide and conquer", divide_and_conquer)):
            prompts = [tokenizer.encode(prompt) for prompt in order(problem, labels)]
            cost = measure(language_model, prompts, label_ids, arguments.checks)
            yield (
                f"| {len(prompts)} | {name} | {cost.sent:,} | {cost.computed:,} | {cost.computed / len(prompts):,.0f} "
                f"| {cost.sent / cost.computed:.1f} | {cost.seconds:.1f} | {cost.difference:.1e} |"
            )


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines; `label` is used if there is one")
    parser.add_argument("--text", default="statement", help="the field that holds a row's text")
    parser.add_argument("--model", default=str(SMALL_MODEL), help="folder or hub name")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], help="how many rows")
    parser.add_argument("--checks", type=int, default=16, help="prompts scored plainly too, for each line")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    language_model = load(Source(arguments.model))
    sys.stdout.write(_HEAD)
    for line in table_rows(arguments, language_model):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
