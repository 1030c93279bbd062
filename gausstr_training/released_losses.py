"""The losses of the released code, head by head: what its checkpoints were trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_training.losses import absolute_loss, depth_loss, feature_loss

FEATURE_WEIGHT = 5.0
FAR_TARGET = 1e-3  # metres: where the sky is, the splatted depth shall vanish
UNLABELLED = 0


@dataclass(frozen=True)
class Targets:
    """What the M views should show; H, W are the size of the splatted images."""

    features: Tensor  # [M, C, h, w] of the foundation network
    depth: Tensor  # [M, H, W] metres
    segments: Tensor | None = None  # [M, H, W] int64 class index, 0 where unlabelled


def head_losses(
    features: Tensor,
    depth: Tensor,
    targets: Targets,
    basis: Tensor,
    depth_limit: float,
    segment: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Losses of one head; `mae_depth` is only logged.

    Args:
        features: [M, D, H, W] splatted, reduced by `basis`.
        depth: [M, H, W] splatted, not divided by alpha.
        targets: what the views should show.
        basis: [C, D] principal directions; the mean is not subtracted, as released.
        depth_limit: metres; targets at or beyond it count as `FAR_TARGET`.
        segment: the segmentation head, where there is one.

    Raises:
        ValueError: there is a segmentation head, but no target for it.
    """
    reduced = (targets.features.movedim(1, -1) @ basis.to(targets.features)).movedim(-1, 1)
    wanted = F.interpolate(reduced, features.shape[-2:], mode='bilinear', align_corners=False)
    near = targets.depth.masked_fill(targets.depth >= depth_limit, FAR_TARGET)
    losses = {
        'loss_depth': depth_loss(depth, near),
        'mae_depth': absolute_loss(depth, near),
        'loss_cosine': FEATURE_WEIGHT * feature_loss(features, wanted),
    }
    if segment is not None:
        if targets.segments is None:
            raise ValueError('the model has a segmentation head, but no segments are given')
        logits = segment(features.movedim(1, -1)).flatten(0, -2)
        labels = targets.segments.flatten().long()
        losses['loss_ce'] = F.cross_entropy(logits, labels, ignore_index=UNLABELLED)
    return losses


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """Sum of all that is optimised, whatever the head."""
    parts = [value for name, value in losses.items() if name.startswith('loss_')]
    return sum(parts[1:], parts[0])
