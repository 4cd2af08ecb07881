"""Pretrain the small model from scratch, by a curriculum from plain true statements to long mixed documents."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.pretraining.batches import draw_step, in_groups
from inference.pretraining.documents import (
    ALL_TASKS,
    AROUND_TEN,
    HALF_PLAIN,
    MANY_ADDITIONS,
    MANY_COMPARISONS,
    MANY_NUMBERS,
    MIXTURE,
    MOSTLY_TRUTHFUL,
    NOISY_MIXTURE,
    NONE_HARD,
    NUMBERS_AND_SUMS,
    PLAIN,
    WITHIN_TEN,
    draw_document,
)
from inference.pretraining.muon import Muon
from inference.pretraining.tokenizer import train_tokenizer

logger = logging.getLogger(__name__)

VOCABULARY = 3072
CONTEXT_TOKENS = 4096
WEIGHT_OF_TEXT = 0.3  # weight of the loss on all tokens beside the loss on labels
SHARE_OF_TEXT = 0.25  # share of the other tokens whose loss is computed: the output layer is a third of the cost
WARMUP_STEPS = 30
LOG_EVERY_STEPS = 50


@dataclass(frozen=True)
class Phase:
    """A phase of training on documents of one mixture; `longest` bounds a document's claims.

    `tasks` and `hard` are the shares of the tasks and of each kind of hard claims. With
    `plain_text_only` the text of labelled documents, half of which is false, counts nothing.
    The learning rates change linearly from the first to the second of `rates`, as shares of the recipe's.
    """

    steps: int
    longest: int
    kinds: Mapping[str, float]
    rates: tuple[float, float]
    tasks: Sequence[float] = ALL_TASKS
    hard: Sequence[float] = NONE_HARD
    weight_of_text: float = WEIGHT_OF_TEXT
    plain_text_only: bool = False

    def draw(self, rng: Random) -> str:
        """Draw one document."""
        return draw_document(rng, self.longest, self.kinds, self.tasks, self.hard)


CURRICULUM: tuple[Phase, ...] = (
    Phase(350, 12, PLAIN, (1.0, 1.0), hard=WITHIN_TEN),
    Phase(1100, 14, MOSTLY_TRUTHFUL, (1.0, 0.8), hard=WITHIN_TEN),
    Phase(250, 14, HALF_PLAIN, (0.8, 0.6), MANY_ADDITIONS, hard=WITHIN_TEN, weight_of_text=1.0, plain_text_only=True),
    Phase(280, 48, MIXTURE, (0.7, 0.55), MANY_NUMBERS, hard=WITHIN_TEN, weight_of_text=0.5, plain_text_only=True),
    Phase(520, 48, MIXTURE, (0.55, 0.3), NUMBERS_AND_SUMS, hard=WITHIN_TEN, weight_of_text=0.5, plain_text_only=True),
    Phase(400, 128, NOISY_MIXTURE, (0.3, 0.001), NUMBERS_AND_SUMS, hard=WITHIN_TEN, plain_text_only=True),
    Phase(250, 128, NOISY_MIXTURE, (0.2, 0.001), MANY_COMPARISONS, hard=AROUND_TEN, plain_text_only=True),
)


@dataclass(frozen=True)
class Recipe:
    """All parameters that determine the weights."""

    curriculum: tuple[Phase, ...] = CURRICULUM
    tokens_per_step: int = 8192
    hidden: int = 192
    layers: int = 4
    seed: int = 0
    muon_rate: float = 0.02
    adam_rate: float = 3e-3


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of the recipe's size, heads of 64, with random weights."""
    torch.manual_seed(recipe.seed)
    heads = recipe.hidden // 64
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=recipe.hidden * 8 // 3,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


class Pretraining:
    """The loop: it draws documents, takes steps, and reports the loss on labels (nats per label).

    Each phase has a separate seed and optimizers. So a run that resumes from the weights of a
    finished phase ends like an uninterrupted one.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: PreTrainedTokenizerFast,
        language_model: LlamaForCausalLM,
        *,
        phases_done: int = 0,
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.language_model = language_model
        self.phases_done = phases_done
        self.steps = sum(phase.steps for phase in recipe.curriculum[:phases_done])
        label_ids = [tokenizer.encode(f" {label}", add_special_tokens=False) for label in ("True", "False")]
        self.label_tokens = torch.tensor(label_ids).flatten()
        self.padding: int = tokenizer.eos_token_id

    def run(self, folder: Path) -> None:
        """Run the curriculum, and save the weights after each phase."""
        phases = self.recipe.curriculum
        for number, phase in enumerate(phases[self.phases_done :], self.phases_done + 1):
            logger.info("phase %d of %d: documents of %s", number, len(phases), ", ".join(phase.kinds))
            self._run_phase(number, phase)
            self.save(folder)

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer files."""
        self.language_model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of the layers, AdamW for embeddings and norms."""
        matrices = [p for p in self.language_model.model.layers.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in self.language_model.parameters() if id(p) not in chosen]
        return [
            Muon(matrices, lr=self.recipe.muon_rate, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=self.recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.01),
        ]

    def _run_phase(self, number: int, phase: Phase) -> None:
        rng = Random(f"{self.recipe.seed} {number}")
        torch.manual_seed(self.recipe.seed + number)
        optimizers = self._optimizers()
        all_steps = sum(phase.steps for phase in self.recipe.curriculum)
        losses: list[float] = []
        for step in range(phase.steps):
            self._set_rates(optimizers, phase, step)
            losses.append(self._step(optimizers, self._draw(rng, phase), phase))
            self.steps += 1
            if self.steps % LOG_EVERY_STEPS == 0:
                recent = losses[-LOG_EVERY_STEPS:]
                logger.info("step %d of %d: loss %.4f nats", self.steps, all_steps, sum(recent) / len(recent))

    def _set_rates(self, optimizers: Sequence[torch.optim.Optimizer], phase: Phase, step: int) -> None:
        first, last = phase.rates
        scale = min(1.0, (step + 1) / WARMUP_STEPS) * (first + (last - first) * step / phase.steps)
        for optimizer, rate in zip(optimizers, (self.recipe.muon_rate, self.recipe.adam_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale

    def _draw(self, rng: Random, phase: Phase) -> list[torch.Tensor]:
        """The documents of one step, as tensors of token ids."""
        tokens = self.recipe.tokens_per_step
        documents = draw_step(lambda: phase.draw(rng), self.tokenizer, tokens=tokens, cut=CONTEXT_TOKENS)
        return list(in_groups(documents, most_tokens=tokens, padding=self.padding))

    def _step(self, optimizers: Sequence[torch.optim.Optimizer], groups: Sequence[torch.Tensor], phase: Phase) -> float:
        """One step over all groups; returns the mean loss on labels, or on text where there are none."""
        targets = [group[:, 1:] for group in groups]
        weights = target_weights(targets, phase, labels=self.label_tokens, padding=self.padding)
        total = sum(self._backward(group, weight) for group, weight in zip(groups, weights, strict=True))
        torch.nn.utils.clip_grad_norm_(self.language_model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return total

    def _backward(self, tokens: torch.Tensor, weights: torch.Tensor) -> float:
        """Add a group's gradients; returns its part of the loss on labels (on text where nothing else counts)."""
        is_counted = weights > 0
        targets = tokens[:, 1:][is_counted]
        hidden = self.language_model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        logits = self.language_model.lm_head(hidden[is_counted])
        losses = functional.cross_entropy(logits, targets, reduction="none") * weights[is_counted]
        losses.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        is_label = torch.isin(targets, self.label_tokens)
        return (losses[is_label] if is_label.any() else losses).sum().item()


def target_weights(
    targets: Sequence[torch.Tensor], phase: Phase, *, labels: torch.Tensor, padding: int
) -> list[torch.Tensor]:
    """The weight of each token's loss in a step: labels 1 together, text by the phase, padding 0.

    Shapes: a tensor (documents, tokens) for each group, targets and weights alike.

    Of the text beside labels this function draws a share and ignores the rest; text without labels counts whole.
    """
    is_label = [torch.isin(group, labels) for group in targets]
    number_of_labels = sum(int(group.sum()) for group in is_label)
    is_text = [~label & (group != padding) for label, group in zip(is_label, targets, strict=True)]
    if phase.plain_text_only:
        is_text = [text & ~label.any(1, keepdim=True) for text, label in zip(is_text, is_label, strict=True)]
    elif number_of_labels:
        is_text = [text & (torch.rand(text.shape) < SHARE_OF_TEXT) for text in is_text]
    of_label = 1 / max(1, number_of_labels)
    of_text = (phase.weight_of_text if number_of_labels else 1.0) / max(1, sum(int(text.sum()) for text in is_text))
    return [label * of_label + text * of_text for label, text in zip(is_label, is_text, strict=True)]


def main() -> None:
    """Command line: `python -m inference.pretraining.train --out FOLDER [--phases-done N]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phases-done", type=int, default=0, help="go on from the weights in --out after this phase")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe()
    if arguments.phases_done:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(arguments.out)
        language_model = LlamaForCausalLM.from_pretrained(arguments.out)
    else:
        tokenizer = train_tokenizer(VOCABULARY, recipe.seed)
        language_model = build_model(recipe, tokenizer)
    Pretraining(recipe, tokenizer, language_model, phases_done=arguments.phases_done).run(arguments.out)


if __name__ == "__main__":
    main()
