"""Batch tokens with padding on the left, so that the scored tokens always stand at the end."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from training.data.tokenization import Ids

IGNORED = -100  # the target of tokens without loss, as in torch's cross entropy


@dataclass(frozen=True, slots=True)
class Forward:
    """A language model's calling convention: some take no positions, some always return the logits of all tokens."""

    takes_positions: bool
    takes_kept: bool

    def batch(self, sequences: Sequence[Ids], kept: int) -> dict[str, Any]:
        """Build the arguments for sequences and their last `kept` logits: ids, mask, positions."""
        ids, mask = padded_left(sequences)
        batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self.takes_positions:
            batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        if self.takes_kept:
            batch["logits_to_keep"] = kept
        return batch


def forward_of(module: Any) -> Forward:
    """Detect the calling convention of this language model, which PEFT may have wrapped."""
    plain = module.get_base_model() if hasattr(module, "get_base_model") else module
    parameters = inspect.signature(plain.forward).parameters
    return Forward("position_ids" in parameters, "logits_to_keep" in parameters)


def padded_left(sequences: Sequence[Ids], pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The sequences and their mask, each of shape (sequences, longest of them)."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, longest - len(sequence) :] = torch.tensor(sequence)
        mask[row, longest - len(sequence) :] = 1
    return ids, mask


@torch.inference_mode()
def last_log_probabilities(module: Any, sequences: Sequence[Ids], kept: int) -> torch.Tensor:
    """Log-probabilities behind the last `kept` tokens: shape (sequences, kept, vocabulary), float32, on the CPU."""
    batch = forward_of(module).batch(sequences, kept)
    moved = {name: value.to(module.device) if torch.is_tensor(value) else value for name, value in batch.items()}
    logs: torch.Tensor = module(**moved).logits[:, -kept:].float().log_softmax(-1).cpu()
    return logs


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a language model into evaluation mode while the context lasts."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@dataclass(frozen=True, slots=True)
class Target:
    """A row's training example: the tokens of its label behind those of its prompt, with the row's weight."""

    prompt: Ids
    label: Ids
    weight: float


class LabelCollator:
    """Collate a batch: the language model's arguments, `targets` of shape (rows, longest label), `weights`."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def __call__(self, rows: Sequence[Mapping[str, Target]]) -> dict[str, Any]:
        """Drop the last token from the input, since no target follows it."""
        targets = [row["target"] for row in rows]
        longest = max(len(target.label) for target in targets)
        learned = torch.full((len(targets), longest), IGNORED)
        for row, target in enumerate(targets):
            learned[row, longest - len(target.label) :] = torch.tensor(target.label)
        sequences = [target.prompt + target.label[:-1] for target in targets]
        weights = torch.tensor([target.weight for target in targets])
        return {**self._forward.batch(sequences, longest), "targets": learned, "weights": weights}


def nats_of_labels(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log p(label | prompt) of each row in nats, by the chain rule over the label's tokens.

    Logits are of shape (rows, tokens, vocabulary), targets of shape (rows, longest label). Only the last logits count,
    one for each token of the longest label.
    """
    kept = logits[:, -targets.shape[1] :].float().transpose(1, 2)
    return torch.nn.functional.cross_entropy(kept, targets, ignore_index=IGNORED, reduction="none").sum(1)
