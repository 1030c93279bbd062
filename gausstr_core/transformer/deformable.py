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
    ) -> tuple[Tensor, Tensor]:
        """Where the queries look, and how much each place counts.

        Returns:
            normalised places [N, Q, H, L, P, 2], and weights [N, Q, H, L, P, 1] whose sum over
            levels and points is one.
        """
        n, q, _ = query.shape
        shape = (n, q, self.heads, self.levels, self.points)
        offsets = self.offsets(query).view(*shape, 2)
        weights = self.weights(query).view(n, q, self.heads, -1).softmax(-1).view(*shape, 1)
        return reference[:, :, None, None, None] + offsets / sizes_of(memory, query), weights

    def _projected_then_sampled(
        self, places: Tensor, weights: Tensor, memory: list[Tensor]
    ) -> Tensor:
        """Every pixel is projected once, then each head samples its own channels: [N, Q, D]."""
        pixels = torch.cat([values.flatten(2).transpose(1, 2) for values in memory], dim=1)
        table = self.value(pixels).reshape(-1, self.head_dim)
        index, bilinear = bilinear_taps(places, sizes_of(memory, places), border=False)
        rows = self._rows(index + _firsts(memory, index), pixels.shape[1])
        return weighted_rows(table, rows.flatten(3), (bilinear * weights).flatten(3)).flatten(2)

    def _sampled_then_projected(
        self, places: Tensor, weights: Tensor, memory: list[Tensor]
    ) -> Tensor:
        """Each head samples all channels, then projects what it has read to its own: [N, Q, D].

        The bias counts by the share of the places that lie inside the image: outside, the twin
        reads zeros where the projected map would hold the bias.
        """
        n = weights.shape[0]
        view = torch.arange(n, device=weights.device).view(n, 1, 1, 1, 1, 1)
        index, bilinear = bilinear_taps(places, sizes_of(memory, places), border=False)
        shares = bilinear * weights
        reads = []
        for level, values in enumerate(memory):
            table = values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])
            rows = (index + view * values[0, 0].numel())[:, :, :, level]
            reads.append(weighted_rows(table, rows.flatten(3), shares[:, :, :, level].flatten(3)))
        inside = shares.flatten(3).sum(-1, keepdim=True)
        matrix = self.value.weight.unflatten(0, (self.heads, self.head_dim))
        bias = self.value.bias.unflatten(0, (self.heads, self.head_dim))
        own = torch.einsum('nqhc,hdc->nqhd', sum(reads[1:], reads[0]), matrix)
        return (own + inside * bias).flatten(2)

    def _rows(self, pixel: Tensor, pixels: int) -> Tensor:
        """Rows of a table [N * pixels * H] of pixels [N, Q, H, L, P, 4] within their view."""
        n = pixel.shape[0]
        view = torch.arange(n, device=pixel.device).view(n, 1, 1, 1, 1, 1)
        head = torch.arange(self.heads, device=pixel.device).view(self.heads, 1, 1, 1)
        return (view * pixels + pixel) * self.heads + head


def sizes_of(memory: list[Tensor], like: Tensor) -> Tensor:
    """[L, 1, 2] (width, height) of each level in pixels, in the type of `like`."""
    return like.new_tensor([[[values.shape[-1], values.shape[-2]]] for values in memory])


def _firsts(memory: list[Tensor], like: Tensor) -> Tensor:
    """[L, 1, 1] the number of pixels in the levels before each."""
    counts = [values[0, 0].numel() for values in memory]
    return like.new_tensor([sum(counts[:level]) for level in range(len(counts))])[:, None, None]


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
        grid = 2 * places[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        sampled = F.grid_sample(image, grid, padding_mode='zeros', align_corners=False)
        share = weights[:, :, :, level, :, 0].transpose(1, 2).flatten(0, 1)
        total = total + (sampled * share[:, None]).sum(-1)
    mixed = total.unflatten(0, (n, module.heads)).permute(0, 3, 1, 2).reshape(n, q, dim)
    return module.output(mixed)
