"""What crosses a room's door: small frozen dataclasses of tensors.

Conventions (see docs/conventions.md): the ego frame is REP-103 (x forward, y left, z up) in
metres, cameras are optical (x right, y down, z forward), quaternions are wxyz, depth is z-depth in
metres, pixel centres lie at +0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from gausstr_core.feature_map import FeatureMap

T = TypeVar('T')


def move(record: T, device: torch.device | str) -> T:
    """Return a copy of a dataclass with each of its tensors on `device`; other fields stay."""
    moved: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device)
    return replace(record, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class FoundationMaps:
    """What the frozen networks make of the N images of one set."""

    codes: Tensor  # [N, c, h, w] of which the features are made, any stride
    depth: Tensor  # [N, H, W] z-depth in metres, > 0
    basis: Tensor | None = None  # [C, c + 1], see FeatureMap; None: the codes are the features

    @property
    def feature_map(self) -> FeatureMap:
        """The features, to be read where they are needed."""
        return FeatureMap(self.codes, self.basis)

    @cached_property
    def features(self) -> Tensor:
        """The features [N, C, h, w]: text-aligned, not normalised."""
        return self.feature_map.dense()

    @staticmethod
    def join(parts: Sequence[FoundationMaps]) -> FoundationMaps:
        """The maps that one network made, of the images of all parts, in their order."""
        return replace(
            parts[0],
            codes=torch.cat([part.codes for part in parts]),
            depth=torch.cat([part.depth for part in parts]),
        )

    def select(self, index: slice) -> FoundationMaps:
        """The maps of some of the images, not copied."""
        return replace(self, codes=self.codes[index], depth=self.depth[index])

    def to(self, device: torch.device | str) -> FoundationMaps:
        """Return a copy on `device`."""
        return move(self, device)


@dataclass(frozen=True)
class Gaussians:
    """G labelled-to-be 3D Gaussians in the ego frame."""

    means: Tensor  # [G, 3] metres, ego frame
    scales: Tensor  # [G, 3] standard deviations in metres along the rotated axes
    rotations: Tensor  # [G, 4] unit quaternions wxyz, ego_from_gaussian
    opacities: Tensor  # [G] in (0, 1)
    features: Tensor  # [G, C] text-aligned

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def covariances(self) -> Tensor:
        """[G, 3, 3] covariance in the ego frame, R diag(s^2) R^T."""
        half = matrix_from_quaternion(self.rotations) * self.scales[:, None, :]
        return half @ half.transpose(-1, -2)

    def to(self, device: torch.device | str) -> Gaussians:
        """Return a copy on `device`."""
        return move(self, device)

    def select(self, keep: Tensor) -> Gaussians:
        """Return the Gaussians picked by a boolean mask [G] or an index [K]."""
        return Gaussians(
            self.means[keep],
            self.scales[keep],
            self.rotations[keep],
            self.opacities[keep],
            self.features[keep],
        )


@dataclass(frozen=True)
class VoxelGrid:
    """An axis-aligned grid in the ego frame; index order is (x, y, z).

    Convention: voxel (i, j, k) spans lower + (i, j, k) * resolution to the next one; with the
    defaults (the Occ3D grid) the centre of voxel (0, 0, 0) is at (-39.8, -39.8, -0.8) m.

    Raises:
        ValueError: the range is empty, not finite, or not a whole number of voxels.
    """

    lower: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    upper: tuple[float, float, float] = (40.0, 40.0, 5.4)
    resolution: float = 0.4

    def __post_init__(self) -> None:
        if not self.resolution > 0:
            raise ValueError(f'grid resolution must be > 0 m, got {self.resolution}')
        for name, corner in (('lower', self.lower), ('upper', self.upper)):
            if len(corner) != 3:
                raise ValueError(f'grid {name} corner must be (x, y, z) in metres, got {corner}')
        for axis, low, high in zip('xyz', self.lower, self.upper, strict=True):
            cells = (high - low) / self.resolution
            if not (
                math.isfinite(cells) and round(cells) >= 1 and abs(cells - round(cells)) < 1e-3
            ):
                raise ValueError(
                    f'grid range along {axis} must be a whole number of {self.resolution} m '
                    f'voxels, got {low} to {high} m ({cells:.3f} voxels)'
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        x, y, z = (
            round((high - low) / self.resolution)
            for low, high in zip(self.lower, self.upper, strict=True)
        )
        return x, y, z

    def centers(self, device: torch.device | str = 'cpu') -> Tensor:
        """[X, Y, Z, 3] voxel centres in metres, ego frame."""
        axes = [
            low + (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) * self.resolution
            for low, cells in zip(self.lower, self.shape, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=-1)


@dataclass(frozen=True)
class Occupancy:
    """The labelled map of one cycle.

    A voxel is occupied where `labels >= 0`, free where it is observed and not occupied, and
    unknown where it was not observed.
    """

    grid: VoxelGrid
    density: Tensor  # [X, Y, Z] >= 0, optical-depth-like sum of the Gaussians
    labels: Tensor  # [X, Y, Z] int64 category index, -1 where not occupied
    confidence: Tensor  # [X, Y, Z] in [0, 1], probability of the label, 0 where not occupied
    observed: Tensor  # [X, Y, Z] bool

    def to(self, device: torch.device | str) -> Occupancy:
        """Return a copy on `device`."""
        return move(self, device)

    def within(self, viewed: Tensor) -> Occupancy:
        """Return the map that is unknown wherever no camera looks; the density stays.

        Args:
            viewed: bool [X, Y, Z].
        """
        return replace(
            self,
            labels=torch.where(viewed, self.labels, -1),
            confidence=torch.where(viewed, self.confidence, 0.0),
            observed=self.observed & viewed,
        )


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] wxyz, normalised first.

    Convention: (cos 45deg, 0, 0, sin 45deg) turns x into y.
    """
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_from_matrix(rotation: Tensor) -> Tensor:
    """Unit quaternions [..., 4] wxyz with w >= 0 of rotation matrices [..., 3, 3].

    The largest of the four components is found first (Shepperd 1978), so that it is exact near
    every rotation by 180 degrees too; no iteration, any device, any dtype.
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    candidates = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, m[..., 2, 1] - m[..., 1, 2],
                         m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1),
            torch.stack([m[..., 2, 1] - m[..., 1, 2], 1 + xx - yy - zz,
                         m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]], -1),
            torch.stack([m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0],
                         1 - xx + yy - zz, m[..., 1, 2] + m[..., 2, 1]], -1),
            torch.stack([m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0],
                         m[..., 1, 2] + m[..., 2, 1], 1 - xx - yy + zz], -1),
        ],
        dim=-2,
    )  # fmt: skip
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    quaternion = candidates.gather(-2, index).squeeze(-2)
    quaternion = torch.nn.functional.normalize(quaternion, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
