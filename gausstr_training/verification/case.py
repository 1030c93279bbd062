"""One reference case: inputs, weights and meta data that the released code ran with."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, VoxelGrid
from gausstr_core.process.reasons import reason
from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, from_official
from gausstr_core.transformer.checkpoints.files import read_tensors

RELEASED_VOXEL = 0.4  # metres, where the meta data do not say
RELEASED_RANGE = (-40.0, -40.0, -1.0, 40.0, 40.0, 5.4)
FILTERS = {'talk2dino': (0.6, 0.015), 'featup': (None, None)}  # opacity, covariance thresholds
REQUIRED = ('cam2img', 'cam2ego', 'img_aug_mat', 'depth', 'feats')


@dataclass(frozen=True)
class Case:
    """B scenes of N views each, flattened to M = B * N views wherever views stand."""

    name: str
    checkpoint: Checkpoint
    scenes: int
    maps: FoundationMaps  # features [M, C, h, w], depth [M, H, W]
    rig: CameraRig  # M cameras at the size of the depth, the whole augmentation in them
    splat_rig: CameraRig  # the same as the released renderer has them: no turn, no skew
    focal: Tensor  # [M] pixels of the original images
    segments: Tensor | None  # [M, H, W] int64
    grid: VoxelGrid
    opacity_threshold: float | None
    covariance_threshold: float | None
    seed: int  # of the random reference points
    half: torch.dtype | None = None  # what autocast lowers the model to, if anything

    @property
    def views(self) -> int:
        """N, per scene."""
        return len(self.rig) // self.scenes

    def to(self, device: torch.device, dtype: torch.dtype) -> Case:
        """A copy on `device` in `dtype`; half precisions only lower the model, by autocast."""
        half = dtype if dtype.itemsize < 4 else None
        dtype = torch.float32 if half else dtype

        def rig(cameras: CameraRig) -> CameraRig:
            return replace(
                cameras,
                intrinsics=cameras.intrinsics.to(device, dtype),
                ego_from_camera=cameras.ego_from_camera.to(device, dtype),
            )

        return replace(
            self,
            maps=FoundationMaps(
                self.maps.features.to(device, dtype), self.maps.depth.to(device, dtype)
            ),
            rig=rig(self.rig),
            splat_rig=rig(self.splat_rig),
            focal=self.focal.to(device, dtype),
            segments=None if self.segments is None else self.segments.to(device),
            half=half,
        )


def arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} cannot be read as npz: {reason(error)}') from None


def load_case(prefix: str) -> Case:
    """Read PREFIX.state_dict.safetensors, PREFIX.inputs.npz and PREFIX.meta.json.

    Raises:
        ValueError: a file is missing, damaged, or does not fit the others.
    """
    meta = _meta(Path(f'{prefix}.meta.json'))
    source = Path(f'{prefix}.state_dict.safetensors')
    tensors, _ = read_tensors(source)
    checkpoint = from_official(tensors, str(source))
    path = Path(f'{prefix}.inputs.npz')
    inputs = arrays(path)
    _check(inputs, path)
    scenes = inputs['depth'].shape[0]
    flat = {name: torch.from_numpy(inputs[name]).flatten(0, 1) for name in REQUIRED}
    size = (int(flat['depth'].shape[1]), int(flat['depth'].shape[2]))
    segments = inputs.get('sem_seg')
    spec = meta.get('spec', {})
    opacity, covariance = _thresholds(spec, f'{prefix}.meta.json')
    whole, upright = (
        camera_rig(flat, size, _intrinsics(flat, upright)) for upright in (False, True)
    )
    return Case(
        name=str(meta.get('which', Path(prefix).name)),
        checkpoint=checkpoint,
        scenes=scenes,
        maps=FoundationMaps(flat['feats'], flat['depth']),
        rig=whole,
        splat_rig=upright,
        focal=flat['cam2img'][:, 0, 0],
        segments=None if segments is None else torch.from_numpy(segments).flatten(0, 1).long(),
        grid=_grid(tensors, spec),
        opacity_threshold=opacity,
        covariance_threshold=covariance,
        seed=int(meta.get('torch_seed', 0)),
    )


def _meta(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} cannot be read: {reason(error)}') from None


def _check(inputs: dict[str, np.ndarray], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in inputs]
    if missing:
        raise ValueError(f'{path} lacks {", ".join(missing)}')
    lead = inputs['depth'].shape[:2]
    for name in REQUIRED:
        if inputs[name].shape[:2] != lead:
            raise ValueError(
                f'{path}: {name} must begin with (scenes, views) = {lead} as depth does, '
                f'got {inputs[name].shape}'
            )


def _thresholds(spec: dict[str, Any], source: str) -> tuple[float | None, float | None]:
    variant = spec.get('variant')
    if variant not in FILTERS:
        raise ValueError(
            f'{source}: spec.variant must be one of {", ".join(FILTERS)}, got {variant!r}'
        )
    return FILTERS[variant]


def _grid(tensors: dict[str, Tensor], spec: dict[str, Any]) -> VoxelGrid:
    small = spec.get('small') or {}
    stored = tensors.get('gauss_heads.0.voxelizer.vol_range')
    bounds = small.get('vol_range', RELEASED_RANGE)
    if stored is not None:
        bounds = [round(float(value), 4) for value in stored]  # float32 has 5.4 as 5.4000001
    x0, y0, z0, x1, y1, z1 = map(float, bounds)
    size = float(small.get('voxel_size', RELEASED_VOXEL))
    return VoxelGrid((x0, y0, z0), (x1, y1, z1), size)


def _intrinsics(flat: dict[str, Tensor], upright: bool) -> Tensor:
    """[M, 3, 3] of the augmented images.

    The augmentation maps original to augmented pixels. The released renderer knows its scale and
    shift only (`upright`); the released lifting also knows a turn.
    """
    camera, augmentation = flat['cam2img'][:, :3, :3], flat['img_aug_mat']
    pixels = torch.eye(3).repeat(len(camera), 1, 1)
    pixels[:, :2, :2] = augmentation[:, :2, :2]
    pixels[:, :2, 2] = augmentation[:, :2, 3]
    if upright:
        pixels[:, 0, 1] = pixels[:, 1, 0] = 0
    return pixels @ camera


def camera_rig(flat: dict[str, Tensor], size: tuple[int, int], intrinsics: Tensor) -> CameraRig:
    """The M cameras of `cam2ego`, all of one image size."""
    count = len(intrinsics)
    names = tuple(f'view_{index}' for index in range(count))
    return CameraRig(names, intrinsics, flat['cam2ego'], (size,) * count)
