"""LoRA adapters in memory: small matrices whose product adds to the output of linear layers of a language model.

A layer with weights W answers W x + s B A x, where B A has a low rank (Hu et al., arXiv 2106.09685, section 4.1).
This module never adds the product to the weights, so that several adapters share one language model, and its own
scores stay the same to the bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from inference.model.mixed import BFloat16Linear


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """An adapter's matrices for one layer, in float32: `down` is A (rank, inputs), `up` is B (outputs, rank)."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def added(self, states: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """Add the update for states (..., inputs) to the layer's output (..., outputs), in the output's dtype."""
        low = functional.linear(states.to(self.down.dtype), self.down)
        rows, columns = answer.to(self.up.dtype).flatten(0, -2), low.flatten(0, -2)
        sums = torch.addmm(rows, columns, self.up.t(), alpha=self.scale)  # one pass over the output instead of three
        return sums.view(answer.shape).to(answer.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """Matrices for some layers of one language model, by the layers' names.

    `sha` identifies the scores: it covers the adapter and the language model under it.
    """

    sha: str
    rank: int
    layers: Mapping[str, LowRank]


@dataclass(frozen=True, slots=True)
class Width:
    """The numbers of inputs and outputs of a linear layer."""

    inputs: int
    outputs: int


def linear_layers(module: nn.Module) -> dict[str, Width]:
    """The layers that an adapter may change, by name."""
    return {name: width for name, part in module.named_modules() if (width := _width(part))}


def _width(part: nn.Module) -> Width | None:
    if isinstance(part, nn.Linear | BFloat16Linear):
        return Width(part.weight.shape[1], part.weight.shape[0])
    return Width(part.weight.shape[0], part.weight.shape[1]) if isinstance(part, Conv1D) else None


@contextmanager
def attached(module: nn.Module, adapter: Adapter) -> Iterator[None]:
    """Let a language model score with an adapter while the context lasts; one thread at a time."""
    with ExitStack() as stack:
        for name, low_rank in adapter.layers.items():
            layer = module.get_submodule(name)
            handle = layer.register_forward_hook(partial(_add, low_rank), with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _add(
    low_rank: LowRank, _layer: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any], answer: torch.Tensor
) -> torch.Tensor:
    (states,) = (*inputs, *by_name.values())
    return low_rank.added(states, answer)
