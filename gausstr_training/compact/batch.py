"""Views with what they should show: whole rigs, or single cameras of many frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig

LIKELY_STRIDE = 4  # pixels of the image to one of the features of a compact network


@dataclass(frozen=True)
class Batch:
    """N views: whole rigs of six, or single cameras of many streets."""

    images: Tensor  # [N, H, W, 3] uint8 RGB
    depth: Tensor  # [N, H, W] metres, 0 where there is none (sky), NaN where it is unknown
    semantics: Tensor  # [N, H, W] uint8 class index; what the teacher reads, never a 3D label
    rig: CameraRig
    # [N, classes, h, w] uint8 of 255, h = H / LIKELY_STRIDE: how likely each class is, where a
    # teacher was asked; None: `semantics` is sure
    likely: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same views on a device."""
        return Batch(
            self.images.to(device),
            self.depth.to(device),
            self.semantics.to(device),
            self.rig.to(device),
            None if self.likely is None else self.likely.to(device),
        )

    def shares(self, height: int, width: int, classes: int) -> Tensor:
        """[N, classes, height, width] how likely each class is, sums to one."""
        if self.likely is None:
            semantics = thinned(self.semantics, height, width).long()
            return F.one_hot(semantics, classes).movedim(-1, 1).float()
        found = self.likely.float()
        if found.shape[-2:] != (height, width):
            found = F.interpolate(found, (height, width), mode='bilinear', align_corners=False)
        return found / found.sum(1, keepdim=True).clamp_min(1)


def join(batches: Sequence[Batch]) -> Batch:
    """Put views of several batches into one; names are numbered, as cameras may repeat."""
    rigs = [batch.rig for batch in batches]
    names = [f'{i}/{name}' for i, rig in enumerate(rigs) for name in rig.names]
    rig = CameraRig(
        tuple(names),
        torch.cat([rig.intrinsics for rig in rigs]),
        torch.cat([rig.ego_from_camera for rig in rigs]),
        tuple(size for rig in rigs for size in rig.image_sizes),
    )
    return Batch(
        torch.cat([batch.images for batch in batches]),
        torch.cat([batch.depth for batch in batches]),
        torch.cat([batch.semantics for batch in batches]),
        rig,
        _joined_likely(batches),
    )


def _joined_likely(batches: Sequence[Batch]) -> Tensor | None:
    """Of views some of which are sure: those are all of one class."""
    known = [batch.likely for batch in batches if batch.likely is not None]
    if not known:
        return None
    classes, height, width = known[0].shape[1:]
    parts = [
        (255 * batch.shares(height, width, classes)).to(torch.uint8)
        if batch.likely is None
        else batch.likely
        for batch in batches
    ]
    return torch.cat(parts)


def thinned(maps: Tensor, height: int, width: int) -> Tensor:
    """Every k-th pixel of [N, H, W]: targets at a smaller size without mixing across edges."""
    device = maps.device
    rows = ((torch.arange(height, device=device) + 0.5) * maps.shape[1] / height).long()
    columns = ((torch.arange(width, device=device) + 0.5) * maps.shape[2] / width).long()
    return maps[:, rows][:, :, columns]
