"""Bilinear look-ups as weighted sums of table rows.

A feature map with its channels last is a table with one row per pixel. Gathering whole rows with
`embedding_bag` reads memory in order, where `grid_sample` walks every channel plane apart; the
whole transformer takes 0.19 s with it instead of 0.25 s on two cores of an AMD EPYC.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear_taps(
    points: Tensor, height: int, width: int, *, border: bool
) -> tuple[Tensor, Tensor]:
    """The four pixels around each point, and their weights.

    Convention: align_corners=False; the point (0.5 / width, 0.5 / height) is the first pixel.

    Args:
        points: [..., 2] (x, y), normalised to the image.
        border: True repeats the border pixels, False surrounds the image with zeros.

    Returns:
        row-major pixel index [..., 4] int64 and weights [..., 4], differentiable in `points`.
    """
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    if border:
        x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.detach().floor(), y.detach().floor()
    right_share, bottom_share = x - left, y - top
    indices, weights = [], []
    for row, row_share in ((top, 1 - bottom_share), (top + 1, bottom_share)):
        for column, column_share in ((left, 1 - right_share), (left + 1, right_share)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            indices.append(flat.long())
            weights.append(row_share * column_share * inside)
    return torch.stack(indices, dim=-1), torch.stack(weights, dim=-1)


def weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum of rows: table [R, C], index and weight [..., T] -> [..., C]."""
    taps = index.shape[-1]
    summed = F.embedding_bag(
        index.reshape(-1, taps),
        table,
        mode='sum',
        per_sample_weights=weight.reshape(-1, taps).to(table.dtype),
    )
    return summed.view(*index.shape[:-1], table.shape[1])


def sample(values: Tensor, points: Tensor, *, border: bool = True) -> Tensor:
    """Bilinear samples [N, P, C] of a map [N, C, h, w] at normalised points [N, P, 2].

    The border is repeated: zero padding, which `border=False` asks for, dims whatever lies within
    half a cell of it.
    """
    n, channels, height, width = values.shape
    index, weight = bilinear_taps(points, height, width, border=border)
    view = torch.arange(n, device=values.device)[:, None, None] * (height * width)
    table = values.permute(0, 2, 3, 1).reshape(-1, channels)
    return weighted_rows(table, index + view, weight)
