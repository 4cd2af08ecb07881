"""Evaluate the small model task by task: zero-shot, few-shot with random labels, many-shot with gold."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

from inference.engine import CacheLimits, Engine
from inference.model.language_model import LanguageModel, Source, load
from inference.pretraining.documents import THINK, Style
from inference.pretraining.world import TASKS, Claim, Task
from inference.settings import SMALL_MODEL

DEMONSTRATIONS = 64
RANDOM_DEMONSTRATIONS = 8
DRAWS = 4  # of demonstrations: their choice changes the accuracy by several hundredths
QUERIES = 256
_BATCH = 64
_SEED = 2718


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: accuracies by condition, and how often zero-shot says True."""

    task: str
    form: str
    zero_shot: float
    says_true: float
    random_few_shot: float
    gold_many_shot: float
    tokens_per_row: float


class Evaluation:
    """Ask the language model for labels of fresh claims behind demonstrations of one task."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model = language_model
        self._engine = Engine(language_model, CacheLimits())
        tokenizer = language_model.tokenizer
        self._labels = [tokenizer.encode(f" {label}", add_special_tokens=False)[0] for label in ("True", "False")]

    def row(self, task: Task, form: str, style: Style) -> Row:
        """All conditions for one task in one form."""
        rng = Random(f"{_SEED} {task.name} {form}")
        claims = [task.draw(rng, truth) for truth in rng.choices((True, False), k=QUERIES)]
        draws = [
            [task.draw(rng, truth) for truth in rng.choices((True, False), k=DEMONSTRATIONS)] for _ in range(DRAWS)
        ]
        zero_shot = self._answers("", task, style, claims)
        return Row(
            task.name,
            form,
            _accuracy(zero_shot, claims),
            sum(zero_shot) / len(zero_shot),
            self._random_few_shot(task, style, draws, claims, rng),
            fmean(self._accuracy_behind(_gold(task, style, shown), task, style, claims) for shown in draws),
            len(self._encode(_gold(task, style, draws[0]))) / DEMONSTRATIONS,
        )

    def _random_few_shot(
        self, task: Task, style: Style, draws: Sequence[Sequence[Claim]], claims: Sequence[Claim], rng: Random
    ) -> float:
        """Mean accuracy over draws of eight demonstrations with random labels."""
        texts = [
            "".join(
                style.demonstration(task, claim, str(rng.random() < 0.5)) for claim in shown[:RANDOM_DEMONSTRATIONS]
            )
            for shown in draws
        ]
        return fmean(self._accuracy_behind(text, task, style, claims) for text in texts)

    def _accuracy_behind(self, text: str, task: Task, style: Style, claims: Sequence[Claim]) -> float:
        return _accuracy(self._answers(text, task, style, claims), claims)

    def _answers(self, prefix: str, task: Task, style: Style, claims: Sequence[Claim]) -> list[bool]:
        prompts = [self._encode(prefix + style.prompt(task, claim)) for claim in claims]
        answers = []
        for start in range(0, len(prompts), _BATCH):
            for scored in self._engine.score(prompts[start : start + _BATCH]):
                true, false = (float(scored.log_probabilities[label]) for label in self._labels)
                answers.append(true > false)
        return answers

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._language_model.tokenizer.encode(text)
        return ids


def forms(task: Task) -> dict[str, Style]:
    """The evaluated styles of a claim, by name."""
    phrasing = {task.name: task.statements[0]}
    return {
        "statement, question mark": Style("", "?", "\n", as_question=False, phrasing=phrasing),
        "statement, I think": Style(".", THINK, "\n\n", as_question=False, phrasing=phrasing),
        "Question / Claim": Style("", THINK, "\n\n", as_question=True),
    }


def _gold(task: Task, style: Style, claims: Sequence[Claim]) -> str:
    return "".join(style.demonstration(task, claim, str(claim.truth)) for claim in claims)


def _accuracy(answers: Sequence[bool], claims: Sequence[Claim]) -> float:
    return sum(answer == claim.truth for answer, claim in zip(answers, claims, strict=True)) / len(claims)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| task | form | zero-shot | says True | 8 random labels | 64 gold labels | tokens per row |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.task} | {row.form} | {row.zero_shot:.3f} | {row.says_true:.2f} | {row.random_few_shot:.3f} "
        f"| {row.gold_many_shot:.3f} | {row.tokens_per_row:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def report(language_model: LanguageModel) -> str:
    """Build the whole page: the description and the table."""
    evaluation = Evaluation(language_model)
    rows = [evaluation.row(task, form, style) for task in TASKS for form, style in forms(task).items()]
    return (
        "# What the small model knows\n\n"
        "This page shows which claims the small model judges right. `python -m inference.pretraining.evaluate` writes "
        f"it. Each line gives the accuracy on {QUERIES} fresh claims, half of them true: without demonstrations, "
        f"behind {RANDOM_DEMONSTRATIONS} demonstrations with random labels, and behind {DEMONSTRATIONS} demonstrations "
        f"with gold labels (both are means over {DRAWS} draws of demonstrations). "
        "*says True*: the share of True among the zero-shot answers.\n\n"
        f"{table(rows)}\n"
    )


def main() -> None:
    """Command line: `python -m inference.pretraining.evaluate [--model FOLDER] [--out FILE]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    parser.add_argument("--out", type=Path, default=Path("docs/small_model.md"))
    arguments = parser.parse_args()
    arguments.out.write_text(report(load(Source(arguments.model))), encoding="utf-8")


if __name__ == "__main__":
    main()
