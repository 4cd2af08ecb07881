"""Muon in float32: steps of equal size in every direction of a weight matrix.

`torch.optim.Muon` orthogonalizes in bfloat16, which processors without such instructions
emulate: there it took 60 % of the pretraining. Here the arithmetic is float32, and all
matrices of one shape go through it together.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, chosen for its slope at zero (Jordan et al., 2024)
ITERATIONS = 5
SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum (Nesterov), orthogonalized by a Newton-Schulz iteration; weight decay apart from it.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). A
    matrix with more rows than columns takes steps larger by the root of their ratio, as there.
    """

    def __init__(self, matrices: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure is ever evaluated again
        """Take one step along the gradients."""
        for group in self.param_groups:
            for matrices in _by_shape(group["params"]):
                self._step_together(matrices, group["lr"], group["weight_decay"])

    def _step_together(self, matrices: list[torch.nn.Parameter], rate: float, weight_decay: float) -> None:
        updates = orthogonalized(torch.stack([self._with_momentum(matrix) for matrix in matrices]))
        rows, columns = matrices[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - rate * weight_decay).add_(update, alpha=-rate * scale)

    def _with_momentum(self, matrix: torch.nn.Parameter) -> torch.Tensor:
        gradient = matrix.grad
        if gradient is None:
            raise ValueError(f"a matrix of shape {tuple(matrix.shape)} has no gradient")
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: torch.Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM)


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """Bring the singular values of each matrix near one, keeping its singular vectors.

    Shape (count, rows, columns), in and out. The iteration does not converge: it stops with
    singular values between about 0.7 and 1.2, which serves as well.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.mT if tall else x


def _by_shape(matrices: Iterable[torch.nn.Parameter]) -> Iterable[list[torch.nn.Parameter]]:
    alike: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
    for matrix in matrices:
        alike[matrix.shape].append(matrix)
    return alike.values()
