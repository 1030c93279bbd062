"""The losses of the released code, head by head: what its checkpoints were trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_training.losses.paper import EPSILON, absolute_loss, depth_loss, feature_loss

FEATURE_WEIGHT = 5.0
FAR_TARGET = 1e-3  # metres: where the sky is, the splatted depth shall vanish
UNLABELLED = 0


@dataclass(frozen=True)
class Targets:
    """What the M views should show; H, W are the size of the splatted images."""

    features: Tensor  # [M, C, h, w] of the foundation network
    depth: Tensor  # [M, H, W] metres
    segments: Tensor | None = None  # [M, H, W] int64 class index, 0 where unlabelled
    seen: Tensor | None = None  # bool [M, H, W], the pixels that count; None: all

    def wanted_depth(self, limit: float) -> Tensor:
        """[M, H, W] metres as the loss takes it: `FAR_TARGET` far away, 0 where none counts."""
        near = self.depth.masked_fill(self.depth >= limit, FAR_TARGET)
        return near if self.seen is None else near * self.seen

    def wanted_segments(self) -> Tensor | None:
        """[M, H, W] int64, unlabelled where the pixel does not count."""
        if self.segments is None or self.seen is None:
            return self.segments
        return self.segments * self.seen

    def part(self, first: int, past: int) -> Targets:
        """Some of the views."""
        return Targets(
            self.features[first:past],
            self.depth[first:past],
            None if self.segments is None else self.segments[first:past],
            None if self.seen is None else self.seen[first:past],
        )


@dataclass(frozen=True)
class Counts:
    """What the means of a batch are taken over; the batch may be larger than what is at hand."""

    images: Tensor
    pixels: Tensor  # whose features count
    depths: Tensor  # pixels that have a depth
    labels: Tensor  # pixels that have a label

    @classmethod
    def of(cls, targets: Targets, limit: float) -> Counts:
        """The counts of some views; those of several add up."""
        depth, labels = targets.wanted_depth(limit), targets.wanted_segments()
        pixels = depth.numel() if targets.seen is None else int(targets.seen.sum())
        numbers = (
            len(depth),
            pixels,
            int((depth > EPSILON).sum()),
            0 if labels is None else int((labels != UNLABELLED).sum()),
        )
        return cls.from_tensor(torch.tensor(numbers, dtype=torch.float64, device=depth.device))

    @classmethod
    def from_tensor(cls, values: Tensor) -> Counts:
        """From `as_tensor`."""
        return cls(*values.unbind())

    def as_tensor(self) -> Tensor:
        """[4] float64, to be added up."""
        return torch.stack([self.images, self.pixels, self.depths, self.labels])

    def at_least_one(self) -> Counts:
        """Numbers to divide by."""
        return Counts.from_tensor(self.as_tensor().clamp_min(1))


def head_losses(
    features: Tensor,
    depth: Tensor,
    targets: Targets,
    basis: Tensor,
    depth_limit: float,
    segment: Callable[[Tensor], Tensor] | None = None,
    counts: Counts | None = None,
) -> dict[str, Tensor]:
    """Losses of one head; `mae_depth` is only logged.

    Args:
        features: [M, D, H, W] splatted, reduced by `basis`.
        depth: [M, H, W] splatted, not divided by alpha.
        targets: what the views should show.
        basis: [C, D] principal directions; the mean is not subtracted, as released.
        depth_limit: metres; targets at or beyond it count as `FAR_TARGET`.
        segment: the segmentation head, where there is one: [.., D] -> [.., classes].
        counts: of the whole batch, where these views are a part of it; then what comes back are
            the parts of the batch's losses. None: these views are the batch.

    Raises:
        ValueError: there is a segmentation head, but no target for it.
    """
    if counts is None:
        counts = Counts.of(targets, depth_limit).at_least_one()
    reduced = (targets.features.movedim(1, -1) @ basis.to(targets.features)).movedim(-1, 1)
    wanted = F.interpolate(reduced, features.shape[-2:], mode='bilinear', align_corners=False)
    near = targets.wanted_depth(depth_limit)
    aligned = feature_loss(features, wanted, targets.seen, counts.pixels.to(features))
    images, depths = counts.images.to(depth), counts.depths.to(depth)
    losses = {
        'loss_depth': depth_loss(depth, near, images, depths),
        'mae_depth': absolute_loss(depth, near, depths),
        'loss_cosine': FEATURE_WEIGHT * aligned,
    }
    if segment is not None:
        labels = targets.wanted_segments()
        if labels is None:
            raise ValueError('the model has a segmentation head, but no segments are given')
        logits = segment(features.movedim(1, -1)).flatten(0, -2)
        missed = F.cross_entropy(
            logits, labels.flatten().long(), ignore_index=UNLABELLED, reduction='sum'
        )
        losses['loss_ce'] = missed / counts.labels.to(missed)
    return losses


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """Sum of all that is optimised, whatever the head."""
    parts = [value for name, value in losses.items() if name.startswith('loss_')]
    return sum(parts[1:], parts[0])
