"""Pretrains the small model from scratch, by a curriculum from plain true statements to long mixed documents."""

import argparse
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.pretraining.documents import MIXTURE, MOSTLY_TRUTHFUL, PLAIN, draw_document
from inference.pretraining.muon import Muon
from inference.pretraining.tokenizer import train_tokenizer

logger = logging.getLogger(__name__)

VOCABULARY = 3072
CONTEXT_TOKENS = 4096
WEIGHT_OF_TEXT = 0.3  # weight of the loss on all tokens beside the loss on labels
SHARE_OF_TEXT = 0.25  # share of the other tokens whose loss is computed: the output layer is a third of the cost
WARMUP_STEPS = 50
COMPILED_TOKENS = 512  # longer documents are faster uncompiled, where attention needs no explicit mask
LOG_EVERY_STEPS = 50


@dataclass(frozen=True)
class Phase:
    """A stretch of training on documents of one mixture; `claims` bounds a document's length.

    The learning rates go linearly from the first to the second of `rates`, as shares of the recipe's.
    """

    steps: int
    length_tokens: int
    batch: int
    claims: int
    kinds: Mapping[str, float]
    rates: tuple[float, float]


CURRICULUM: tuple[Phase, ...] = (
    Phase(450, 128, 64, 12, PLAIN, (1.0, 1.0)),
    Phase(1450, 128, 64, 14, MOSTLY_TRUTHFUL, (1.0, 1.0)),
    Phase(750, 512, 16, 48, MIXTURE, (1.0, 0.25)),
    Phase(60, 2048, 4, 180, MIXTURE, (0.25, 0.2)),
    Phase(120, 1024, 8, 96, MIXTURE, (0.6, 0.5)),
    Phase(320, 512, 16, 48, MIXTURE, (0.5, 0.06)),
    Phase(30, 2048, 4, 180, MIXTURE, (0.06, 0.04)),
    Phase(12, 4096, 2, 400, MIXTURE, (0.04, 0.02)),
    Phase(200, 512, 16, 48, MIXTURE, (0.4, 0.3)),
    Phase(200, 1024, 8, 96, MIXTURE, (0.3, 0.2)),
    Phase(120, 2048, 4, 180, MIXTURE, (0.2, 0.1)),
    Phase(60, 4096, 2, 400, MIXTURE, (0.1, 0.05)),
    Phase(60, 512, 16, 48, MIXTURE, (0.05, 0.01)),
    Phase(400, 1024, 4, 96, MIXTURE, (0.35, 0.25)),
    Phase(900, 2048, 2, 180, MIXTURE, (0.25, 0.08)),
    Phase(50, 4096, 2, 400, MIXTURE, (0.08, 0.07)),
    Phase(250, 2048, 4, 180, MIXTURE, (0.07, 0.001)),
)
STEPS = sum(phase.steps for phase in CURRICULUM)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the curriculum."""

    hidden: int = 192
    layers: int = 4
    seed: int = 0
    muon_rate: float = 0.02
    adam_rate: float = 3e-3


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of the recipe's size, heads of 64, with random weights."""
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
    """The loop: draws batches, takes steps, reports the loss on labels (nats per label).

    It can go on from the weights that an earlier run saved after a phase; the optimizers
    then begin anew, with a warm-up of their own.
    """

    def __init__(self, recipe: Recipe, *, saved: Path | None = None, phases_done: int = 0) -> None:
        torch.manual_seed(recipe.seed + phases_done)
        self.recipe = recipe
        self.phases_done = phases_done
        self.steps = self.first_step = sum(phase.steps for phase in CURRICULUM[:phases_done])
        self.rng = Random(recipe.seed + phases_done)
        self.tokenizer = (
            train_tokenizer(VOCABULARY, recipe.seed)
            if saved is None
            else PreTrainedTokenizerFast.from_pretrained(saved)
        )
        label_ids = [self.tokenizer.encode(f" {label}", add_special_tokens=False) for label in ("True", "False")]
        self.label_tokens = torch.tensor(label_ids).flatten()
        self.language_model = (
            build_model(recipe, self.tokenizer) if saved is None else LlamaForCausalLM.from_pretrained(saved)
        )
        self.compiled = torch.compile(self.language_model.model, dynamic=False)
        self.optimizers = self._optimizers()

    def run(self, folder: Path) -> None:
        """Go through the curriculum; the weights are saved after each phase."""
        for number, phase in enumerate(CURRICULUM[self.phases_done :], self.phases_done + 1):
            logger.info("phase %d of %d: documents of %s", number, len(CURRICULUM), ", ".join(phase.kinds))
            self._run_phase(phase)
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

    def _run_phase(self, phase: Phase) -> None:
        losses: list[float] = []
        for step in range(phase.steps):
            self._set_rates(phase, step / phase.steps)
            losses.append(self._step(self._batch(phase), plain=phase.kinds is PLAIN))
            if self.steps % LOG_EVERY_STEPS == 0:
                recent = losses[-LOG_EVERY_STEPS:]
                logger.info("step %d of %d: loss %.4f nats", self.steps, STEPS, sum(recent) / len(recent))

    def _set_rates(self, phase: Phase, progress: float) -> None:
        first, last = phase.rates
        warmth = (self.steps - self.first_step + 1) / WARMUP_STEPS
        scale = min(1.0, warmth) * (first + (last - first) * progress)
        for optimizer, rate in zip(self.optimizers, (self.recipe.muon_rate, self.recipe.adam_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale

    def _batch(self, phase: Phase) -> torch.Tensor:
        """Token ids of shape (batch, length + 1); every document begins with BOS."""
        return torch.tensor([self._window(phase) for _ in range(phase.batch)])

    def _window(self, phase: Phase) -> list[int]:
        ids: list[int] = []
        for document in self._documents(phase):
            ids += self.tokenizer.encode(document)
            if len(ids) > phase.length_tokens:
                break
        return ids[: phase.length_tokens + 1]

    def _documents(self, phase: Phase) -> Iterator[str]:
        while True:
            yield draw_document(self.rng, self.rng.randint(1, phase.claims), phase.kinds)

    def _step(self, tokens: torch.Tensor, *, plain: bool) -> float:
        targets = tokens[:, 1:].flatten()
        is_label = torch.isin(targets, self.label_tokens)
        is_counted = is_label | (torch.rand(targets.shape) < (1.0 if plain else SHARE_OF_TEXT))
        body = self.compiled if tokens.shape[1] <= COMPILED_TOKENS + 1 else self.language_model.model
        hidden = body(input_ids=tokens[:, :-1]).last_hidden_state.flatten(0, 1)
        logits = self.language_model.lm_head(hidden[is_counted])
        losses = functional.cross_entropy(logits, targets[is_counted], reduction="none")
        on_labels = losses[is_label[is_counted]]
        on_text = losses.mean() if plain else losses[~is_label[is_counted]].mean()
        loss = on_text if plain else on_labels.mean() + WEIGHT_OF_TEXT * on_text
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(self.language_model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.steps += 1
        return (on_text if plain else on_labels.mean()).item()


def main() -> None:
    """Command line: `python -m inference.pretraining.train --out FOLDER [--phases-done N]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phases-done", type=int, default=0, help="go on from the weights in --out after this phase")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    saved = arguments.out if arguments.phases_done else None
    Pretraining(Recipe(), saved=saved, phases_done=arguments.phases_done).run(arguments.out)


if __name__ == "__main__":
    main()
