"""Our Muon takes the steps of the public one, in float32."""

import pytest
import torch

from inference.pretraining.muon import Muon, orthogonalized

SHAPES = [(48, 48), (48, 48), (128, 48), (48, 128)]


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalizing_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(7))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    spread = torch.linalg.svdvals(matrices)
    assert (spread.amax(-1) / spread.amin(-1)).min() > 2
    assert values.min() > 0.3  # a singular value that was a thousandth of the largest needs more than five iterations
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_orthogonalizing_a_matrix_alone_or_with_others_is_the_same() -> None:
    matrices = torch.randn(4, 24, 40, generator=torch.Generator().manual_seed(1))
    together = orthogonalized(matrices)
    for matrix, expected in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonalized(matrix[None])[0], expected, atol=1e-5, rtol=1e-5)


def test_a_gradient_of_nothing_but_zeros_moves_nothing_but_by_decay() -> None:
    matrix = torch.nn.Parameter(torch.ones(4, 6))
    matrix.grad = torch.zeros(4, 6)
    Muon([matrix], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(matrix.detach(), torch.full((4, 6), 0.95))


def test_steps_are_those_of_torch_but_for_the_rounding_of_bfloat16() -> None:
    generator = torch.Generator().manual_seed(3)
    ours = [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(matrix.detach().clone()) for matrix in ours]
    before = [matrix.detach().clone() for matrix in ours]
    optimizers = Muon(ours, lr=0.02, weight_decay=0.01), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01)
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(*one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, start in zip(ours, theirs, before, strict=True):
        moved = (other - start).norm()
        assert (one - other).norm() < 0.02 * moved


def test_a_matrix_without_a_gradient_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(3, 5\) has no gradient"):
        Muon([torch.nn.Parameter(torch.ones(3, 5))], lr=0.1, weight_decay=0.0).step()
