"""Splatted images as pictures for TensorBoard: what is seen above what should be seen."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COMPONENTS = 3  # principal directions shown as red, green and blue


def feature_picture(rendered: Tensor, target: Tensor) -> Tensor:
    """Cameras side by side; rows: splatted, target; the colours mean the same in both.

    Args:
        rendered: [N, D, H, W] along principal directions, the largest first.
        target: [N, D, h, w] likewise.

    Returns:
        [3, 2 H, N W] in [0, 1].
    """
    height, width = rendered.shape[-2:]
    wanted = F.interpolate(target, (height, width), mode='nearest')
    # neither sees the length of a feature
    rows = [F.normalize(maps, dim=1)[:, :COMPONENTS].float() for maps in (rendered, wanted)]
    rows = [F.pad(row, (0, 0, 0, 0, 0, COMPONENTS - row.shape[1])) for row in rows]
    middle, spread = wanted_range(rows[1])
    shown = [((row - middle) / spread * 0.25 + 0.5).clamp(0, 1) for row in rows]
    return torch.cat([_side_by_side(row) for row in shown], dim=1).cpu()


def depth_picture(rendered: Tensor, target: Tensor, limit: float) -> Tensor:
    """Cameras side by side; rows: splatted, target; near is bright.

    Args:
        rendered: [N, H, W] metres.
        target: [N, H, W] metres, <= 0 where there is none.
        limit: metres, the darkest.

    Returns:
        [3, 2 H, N W] in [0, 1].
    """
    rows = [_coloured_depth(depth.float(), limit) for depth in (rendered, target)]
    return torch.cat([_side_by_side(row) for row in rows], dim=1)


def wanted_range(features: Tensor) -> tuple[Tensor, Tensor]:
    """Middle and spread [3, 1, 1] of features [N, 3, H, W]."""
    middle, spread = features.mean((0, 2, 3)), features.std((0, 2, 3))
    return middle[:, None, None], spread.clamp_min(1e-6)[:, None, None]


def _coloured_depth(depth: Tensor, limit: float) -> Tensor:
    """[N, 3, H, W]: the logarithm from 1 m to the limit; black where there is none."""
    share = 1 - depth.clamp(1, limit).log() / torch.tensor(limit).log()
    levels = (share * 255).byte().cpu().numpy()
    coloured = np.stack([cv2.applyColorMap(level, cv2.COLORMAP_TURBO) for level in levels])
    picture = torch.from_numpy(coloured[..., ::-1].copy()).permute(0, 3, 1, 2) / 255.0
    return picture * (depth > 0).cpu()[:, None]


def _side_by_side(images: Tensor) -> Tensor:
    """[N, 3, H, W] -> [3, H, N W]."""
    return torch.cat(list(images), dim=-1)
