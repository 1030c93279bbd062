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
    columns, column_shares = _neighbours(points[..., 0], width, border)
    rows, row_shares = _neighbours(points[..., 1], height, border)
    index = [row * width + column for row in rows for column in columns]
    weight = [row * column for row in row_shares for column in column_shares]
    return torch.stack(index, dim=-1).long(), torch.stack(weight, dim=-1)


def _neighbours(
    places: Tensor, size: int, border: bool
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two pixels beside normalised places along one axis, within the image, and their shares.

    A pixel that had to be moved into the image lies outside of it, and its share is zero.
    """
    pixels = places * size - 0.5
    if border:
        pixels = pixels.clamp(0, size - 1)
    first = pixels.detach().floor()
    second = first + 1
    share = pixels - first
    low, high = first.clamp(0, size - 1), second.clamp(0, size - 1)
    return (low, high), ((1 - share) * (low == first), share * (high == second))


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
