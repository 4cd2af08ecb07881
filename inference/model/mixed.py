"""Linear layers that multiply in bfloat16 while everything between them stays in float32.

On a CPU with bfloat16 instructions (AVX-512 BF16, AMX) these products take about half the time. Everything that
accumulates from layer to layer (residuals, norms, attention, keys and values) stays in float32, and so does the output
layer, whose errors would be errors of the scores. So scores differ by a few hundredths of a nat; with everything in
bfloat16 by tenths.
"""

import logging
from typing import Any

import torch
from torch import nn
from torch.nn import functional

logger = logging.getLogger(__name__)


class BFloat16Linear(nn.Module):
    """A linear layer with weights in bfloat16, from and to float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().to(torch.bfloat16), requires_grad=False)
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(torch.bfloat16), requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Map states of shape (..., inputs) to (..., outputs) in the states' dtype."""
        return functional.linear(states.to(torch.bfloat16), self.weight, self.bias).to(states.dtype)


def mix(module: Any) -> None:
    """Replace the linear layers of a language model in float32, but for its output layer."""
    if module.device.type == "cpu" and not torch.cpu.get_capabilities().get("avx512_bf16", False):
        logger.warning("this CPU has no instructions for bfloat16, so that --dtype mixed may be slower than float32")
    head = module.get_output_embeddings()
    parents = [part for part in module.modules() if part is not head]
    for parent in parents:
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not head:
                setattr(parent, name, BFloat16Linear(child))
