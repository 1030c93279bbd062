"""Depth and feature maps that somebody computed before and stored, one file per image.

The released data layout is `<folder>/<image stem>.npy`, float32 [H, W] depth in metres or
[C, h, w] features, the stem being the image's file name up to its first dot. The same names with
.npz (one array) and .safetensors (one tensor) are read as well. Nothing is normalised; the
licence is that of whatever made the maps.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.process.reasons import reason

SUFFIXES = ('.npy', '.npz', '.safetensors')


@dataclass(frozen=True)
class PrecomputedDepth:
    """The `DepthNetwork` of one cycle whose maps are stored."""

    folder: Path
    stems: tuple[str, ...]  # one per camera, in the rig's order
    name = 'stored depth'

    def __call__(self, images: Tensor, rig: CameraRig) -> Tensor:
        """Depth [N, H, W] in metres at the size of the images.

        Raises:
            ValueError: a map is missing, unreadable, not [H, W], or not positive.
        """
        maps = _read_all(self.folder, self.stems, rig, 2)
        planes = [F.interpolate(m[None, None], images.shape[1:3], mode='bilinear') for m in maps]
        depth = torch.cat(planes)[:, 0].to(rig.intrinsics.device)
        for stem, plane in zip(self.stems, depth, strict=True):
            if not (torch.isfinite(plane).all() and (plane > 0).all()):
                raise ValueError(f'stored depth {stem} in {self.folder} must be finite and > 0 m')
        return depth


@dataclass(frozen=True)
class PrecomputedFeatures:
    """The `FeatureNetwork` of one cycle whose maps are stored."""

    folder: Path
    stems: tuple[str, ...]  # one per camera, in the rig's order
    input_size: tuple[int, int]  # (height, width) of the images that the maps belong to
    feature_dim: int
    name = 'stored features'

    def __call__(self, images: Tensor, rig: CameraRig) -> Tensor:
        """Features [N, C, h, w] as stored.

        Raises:
            ValueError: a map is missing, unreadable, or has other channels.
        """
        maps = _read_all(self.folder, self.stems, rig, 3)
        for stem, features in zip(self.stems, maps, strict=True):
            if features.shape != maps[0].shape or len(features) != self.feature_dim:
                raise ValueError(
                    f'stored features {stem} in {self.folder}: expected {self.feature_dim} '
                    f'channels and one size for all cameras, got {tuple(features.shape)}'
                )
        return torch.stack(maps).to(rig.intrinsics.device)


def stem_of(image: str) -> str:
    """The name under which an image's maps are stored: samples/a__CAM__1.jpg -> a__CAM__1."""
    return Path(image).name.split('.')[0]


def read_map(folder: Path, stem: str) -> Tensor:
    """One stored map as float32.

    Raises:
        ValueError: there is none, or it cannot be read; the message names the file.
    """
    for path in (folder / f'{stem}{suffix}' for suffix in SUFFIXES):
        if path.is_file():
            array = _array(path)
            if array.ndim not in (2, 3) or array.size == 0:
                raise ValueError(f'map {path}: expected [H, W] or [C, h, w], got {array.shape}')
            return torch.from_numpy(np.asarray(array, dtype=np.float32).copy())
    raise ValueError(f'no map of {stem!r} in {folder}: expected {stem}{" or ".join(SUFFIXES)}')


def _read_all(folder: Path, stems: Sequence[str], rig: CameraRig, ndim: int) -> list[Tensor]:
    if len(stems) != len(rig):
        raise ValueError(f'expected stored maps for {len(rig)} cameras, got {len(stems)} names')
    maps = [read_map(folder, stem) for stem in stems]
    for name, stem, stored in zip(rig.names, stems, maps, strict=True):
        if stored.ndim != ndim:
            raise ValueError(
                f'camera {name}: map {stem} in {folder} must have {ndim} dimensions, '
                f'got {tuple(stored.shape)}'
            )
    return maps


def _array(path: Path) -> Any:
    try:
        if path.suffix == '.npy':
            return np.load(path, mmap_mode='r', allow_pickle=False)
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        else:
            arrays = {name: value.float().numpy() for name, value in load_file(path).items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise ValueError(f'map {path} cannot be read: {reason(error)}') from None
    if len(arrays) != 1:
        raise ValueError(f'map {path}: expected one array, got {sorted(arrays)}')
    return next(iter(arrays.values()))
