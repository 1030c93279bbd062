"""Multi-scale deformable cross-attention (Deformable DETR, arXiv 2010.04159, equation 3).

The value projection is linear and so is the sampling: they may change places. Projecting the
memory first costs one product per pixel, sampling first one per query and head. Where the memory
is much larger than what is read of it, as in the full-size presets, sampling first is faster.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.transformer.sampling import bilinear_taps, weighted_rows


class DeformableAttention(nn.Module):
    """Each query looks at a few learned places of each level around its reference point.

    Args:
        dim: width of queries and memory.
        heads, levels, points: places per query = heads x levels x points.
        sample_first: sample the memory and project the samples; the same result but for rounding.
        dropout: share of the output dropped in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        levels: int,
        points: int,
        *,
        sample_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f'dim must be a multiple of heads, got {dim} and {heads}')
        self.heads, self.levels, self.points = heads, levels, points
        self.head_dim = dim // heads
        self.sample_first, self.dropout = sample_first, dropout
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
        places, weights = self.places(query, reference, memory)
        if self.sample_first:
            mixed = self._sampled_then_projected(places, weights, memory)
        else:
            mixed = self._projected_then_sampled(places, weights, memory)
        return F.dropout(self.output(mixed), self.dropout, self.training)

    def places(
        self, query: Tensor, reference: Tensor, memory: list[Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Where the queries look, and how much each place counts.

        Returns:
            normalised places [N, Q, H, P, 2] of each level, and weights [N, Q, H, L, P, 1] whose
            sum over levels and points is one.
        """
        n, q, _ = query.shape
        offsets = self.offsets(query).view(n, q, self.heads, self.levels, self.points, 2)
        weights = self.weights(query).view(n, q, self.heads, self.levels * self.points)
        weights = weights.softmax(-1).view(n, q, self.heads, self.levels, self.points, 1)
        places = []
        for level, values in enumerate(memory):
            height, width = values.shape[-2:]
            size = query.new_tensor([width, height])
            places.append(reference[:, :, None, None] + offsets[:, :, :, level] / size)
        return places, weights

    def _projected_then_sampled(
        self, places: list[Tensor], weights: Tensor, memory: list[Tensor]
    ) -> Tensor:
        """Every pixel is projected once, then each head samples its own channels: [N, Q, D]."""
        n = weights.shape[0]
        tables, indices, shares, first = [], [], [], 0
        for level, values in enumerate(memory):
            height, width = values.shape[-2:]
            pixel, bilinear = bilinear_taps(places[level], height, width, border=False)
            indices.append(self._rows(pixel, height * width) + first)
            shares.append(bilinear * weights[:, :, :, level])
            tables.append(self.value(values.flatten(2).transpose(1, 2)).reshape(-1, self.head_dim))
            first += n * height * width * self.heads
        summed = weighted_rows(
            torch.cat(tables),
            torch.stack(indices, 3).flatten(3),
            torch.stack(shares, 3).flatten(3),
        )
        return summed.flatten(2)

    def _sampled_then_projected(
        self, places: list[Tensor], weights: Tensor, memory: list[Tensor]
    ) -> Tensor:
        """Each head samples all channels, then projects what it has read to its own: [N, Q, D].

        The bias counts by the share of the places that lie inside the image: outside, the twin
        reads zeros where the projected map would hold the bias.
        """
        n = weights.shape[0]
        view = torch.arange(n, device=weights.device).view(n, 1, 1, 1, 1)
        reads, insides = [], []
        for level, values in enumerate(memory):
            height, width = values.shape[-2:]
            pixel, bilinear = bilinear_taps(places[level], height, width, border=False)
            share = (bilinear * weights[:, :, :, level]).flatten(3)
            table = values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])
            row = (pixel + view * (height * width)).flatten(3)
            reads.append(weighted_rows(table, row, share))
            insides.append(share.sum(-1, keepdim=True))
        matrix = self.value.weight.unflatten(0, (self.heads, self.head_dim))
        bias = self.value.bias.unflatten(0, (self.heads, self.head_dim))
        own = torch.einsum('nqhc,hdc->nqhd', sum(reads[1:], reads[0]), matrix)
        return (own + sum(insides[1:], insides[0]) * bias).flatten(2)

    def _rows(self, pixel: Tensor, pixels: int) -> Tensor:
        """Rows of a level's table, which is ordered by view, pixel, head."""
        n = pixel.shape[0]
        view = torch.arange(n, device=pixel.device).view(n, 1, 1, 1, 1)
        head = torch.arange(self.heads, device=pixel.device).view(1, 1, self.heads, 1, 1)
        return (view * pixels + pixel) * self.heads + head


def grid_sample_attention(
    module: DeformableAttention, query: Tensor, reference: Tensor, memory: list[Tensor]
) -> Tensor:
    """The plain twin of `DeformableAttention.forward`, as the released code computes it.

    Every pixel of the memory is projected, each head's channels become an image of their own, and
    `grid_sample` reads them.
    """
    n, q, dim = query.shape
    places, weights = module.places(query, reference, memory)
    total = query.new_zeros(n * module.heads, module.head_dim, q)
    for level, values in enumerate(memory):
        height, width = values.shape[-2:]
        projected = module.value(values.flatten(2).transpose(1, 2)).transpose(1, 2)
        image = projected.reshape(n * module.heads, module.head_dim, height, width)
        grid = 2 * places[level].transpose(1, 2).flatten(0, 1) - 1
        sampled = F.grid_sample(image, grid, padding_mode='zeros', align_corners=False)
        share = weights[:, :, :, level, :, 0].transpose(1, 2).flatten(0, 1)
        total = total + (sampled * share[:, None]).sum(-1)
    mixed = total.unflatten(0, (n, module.heads)).permute(0, 3, 1, 2).reshape(n, q, dim)
    return module.output(mixed)
