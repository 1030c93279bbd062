"""Which voxels were looked at in a cycle, and into which bin of the evidence each look falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, Occupancy
from gausstr_core.process.parallel import kernel
from gausstr_core.remembering.evidence import (
    BEHIND,
    CLEARANCE,
    DENSITY,
    GROUND,
    NOTHING,
    OBJECT,
    RANGE,
)
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.visibility import projection

UNSEEN = -1
_DENSITY = np.array(DENSITY, dtype=np.float32)
_CLEARANCE = np.array(CLEARANCE, dtype=np.float64)
_SQUARES = np.array(RANGE, dtype=np.float64) ** 2


class Cycle(Protocol):
    """What a memory reads of an `OccupancyResult`: the pipeline imports this room."""

    @property
    def occupancy(self) -> Occupancy:
        """The map."""

    @property
    def gaussians(self) -> Gaussians:
        """Of which it was made, in the ego frame."""

    @property
    def probabilities(self) -> torch.Tensor:
        """[G, K] of their categories."""

    @property
    def rig(self) -> CameraRig:
        """The cameras at the depth's size."""

    @property
    def visible_depth(self) -> torch.Tensor:
        """[N, H, W] z-depth in metres, 0 where it is unknown."""


@dataclass(frozen=True)
class Present:
    """One cycle as the kernels take it, all on the CPU."""

    density: np.ndarray  # [X, Y, Z] float32, multiples of the rule's threshold
    labels: np.ndarray  # [X, Y, Z] int64
    confidence: np.ndarray  # [X, Y, Z] float32
    observed: np.ndarray  # [X, Y, Z] bool
    kinds: np.ndarray  # [K] uint8, GROUND or OBJECT of each label

    @classmethod
    def of(cls, occupancy: Occupancy, vocabulary: Vocabulary, threshold: float) -> Present:
        """The arrays of a map in the words of a vocabulary."""
        held = occupancy.to('cpu')
        return cls(
            (held.density.float() / threshold).contiguous().numpy(),
            held.labels.contiguous().numpy(),
            held.confidence.float().contiguous().numpy(),
            held.observed.contiguous().numpy(),
            kinds_of(vocabulary),
        )


def kinds_of(vocabulary: Vocabulary) -> np.ndarray:
    """[K] uint8: GROUND or OBJECT of each category."""
    return np.array(
        [GROUND if c.role == 'ground' else OBJECT for c in vocabulary.categories], dtype=np.uint8
    )


def looks(
    present: Present,
    depth: torch.Tensor,
    rig: CameraRig,
    lower: tuple[float, float, float],
    resolution: float,
    *,
    backend: str = 'fast',
) -> np.ndarray:
    """The bin of each voxel, int16 [X, Y, Z], UNSEEN where no camera sees it.

    Of several cameras the one counts that sees farthest past the voxel.

    Args:
        present: the map of the cycle.
        depth: [N, H, W] z-depth in metres; <= 0 or NaN sees nothing.
        rig: the N cameras at that size, in the ego frame.
        lower, resolution: of the grid, metres.
        backend: 'fast' (numba) or 'reference' (numpy); they agree in every voxel.
    """
    images = depth.detach().to('cpu', torch.float32).contiguous().numpy()
    corner = np.array(lower, dtype=np.float64)
    matrices = projection(rig).numpy()
    edges = _DENSITY, _CLEARANCE, _SQUARES
    arguments = (present.density, present.labels, present.kinds, images, matrices, corner)
    if backend == 'reference':
        return _reference(*arguments, float(resolution))
    bins = np.full(present.density.shape, UNSEEN, dtype=np.int16)
    _fast(*arguments, float(resolution), *edges, bins)
    return bins


def _reference(
    density: np.ndarray,
    labels: np.ndarray,
    kinds: np.ndarray,
    depth: np.ndarray,
    matrices: np.ndarray,
    lower: np.ndarray,
    resolution: float,
) -> np.ndarray:
    axes = [
        low + (np.arange(n) + 0.5) * resolution
        for low, n in zip(lower, density.shape, strict=True)
    ]
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    height, width = depth.shape[1:]
    best = np.full(density.shape, -np.inf)
    for image, rows in zip(depth.astype(np.float64), matrices, strict=True):
        u, v, far = ((row[0] * x + row[1] * y + row[3]) + row[2] * z for row in rows)
        ahead = far > 0
        inverse = 1.0 / np.where(ahead, far, 1.0)
        u, v = u * inverse, v * inverse
        inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        surface = image[np.where(inside, v, 0).astype(int), np.where(inside, u, 0).astype(int)]
        seen = inside & (surface > 0)
        with np.errstate(invalid='ignore'):
            clearance = np.where(seen, (surface - far) * inverse, -np.inf)
        best = np.maximum(best, clearance)
    square = x * x + y * y + 0 * z
    kind = np.where(labels < 0, NOTHING, kinds[np.maximum(labels, 0)])
    bins = np.searchsorted(_DENSITY, density, side='right')
    bins = bins * (len(CLEARANCE) + 1) + np.searchsorted(_CLEARANCE, best, side='right')
    bins = bins * (len(RANGE) + 1) + np.searchsorted(_SQUARES, square, side='right')
    return np.where(best >= BEHIND, bins * 3 + kind, UNSEEN).astype(np.int16)


@kernel
def _place(value: float, edges: np.ndarray) -> int:
    found = 0
    while found < len(edges) and value >= edges[found]:
        found += 1
    return found


@kernel
def _place_from_above(value: float, edges: np.ndarray) -> int:
    """As `_place`, quicker for most of space, which is free far in front of the depth."""
    found = len(edges)
    while found > 0 and value < edges[found - 1]:
        found -= 1
    return found


@kernel
def _misses(a: float, b: float, far_a: float, far_b: float, width: float) -> bool:
    """Whether a column, of which both ends lie ahead, is left or right of an image all along."""
    if far_a <= 0 and far_b <= 0:
        return True
    if far_a <= 0 or far_b <= 0:
        return False
    return (a < 0 and b < 0) or (a >= width * far_a and b >= width * far_b)


@kernel
def _fast(
    density: np.ndarray,
    labels: np.ndarray,
    kinds: np.ndarray,
    depth: np.ndarray,
    matrices: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    density_edges: np.ndarray,
    clearance_edges: np.ndarray,
    square_edges: np.ndarray,
    bins: np.ndarray,
) -> None:
    cells_x, cells_y, cells_z = density.shape
    cameras, height, width = depth.shape
    best = np.empty(cells_z)
    bottom, top = lower[2], lower[2] + cells_z * resolution
    for i in range(cells_x):
        x = lower[0] + (i + 0.5) * resolution
        for j in range(cells_y):
            y = lower[1] + (j + 0.5) * resolution
            best[:] = -np.inf
            for n in range(cameras):
                rows = matrices[n]
                u0 = rows[0, 0] * x + rows[0, 1] * y + rows[0, 3]
                v0 = rows[1, 0] * x + rows[1, 1] * y + rows[1, 3]
                far0 = rows[2, 0] * x + rows[2, 1] * y + rows[2, 3]
                if _misses(
                    u0 + rows[0, 2] * bottom, u0 + rows[0, 2] * top,
                    far0 + rows[2, 2] * bottom, far0 + rows[2, 2] * top, width,
                ):  # fmt: skip
                    continue
                for k in range(cells_z):
                    z = lower[2] + (k + 0.5) * resolution
                    far = far0 + rows[2, 2] * z
                    if not far > 0:
                        continue
                    inverse = 1.0 / far
                    u, v = (u0 + rows[0, 2] * z) * inverse, (v0 + rows[1, 2] * z) * inverse
                    if not (u >= 0 and u < width and v >= 0 and v < height):
                        continue
                    surface = np.float64(depth[n, int(v), int(u)])
                    if surface > 0:
                        clearance = (surface - far) * inverse
                        best[k] = max(best[k], clearance)
            square = _place(x * x + y * y, square_edges)
            for k in range(cells_z):
                if best[k] >= BEHIND:
                    found = _place(density[i, j, k], density_edges)
                    found = found * (len(clearance_edges) + 1) + _place_from_above(
                        best[k], clearance_edges
                    )
                    found = found * (len(square_edges) + 1) + square
                    label = labels[i, j, k]
                    kind = NOTHING if label < 0 else kinds[label]
                    bins[i, j, k] = found * 3 + kind
