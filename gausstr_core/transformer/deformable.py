"""Multi-scale deformable cross-attention (Deformable DETR, arXiv 2010.04159, equation 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gausstr_core.transformer.sampling import bilinear_taps, weighted_rows


class DeformableAttention(nn.Module):
    """Each query looks at a few learned places of each level around its reference point.

    Args:
        dim: width of queries and memory.
        heads, levels, points: places per query = heads x levels x points.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f'dim must be a multiple of heads, got {dim} and {heads}')
        self.heads, self.levels, self.points = heads, levels, points
        self.head_dim = dim // heads
        self.offsets = nn.Linear(dim, heads * levels * points * 2)
        self.weights = nn.Linear(dim, heads * levels * points)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self._start()

    def _start(self) -> None:
        """Offsets start as a compass rose, one direction per head, 1..points steps out."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        rose = torch.stack([angles.cos(), angles.sin()], dim=-1)
        rose = rose / rose.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        bias = rose[:, None, None, :] * steps[None, None, :, None]
        bias = bias.expand(self.heads, self.levels, self.points, 2)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        with torch.no_grad():
            self.offsets.bias.copy_(bias.reshape(-1))
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, reference: Tensor, memory: list[Tensor]) -> Tensor:
        """Attend.

        Args:
            query: [N, Q, D], position already added.
            reference: [N, Q, 2] (x, y), normalised to the image.
            memory: per level [N, D, h, w].

        Returns:
            [N, Q, D], without the residual.
        """
        n, q, _ = query.shape
        offsets = self.offsets(query).view(n, q, self.heads, self.levels, self.points, 2)
        weights = self.weights(query).view(n, q, self.heads, self.levels * self.points)
        weights = weights.softmax(-1).view(n, q, self.heads, self.levels, self.points, 1)
        tables, indices, shares, first = [], [], [], 0
        for level, values in enumerate(memory):
            height, width = values.shape[-2:]
            size = query.new_tensor([width, height])
            places = reference[:, :, None, None] + offsets[:, :, :, level] / size
            pixel, bilinear = bilinear_taps(places, height, width, border=False)
            indices.append(self._rows(pixel, height * width) + first)
            shares.append(bilinear * weights[:, :, :, level])
            tables.append(self.value(values.flatten(2).transpose(1, 2)).reshape(-1, self.head_dim))
            first += n * height * width * self.heads
        summed = weighted_rows(
            torch.cat(tables),
            torch.stack(indices, 3).flatten(3),
            torch.stack(shares, 3).flatten(3),
        )
        return self.output(summed.flatten(2))

    def _rows(self, pixel: Tensor, pixels: int) -> Tensor:
        """Rows of a level's table, which is ordered by view, pixel, head."""
        n = pixel.shape[0]
        view = torch.arange(n, device=pixel.device).view(n, 1, 1, 1, 1)
        head = torch.arange(self.heads, device=pixel.device).view(1, 1, self.heads, 1, 1)
        return (view * pixels + pixel) * self.heads + head
