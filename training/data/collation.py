"""Batch tokens with padding on the left, so that the scored tokens always stand at the end."""

import inspect
from collections.abc import Mapping, Sequence
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
        longest = max(map(len, sequences))
        ids = torch.zeros((len(sequences), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, longest - len(sequence) :] = torch.tensor(sequence)
            mask[row, longest - len(sequence) :] = 1
        batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self.takes_positions:
            batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        if self.takes_kept:
            batch["logits_to_keep"] = kept
        return batch


def forward_of(module: Any) -> Forward:
    """Detect the calling convention of this language model."""
    parameters = inspect.signature(module.forward).parameters
    return Forward("position_ids" in parameters, "logits_to_keep" in parameters)


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

    Logits are of shape (rows, tokens, vocabulary), targets of shape (rows, longest label). Only the logits of the
    last tokens count, as many as the longest label has.
    """
    kept = logits[:, -targets.shape[1] :].float().transpose(1, 2)
    return torch.nn.functional.cross_entropy(kept, targets, ignore_index=IGNORED, reduction="none").sum(1)
