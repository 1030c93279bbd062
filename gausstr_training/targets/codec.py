"""Depth, features and masks of one frame as the bytes of a file, within a fixed budget.

The budget holds by construction, for noise too: where a frame does not fit, its depth and then
its features become coarser, and the file says by how much. Masks are labels, which cannot be
coarser; they are kept as they are and leave the rest to depth and features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gausstr_core.contracts import FoundationMaps
from gausstr_training.targets.container import DamagedFile, Section, assemble, disassemble
from gausstr_training.targets.depth_codec import (
    PackedDepth,
    error_at,
    level_for,
    pack_depth,
    unpack_depth,
)
from gausstr_training.targets.feature_codec import (
    PackedFeatures,
    cosine_loss,
    pack_features,
    unpack_features,
)
from gausstr_training.targets.inputs import Inputs

HEADER = 2048  # bytes of a file beside arrays and key, at most
DEPTH_SHARE = 0.4  # of what masks leave
FEATURES = ('mean', 'scales', 'directions', 'limits', 'coordinates')
INPUTS = ('colours', 'intrinsics', 'poses')


@dataclass(frozen=True)
class CodecSettings:
    """How small, and how exact.

    Raises:
        ValueError: a number is out of range.
    """

    camera_bytes: int = 500_000  # of a file, for each camera, at most: 3 MB for six
    depth_error: float = 1e-3  # relative, at most; coarser only where the budget demands it

    def __post_init__(self) -> None:
        if self.camera_bytes < 1:
            raise ValueError(f'camera_bytes must be > 0, got {self.camera_bytes}')
        level_for(self.depth_error)


@dataclass(frozen=True)
class PackedTargets:
    """The targets of a frame as they are stored: small enough to travel between processes."""

    key: str
    teacher: str
    features: PackedFeatures
    depth: PackedDepth
    masks: Tensor | None  # [N, H, W] uint8
    inputs: Inputs
    cosine: tuple[float, float]  # loss by packing, 1 - cos: mean, and of the worst token

    def maps(self) -> FoundationMaps:
        """Features and depth, on the device where the packed targets are."""
        return FoundationMaps(self.features.unpacked(), self.depth.metres())

    def to(self, device: torch.device | str) -> PackedTargets:
        """Return a copy on `device`."""
        masks = None if self.masks is None else self.masks.to(device)
        return replace(
            self, features=self.features.to(device), depth=self.depth.to(device), masks=masks
        )


@dataclass(frozen=True)
class Summary:
    """What the header of a file says."""

    key: str
    teacher: str
    size: int  # bytes of the file
    cosine: tuple[float, float]  # as in `PackedTargets`
    depth_error: float  # relative, of any pixel at most
    masks: bool  # whether there are some


def encode(
    key: str,
    teacher: str,
    maps: FoundationMaps,
    inputs: Inputs,
    masks: Tensor | None = None,
    settings: CodecSettings | None = None,
) -> tuple[PackedTargets, bytes]:
    """Pack the targets of a frame.

    Args:
        key: of the frame.
        teacher: who made the maps.
        maps: of N views, on any device.
        inputs: what the maps were made from.
        masks: [N, H, W] uint8 labels.
        settings: budget and error.

    Returns:
        What `decode` will give, and the bytes of the file.

    Raises:
        ValueError: maps are not finite, depth is not positive, or the budget is too small.
    """
    settings = settings or CodecSettings()
    most = settings.camera_bytes * len(maps.depth)
    sections = inputs.sections()
    if masks is not None:
        if masks.dtype != torch.uint8 or masks.ndim != 3 or len(masks) != len(maps.depth):
            raise ValueError(
                f'masks must be uint8 [{len(maps.depth)}, H, W], got {masks.dtype} '
                f'{tuple(masks.shape)}'
            )
        sections['masks'] = Section.of(masks.cpu().numpy())
    left = most - HEADER - 2 * len(json.dumps([key, teacher])) - _bytes(sections)
    try:
        level = level_for(settings.depth_error)
        depth, sections['depth'] = pack_depth(maps.depth, level, int(DEPTH_SHARE * left))
        left -= len(sections['depth'].data)
        features, of_features = pack_features(maps.features, left)
    except ValueError as error:
        raise ValueError(f'{key}: {error}; the file may have {most} bytes') from None
    loss = cosine_loss(maps.features, features.to(maps.features.device).unpacked())
    about = {
        'key': key, 'teacher': teacher, 'level': depth.level, 'step': features.step,
        'grid': features.grid, 'cosine': loss,
    }  # fmt: skip
    data = assemble(about, sections | of_features)
    assert len(data) <= most, (len(data), most)
    masks = None if masks is None else masks.cpu()
    return PackedTargets(key, teacher, features, depth, masks, inputs, loss), data


def summary(data: bytes) -> Summary:
    """What the header of a file says, once the checksum of the whole agrees.

    Raises:
        DamagedFile: the bytes are not what `encode` made.
    """
    about, sections = disassemble(data)
    try:
        mean, worst = (float(number) for number in about['cosine'])
        error = error_at(int(about['level']))
        key, teacher = str(about['key']), str(about['teacher'])
    except (LookupError, TypeError, ValueError) as fault:
        raise DamagedFile(f'its header is wrong: {fault}') from None
    return Summary(key, teacher, len(data), (mean, worst), error, 'masks' in sections)


def decode(data: bytes) -> PackedTargets:
    """The targets in the bytes of a file.

    Raises:
        DamagedFile: they are not what `encode` made.
    """
    about, sections = disassemble(data)
    try:
        masks = sections['masks'].array() if 'masks' in sections else None
        views, height, width = (int(number) for number in about['grid'])
        mean, worst = (float(number) for number in about['cosine'])
        targets = PackedTargets(
            str(about['key']),
            str(about['teacher']),
            unpack_features(
                {name: sections[name] for name in FEATURES},
                float(about['step']),
                (views, height, width),
            ),
            unpack_depth(sections['depth'], int(about['level'])),
            None if masks is None else torch.from_numpy(masks),
            Inputs.unpacked({name: sections[name] for name in INPUTS}),
            (mean, worst),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedFile(f'its contents do not agree: {error}') from None
    if not views == len(targets.depth.codes) == len(targets.inputs.poses):
        raise DamagedFile(f'its contents do not agree: features of {views} views, depth of others')
    return targets


def _bytes(sections: dict[str, Section]) -> int:
    return sum(len(section.data) for section in sections.values())
