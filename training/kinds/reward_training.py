"""Train a reward model: tokenise, hold out, evaluate, and run the trainings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig

from training.base import context_tokens, load_tokenizer
from training.data.collation import evaluating
from training.data.holdout import Split, split
from training.data.pairs import Pair, digest_of, read_pairs
from training.data.tokenization import Ids, RowTokenizer
from training.errors import BaseUnusable, Refused
from training.kinds.controls import control_labels
from training.kinds.evaluation import ROWS_AT_ONCE
from training.kinds.preference import Floats, Judged, quality
from training.optimisation.bench import Bench
from training.optimisation.pair_trainer import PairTrainer
from training.optimisation.stage import Stage
from training.spec import GOLD_CONTROLS, Control, Weights


@dataclass(frozen=True, slots=True)
class TokenisedPair:
    """The tokens of both texts."""

    chosen: Ids
    rejected: Ids


@dataclass(frozen=True, slots=True)
class RewardTraining:
    """The tokenised pairs of a run, and the held-out ones."""

    bench: Bench
    rows: Sequence[Pair]
    tokens: Sequence[TokenisedPair]
    parts: Split
    tokenizer: PreTrainedTokenizerBase
    pad: int
    digest: str

    def facts(self) -> dict[str, Any]:
        """The numbers of pairs by kind, the tokens of an epoch, and the padding token."""
        return {
            "digest": self.digest,
            "trained": len(self.parts.trained),
            "held_out": len(self.parts.held_out),
            "tokens": sum(len(self.tokens[row].chosen) + len(self.tokens[row].rejected) for row in self.parts.trained),
            "pad_token_id": self.pad,
        }

    def before(self) -> dict[str, Any]:
        """Evaluate the base with a new, untrained head."""
        return {"untrained": self._quality(self.bench.module())}

    def stage(self) -> Stage:
        """Run the training itself."""
        return self._stage("training", [False] * len(self.parts.trained))

    def control(self, control: Control) -> Stage:
        """Run the same training on other choices: at random, by gold, or with as many random errors as were found."""
        seed = self.bench.spec.seed
        if control is Control.SHUFFLED:
            rng = Random(f"{seed} {control}")
            return self._stage(control, [rng.random() < 0.5 for _ in self.parts.trained])
        gold = [int(not self.rows[row].gold_agrees) for row in self.parts.trained]
        turned = control_labels(control, [0] * len(gold), gold, 2, seed)
        return self._stage(control, list(map(bool, turned)))

    def scores(self, module: Any) -> None:
        """A reward model predicts no labels; the specification refuses rows to score."""
        del module

    def _stage(self, name: str, turned: Sequence[bool]) -> Stage:
        def evaluate(module: Any) -> dict[str, Any]:
            return {"held_out": self._quality(module)}

        return Stage(name, lambda: self._trainer(name, turned), evaluate, self.bench.spec.epochs)

    def _trainer(self, name: str, turned: Sequence[bool]) -> PairTrainer:
        return PairTrainer(
            model=self.bench.trainable(),
            args=self.bench.arguments(name, RewardConfig, max_length=None, gradient_checkpointing=False),
            train_dataset=Dataset.from_list(
                [self._taught(row, turn) for row, turn in zip(self.parts.trained, turned, strict=True)]
            ),
            processing_class=self.tokenizer,
        )

    def _taught(self, row: int, turned: bool) -> dict[str, Any]:  # noqa: FBT001 - one of a row of coins
        """A pair in TRL's form; with confidence, a surer choice needs a larger distance of rewards."""
        texts = [list(self.tokens[row].chosen), list(self.tokens[row].rejected)]
        chosen, rejected = reversed(texts) if turned else texts
        taught: dict[str, Any] = {"chosen_ids": chosen, "rejected_ids": rejected}
        if self.bench.spec.weights is Weights.CONFIDENCE:
            taught["margin"] = margin(self.rows[row].weight)
        return taught

    def _quality(self, module: Any) -> dict[str, Any]:
        at_once = self.bench.spec.rows_at_once or ROWS_AT_ONCE
        rewards = partial(rewards_of, module, pad=self.pad, check=self.bench.stop.check, rows_at_once=at_once)
        rows = [self.tokens[row] for row in self.parts.held_out]
        chosen, rejected = [row.chosen for row in rows], [row.rejected for row in rows]
        return quality(
            Judged(
                rewards(chosen),
                rewards(rejected),
                [len(ids) for ids in chosen],
                [len(ids) for ids in rejected],
                [self.rows[row].chosen_first for row in self.parts.held_out],
                [self.rows[row].gold_agrees for row in self.parts.held_out],
            )
        )


def rewards_of(
    module: Any, texts: Sequence[Ids], *, pad: int, check: Callable[[], None], rows_at_once: int = ROWS_AT_ONCE
) -> Floats:
    """The reward of each text, batch by batch in the order of lengths. Calls `check` before each, which may raise."""
    rewards = np.zeros(len(texts))
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    with evaluating(module):
        for start in range(0, len(order), rows_at_once):
            check()
            places = order[start : start + rows_at_once]
            rewards[places] = _rewards(module, [texts[place] for place in places], pad)
    return rewards


@torch.inference_mode()
def _rewards(module: Any, texts: Sequence[Ids], pad: int) -> Floats:
    """Score a batch; the language model finds each text's last token by the padding behind it."""
    module.config.get_text_config().pad_token_id = pad
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), pad)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    logits = module(input_ids=ids.to(module.device), attention_mask=mask.to(module.device)).logits
    rewards: Floats = logits[:, 0].double().cpu().numpy()
    return rewards


def margin(confidence: float) -> float:
    """The margin of a pair: 0 for a random choice, 1 for certainty."""
    return max(0.0, 2 * confidence - 1)


def prepare(bench: Bench, file: Path) -> RewardTraining:
    """Check and tokenise every pair before anything is trained. Raises Refused and BaseUnusable."""
    pairs = read_pairs(file)
    _check_gold(bench, pairs)
    tokenizer: Any = load_tokenizer(bench.base)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if pad is None:
        raise BaseUnusable(
            "base: its tokenizer has neither a padding token nor an end of text; a reward model needs one"
        )
    own = RowTokenizer(tokenizer, context_tokens(bench.base))
    tokens = [
        TokenisedPair(own.text(row.line, "chosen", row.chosen), own.text(row.line, "rejected", row.rejected))
        for row in pairs
    ]
    parts = split([row.group for row in pairs], bench.spec.holdout, bench.spec.seed)
    return RewardTraining(bench, pairs, tokens, parts, tokenizer, pad, digest_of(pairs))


def _check_gold(bench: Bench, pairs: Sequence[Pair]) -> None:
    """Raises Refused if a control needs gold that a pair lacks."""
    by_gold = [control for control in bench.spec.controls if control in GOLD_CONTROLS]
    lines = [pair.line for pair in pairs if pair.gold_agrees is None]
    if by_gold and lines:
        raise Refused(
            f"controls: {by_gold[0]} needs gold on every pair, and line {lines[0]} has none "
            f"({len(lines)} pairs in all); add it or leave the control out"
        )
