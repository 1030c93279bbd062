"""The camera rig: where the N cameras of one cycle are and how they project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.contracts import move

SKEWED = 1e-3  # by how much an entry of R R^T may differ from the identity's


@dataclass(frozen=True)
class CameraRig:
    """N pinhole cameras in the ego frame; sizes may differ from camera to camera.

    `ego_from_camera` already contains the ego motion between the camera's own stamp and the
    stamp of the set, so that static points of all cameras agree.

    Raises:
        ValueError: a shape is wrong, a name comes twice, a focal length is not > 0, a value is
            not finite, or a matrix is not what it should be; the message names the camera.
    """

    names: tuple[str, ...]
    intrinsics: Tensor  # [N, 3, 3] pixels, pixel centres at +0.5
    ego_from_camera: Tensor  # [N, 4, 4] optical camera -> ego, metres
    image_sizes: tuple[tuple[int, int], ...]  # (height, width) in pixels

    def __post_init__(self) -> None:
        n = len(self.names)
        if n == 0:
            raise ValueError('a rig needs at least one camera')
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f'camera names must differ, got {", ".join(twice)} more than once')
        for what, got, expected in (
            ('intrinsics', tuple(self.intrinsics.shape), (n, 3, 3)),
            ('ego_from_camera', tuple(self.ego_from_camera.shape), (n, 4, 4)),
            ('image_sizes', (len(self.image_sizes),), (n,)),
        ):
            if got != expected:
                raise ValueError(f'{what} must have shape {expected} for {n} cameras, got {got}')
        # in numpy: rigs are made many times a cycle, and tensors of nine numbers are slow
        intrinsics = self.intrinsics.detach().cpu().numpy()
        poses = self.ego_from_camera.detach().cpu().numpy()
        for each in zip(self.names, intrinsics, poses, self.image_sizes, strict=True):
            _check_camera(*each)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def camera_from_ego(self) -> Tensor:
        """[N, 4, 4] the inverse of `ego_from_camera`, by transposition of the rotation."""
        rotation = self.ego_from_camera[:, :3, :3].transpose(-1, -2)
        inverse = self.ego_from_camera.clone()
        inverse[:, :3, :3] = rotation
        inverse[:, :3, 3:] = -rotation @ self.ego_from_camera[:, :3, 3:]
        return inverse

    def to(self, device: torch.device | str) -> CameraRig:
        """Return a copy on `device`."""
        return move(self, device)

    def select(self, names: tuple[str, ...]) -> CameraRig:
        """Return the rig of some of the cameras, in the order given.

        Raises:
            ValueError: a name is not in the rig.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(
                f'no camera {", ".join(unknown)}; the rig has {", ".join(self.names)}'
            )
        index = [self.names.index(name) for name in names]
        return CameraRig(
            tuple(names),
            self.intrinsics[index],
            self.ego_from_camera[index],
            tuple(self.image_sizes[i] for i in index),
        )

    @staticmethod
    def join(rigs: Sequence[CameraRig]) -> CameraRig:
        """Return one rig of the cameras of several, in their order.

        Raises:
            ValueError: a name comes twice.
        """
        return CameraRig(
            tuple(name for rig in rigs for name in rig.names),
            torch.cat([rig.intrinsics for rig in rigs]),
            torch.cat([rig.ego_from_camera for rig in rigs]),
            tuple(size for rig in rigs for size in rig.image_sizes),
        )

    def resized(self, height: int, width: int) -> CameraRig:
        """Return the rig of the same images resized to one common size.

        Convention: continuous pixel coordinates scale by width / old width; the pixel centre
        (0.5, 0.5) of a halved image is the corner (1, 1) shared by four old pixels.
        """
        scale = [(width / w, height / h, 1.0) for h, w in self.image_sizes]
        intrinsics = self.intrinsics * self.intrinsics.new_tensor(scale)[:, :, None]
        return replace(self, intrinsics=intrinsics, image_sizes=((height, width),) * len(self))

    def cropped(self, top: int, left: int, height: int, width: int) -> CameraRig:
        """Return the rig of the same window (pixels) cut out of every image."""
        intrinsics = self.intrinsics.clone()
        intrinsics[:, 0, 2] -= left
        intrinsics[:, 1, 2] -= top
        return replace(self, intrinsics=intrinsics, image_sizes=((height, width),) * len(self))

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project ego points [P, 3] into every camera.

        Returns:
            pixels [N, P, 2] (x, y) and z-depth [N, P] in metres. Behind the camera (depth <= 0)
            the pixels mean nothing: test the depth first.
        """
        camera_from_ego = self.camera_from_ego
        local = points @ camera_from_ego[:, :3, :3].transpose(-1, -2)
        local = local + camera_from_ego[:, None, :3, 3]
        homogeneous = local @ self.intrinsics.transpose(-1, -2)
        depth = local[..., 2]
        safe = torch.where(depth.abs() < 1e-9, torch.full_like(depth, 1e-9), depth)
        return homogeneous[..., :2] / safe[..., None], depth

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """Lift pixels [N, P, 2] at z-depth [N, P] (metres) to ego points [N, P, 3]."""
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
        local = homogeneous @ torch.linalg.inv(self.intrinsics).transpose(-1, -2)
        local = local * depth[..., None]
        rotation = self.ego_from_camera[:, :3, :3]
        return local @ rotation.transpose(-1, -2) + self.ego_from_camera[:, None, :3, 3]


def _check_camera(
    name: str, intrinsics: NDArray[Any], ego_from_camera: NDArray[Any], size: tuple[int, int]
) -> None:
    if not np.isfinite(intrinsics).all():
        raise ValueError(f'camera {name}: intrinsics must be finite, got {intrinsics.tolist()}')
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        raise ValueError(
            f'camera {name}: focal lengths must be > 0 pixels, got fx={intrinsics[0, 0]:g} '
            f'fy={intrinsics[1, 1]:g}'
        )
    if intrinsics[2].tolist() != [0, 0, 1]:
        raise ValueError(
            f'camera {name}: the last row of the intrinsics must be 0 0 1, '
            f'got {intrinsics[2].tolist()}'
        )
    if not (size[0] > 0 and size[1] > 0):
        raise ValueError(f'camera {name}: image size must be > 0, got {size[0]}x{size[1]} (HxW)')
    rotation = ego_from_camera[:3, :3].astype(np.float64)
    if not (
        np.isfinite(ego_from_camera).all()
        and np.abs(rotation @ rotation.T - np.eye(3)).max() <= SKEWED
        and np.linalg.det(rotation) > 0
        and ego_from_camera[3].tolist() == [0, 0, 0, 1]
    ):
        raise ValueError(
            f'camera {name}: ego_from_camera must be a finite rigid transform, '
            f'got {ego_from_camera.tolist()}'
        )
