"""Deformable attention against a loop written out by hand, bilinear weights and all."""

from __future__ import annotations

import math

import pytest
import torch

from gausstr_core.transformer.deformable import DeformableAttention


def bilinear(image: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Value [C] of an image [C, h, w] at (x, y) in pixels, centres at +0.5, zero outside."""
    height, width = image.shape[1:]
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    for row in (top, top + 1):
        for column in (left, left + 1):
            weight = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
            if 0 <= row < height and 0 <= column < width:
                total = total + weight * image[:, row, column]
    return total


def by_hand(
    module: DeformableAttention,
    query: torch.Tensor,
    reference: torch.Tensor,
    memory: list[torch.Tensor],
) -> torch.Tensor:
    """The same as the module, one head, level, point at a time."""
    heads, levels, points = module.heads, module.levels, module.points
    width_of_head = module.head_dim
    output = torch.zeros_like(query)
    for n in range(query.shape[0]):
        values = [
            torch.einsum('dc,chw->dhw', module.value.weight, level[n])
            + module.value.bias[:, None, None]
            for level in memory
        ]
        for q in range(query.shape[1]):
            offsets = module.offsets(query[n, q]).view(heads, levels, points, 2)
            logits = module.weights(query[n, q]).view(heads, levels * points)
            shares = logits.softmax(-1).view(heads, levels, points)
            mixed = torch.zeros(heads * width_of_head, dtype=query.dtype)
            for head in range(heads):
                part = slice(head * width_of_head, (head + 1) * width_of_head)
                for level in range(levels):
                    height, width = memory[level].shape[-2:]
                    for point in range(points):
                        x = reference[n, q, 0].item() * width + offsets[head, level, point, 0]
                        y = reference[n, q, 1].item() * height + offsets[head, level, point, 1]
                        seen = bilinear(values[level][part], x.item(), y.item())
                        mixed[part] += shares[head, level, point] * seen
            output[n, q] = module.output(mixed)
    return output


def make(seed: int = 0) -> tuple[DeformableAttention, torch.Tensor, torch.Tensor, list]:
    torch.manual_seed(seed)
    module = DeformableAttention(dim=8, heads=2, levels=2, points=3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    query = torch.randn(2, 4, 8, dtype=torch.float64)
    # some references near the border, so that samples fall outside of the maps
    reference = torch.rand(2, 4, 2, dtype=torch.float64)
    reference[0, 0] = torch.tensor([0.01, 0.99])
    memory = [torch.randn(2, 8, 5, 7).double(), torch.randn(2, 8, 3, 4).double()]
    return module, query, reference, memory


@pytest.mark.parametrize('seed', range(3))
def test_equals_the_loop(seed: int) -> None:
    module, query, reference, memory = make(seed)
    with torch.no_grad():
        torch.testing.assert_close(
            module(query, reference, memory), by_hand(module, query, reference, memory)
        )


def test_gradients() -> None:
    module, query, reference, memory = make()
    query.requires_grad_(True)
    reference.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda q, r: module(q, r, memory), (query, reference), eps=1e-6, atol=1e-6
    )


def test_starts_as_a_compass() -> None:
    module = DeformableAttention(dim=16, heads=4, levels=1, points=2)
    offsets = module.offsets(torch.zeros(16)).view(4, 1, 2, 2)
    torch.testing.assert_close(offsets[0, 0], torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    torch.testing.assert_close(
        offsets[1, 0], torch.tensor([[0.0, 1.0], [0.0, 2.0]]), atol=1e-6, rtol=0
    )


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match='multiple of heads'):
        DeformableAttention(dim=10, heads=4, levels=1, points=1)
