"""Train a language model to predict labels: tokenise, hold out, evaluate, and run the trainings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from transformers import TrainingArguments

from training.base import context_tokens, load_tokenizer
from training.data.collation import LabelCollator, Target, forward_of
from training.data.examples import Example, read_examples
from training.data.holdout import Split, split
from training.data.questions import SCORE, Question, read_questions
from training.data.tokenization import RowTokenizer, TokenisedPrompt
from training.errors import Refused
from training.kinds.controls import control_labels
from training.kinds.evaluation import ROWS_AT_ONCE, Scores, calibrated, label_scores, quality
from training.optimisation.bench import Bench
from training.optimisation.stage import Stage
from training.optimisation.trainer import LabelTrainer
from training.scores import Scored
from training.spec import GOLD_CONTROLS, Control, Weights

_MEASURED_ROWS = 256  # of training rows, at the end of each epoch


@dataclass(frozen=True, slots=True)
class LabelTraining:
    """The tokenised rows of a run, and the held-out ones. Trainings get no gold."""

    bench: Bench
    rows: Sequence[Example]
    prompts: Sequence[TokenisedPrompt]
    parts: Split
    gold: Sequence[int | None]
    weights: Sequence[float]  # of the training rows, with a mean of 1
    digest: str
    questions: Sequence[Question] = ()
    question_prompts: Sequence[TokenisedPrompt] = ()

    def facts(self) -> dict[str, Any]:
        """The numbers of rows by kind, and the tokens of an epoch, including each row's label."""
        return {
            "digest": self.digest,
            "trained": len(self.parts.trained),
            "held_out": len(self.parts.held_out),
            "tokens": sum(
                len(self.prompts[row].ids) + len(self.prompts[row].labels[self.rows[row].label])
                for row in self.parts.trained
            ),
        }

    def before(self) -> dict[str, Any]:
        """Evaluate the base on the held-out rows: zero-shot, and calibrated on these rows' prompts."""
        scores = self._scores(self.bench.module(), self.parts.held_out)
        if not len(scores):
            return {"zero_shot": self._quality(scores, ()), "calibrated": self._quality(scores, ())}
        held = self.parts.held_out
        return {"zero_shot": self._quality(scores, held), "calibrated": self._quality(calibrated(scores), held)}

    def stage(self) -> Stage:
        """Run the training itself, without gold labels."""
        return self._stage("training", [self.rows[row].label for row in self.parts.trained], self.bench.spec.epochs)

    def control(self, control: Control) -> Stage:
        """Run the same training on other labels; on inverted ones for the first epoch alone."""
        trained, spec = self.parts.trained, self.bench.spec
        given = [self.rows[row].label for row in trained]
        gold = [label for row in trained if (label := self.gold[row]) is not None] if control in GOLD_CONTROLS else []
        labels = control_labels(control, given, gold, len(spec.labels), spec.seed)
        return self._stage(control, labels, 1 if control is Control.INVERTED else spec.epochs)

    def scores(self, module: Any) -> Scored | None:
        """Every label's log-probability behind each prompt to score."""
        if not self.questions:
            return None
        scores = self._label_scores(module, self.question_prompts)
        tokens = sum(len(prompt.ids) + max(map(len, prompt.labels)) for prompt in self.question_prompts)
        return Scored([question.id for question in self.questions], scores.tolist(), tokens)

    def _stage(self, name: str, labels: Sequence[int], epochs: int) -> Stage:
        measured = Random(self.bench.spec.seed).sample(range(len(labels)), min(_MEASURED_ROWS, len(labels)))

        def evaluate(module: Any) -> dict[str, Any]:
            on_trained = self._scores(module, [self.parts.trained[place] for place in measured])
            return {
                "held_out": self._quality(self._scores(module, self.parts.held_out), self.parts.held_out),
                "trained": quality(on_trained, [labels[place] for place in measured], [None]),
            }

        return Stage(name, lambda: self._trainer(name, labels), evaluate, epochs)

    def _trainer(self, name: str, labels: Sequence[int]) -> LabelTrainer:
        module = self.bench.trainable()
        return LabelTrainer(
            model=module,
            args=self.bench.arguments(name, TrainingArguments),
            train_dataset=[{"target": target} for target in self._targets(labels)],
            data_collator=LabelCollator(forward_of(module)),
        )

    def _targets(self, labels: Sequence[int]) -> list[Target]:
        return [
            Target(self.prompts[row].ids, self.prompts[row].labels[label], weight)
            for row, label, weight in zip(self.parts.trained, labels, self.weights, strict=True)
        ]

    def _scores(self, module: Any, rows: Sequence[int]) -> Scores:
        return self._label_scores(module, [self.prompts[row] for row in rows])

    def _label_scores(self, module: Any, prompts: Sequence[TokenisedPrompt]) -> Scores:
        at_once = self.bench.spec.rows_at_once or ROWS_AT_ONCE
        return label_scores(module, prompts, self.bench.stop.check, at_once)

    def _quality(self, scores: Scores, rows: Sequence[int]) -> dict[str, Any]:
        return quality(scores, [self.rows[row].label for row in rows], [self.gold[row] for row in rows])


def prepare(bench: Bench, file: Path) -> LabelTraining:
    """Check and tokenise every row before any training. Raises Refused and BaseUnusable."""
    spec = bench.spec
    examples = read_examples(file, spec.labels)
    by_gold = [control for control in spec.controls if control in GOLD_CONTROLS]
    if by_gold and (lines := examples.without_gold()):
        raise Refused(
            f"controls: {by_gold[0]} needs a gold label on every row, and line {lines[0]} has none "
            f"({len(lines)} rows in all); add them or leave the control out"
        )
    read, context = load_tokenizer(bench.base), context_tokens(bench.base)
    answers = (spec.labels, spec.separator, spec.spellings)
    prompts = RowTokenizer(read, context).prompts(examples.rows, *answers)
    questions = read_questions(bench.file(spec.score)) if spec.score else []
    question_prompts = RowTokenizer(read, context, SCORE).prompts(questions, *answers)
    parts = split([row.group for row in examples.rows], spec.holdout, spec.seed)
    weights = mean_one([examples.rows[row].weight for row in parts.trained], spec.weights)
    gold, digest = examples.gold, examples.digest
    return LabelTraining(bench, examples.rows, prompts, parts, gold, weights, digest, questions, question_prompts)


def mean_one(given: Sequence[float], weights: Weights) -> list[float]:
    """Scale the weights to a mean of 1, so that weighting keeps the size of steps. Raises Refused."""
    if weights is Weights.NONE:
        return [1.0] * len(given)
    if not sum(given):
        raise Refused("weights: every training row has weight 0; give some a higher one")
    return [weight * len(given) / sum(given) for weight in given]
