"""Multi-scale deformable cross-attention (Deformable DETR, arXiv 2010.04159, equation 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        self.dim, self.heads, self.levels, self.points = dim, heads, levels, points
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
        weights = weights.softmax(-1).view(n, q, self.heads, self.levels, self.points)
        total = query.new_zeros(n * self.heads, self.dim // self.heads, q)
        for level, values in enumerate(memory):
            height, width = values.shape[-2:]
            size = query.new_tensor([width, height])
            places = reference[:, :, None, None] + offsets[:, :, :, level] / size
            grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # [N*heads, Q, points, 2]
            projected = self._project(values).view(-1, self.dim // self.heads, height, width)
            sampled = F.grid_sample(projected, grid, align_corners=False)
            share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
            total = total + (sampled * share).sum(-1)
        total = total.view(n, self.dim, q).transpose(1, 2)
        return self.output(total)

    def _project(self, values: Tensor) -> Tensor:
        return F.conv2d(values, self.value.weight[:, :, None, None], self.value.bias)
