"""Excerpts that the reference files of full-size cases hold instead of whole arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

NECK = re.compile(r'(neck\.level\d+)\.c(\d+)s(\d+)')  # every c-th channel, every s-th pixel
STRIDED = re.compile(r'(head\d+\.rendered)\.strided')
DEPTH = re.compile(r'(head\d+)\.rendered_depth\.s(\d+)')
# excerpt: the array it is cut from, whose voxels are flattened in C order
AT_VOXELS = {
    'voxelizer.sample_feats': 'voxelizer.feats',
    'merged_probs.sample': 'merged_probs',
}
VOXELS = 'voxelizer.sample_flat_index'


def with_excerpts(
    ours: Mapping[str, Tensor], reference: Mapping[str, Tensor], patch: int
) -> dict[str, Tensor]:
    """Our arrays, and those excerpts of them that the reference has.

    Args:
        ours: whole arrays.
        reference: by name; an excerpt whose whole array we lack stays missing.
        patch: pixels of the image per pixel of the feature map.
    """
    cut = {name: _excerpt(name, ours, reference, patch) for name in reference if name not in ours}
    return {**ours, **{name: value for name, value in cut.items() if value is not None}}


def _excerpt(
    name: str, ours: Mapping[str, Tensor], reference: Mapping[str, Tensor], patch: int
) -> Tensor | None:
    if (match := NECK.fullmatch(name)) and match[1] in ours:
        channels, pixels = int(match[2]), int(match[3])
        return ours[match[1]][:, ::channels, ::pixels, ::pixels]
    if (match := STRIDED.fullmatch(name)) and match[1] in ours:
        return ours[match[1]][..., patch :: 2 * patch, patch :: 2 * patch]
    if (match := DEPTH.fullmatch(name)) and f'{match[1]}.rendered' in ours:
        step = int(match[2])
        return ours[f'{match[1]}.rendered'][:, :, -1, step // 2 :: step, step // 2 :: step]
    if AT_VOXELS.get(name) in ours and VOXELS in reference:
        whole = ours[AT_VOXELS[name]]
        return whole.reshape(-1, whole.shape[-1])[reference[VOXELS].long().to(whole.device)]
    return None
