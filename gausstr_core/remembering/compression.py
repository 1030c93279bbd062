"""Features as 32 numbers of a byte: principal components, found once in the first cycle.

Labels cannot follow when the words change, features can: after `~/set_categories` the voxels that
are remembered are named anew from these. 8 components lose a third of the mIoU, 32 nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.process.parallel import sum_kernel
from gausstr_core.remembering.ring import COMPONENTS

LARGEST = 127.0
UNKNOWN = -128  # in the first number of a code: no feature is known
REACH = 1  # voxels around its own to which a Gaussian lends its feature


@dataclass(frozen=True)
class Compression:
    """feature / |feature| = mean + components' (code * step)."""

    mean: Tensor  # [C]
    components: Tensor  # [COMPONENTS, C], rows orthonormal (zero where C is less)
    step: Tensor  # [COMPONENTS], of one unit of code

    @classmethod
    def of(cls, features: Tensor) -> Compression:
        """The components of features [G, C], from any device, kept on the CPU in float32.

        Raises:
            ValueError: there is no feature.
        """
        if not len(features):
            raise ValueError('principal components need features, got none')
        unit = F.normalize(features.detach().to('cpu', torch.float64), dim=-1)
        mean = unit.mean(0)
        centred = unit - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        kept = vectors.flip(1).T[:COMPONENTS]
        if len(kept) < COMPONENTS:
            kept = torch.cat([kept, kept.new_zeros(COMPONENTS - len(kept), kept.shape[1])])
        spread = (centred @ kept.T).abs().amax(0).clamp_min(1e-6)
        return cls(mean.float(), kept.float().contiguous(), (1.25 * spread / LARGEST).float())

    def coordinates(self, features: Tensor) -> Tensor:
        """[G, COMPONENTS] float32 of features [G, C], in units of code, not rounded."""
        held = features.detach().to('cpu', torch.float32)
        length = held.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        turned = held @ self.components.T / length
        return (turned - self.components @ self.mean) / self.step

    def features(self, codes: Tensor) -> Tensor:
        """Features [S, C] of codes [S, COMPONENTS] int8."""
        return self.mean + (codes.float() * self.step) @ self.components


def voxel_codes(
    compression: Compression,
    gaussians: Gaussians,
    rows: np.ndarray,
    count: int,
    grid: VoxelGrid,
    *,
    backend: str = 'fast',
) -> np.ndarray:
    """Codes int8 [count, COMPONENTS]: the mean of the Gaussians at and beside each voxel.

    A voxel that only reaches of farther Gaussians fill has UNKNOWN in its first number.

    Args:
        gaussians: ego frame.
        rows: [X, Y, Z] int32, which row a voxel has, or -1.
        count: number of rows.
        backend: 'fast' (numba) or 'reference' (numpy); they agree but for rounding.
    """
    sums = np.zeros((count, COMPONENTS + 1), np.float32)
    values = compression.coordinates(gaussians.features).contiguous().numpy()
    means = gaussians.means.detach().to('cpu', torch.float64).contiguous().numpy()
    opacities = gaussians.opacities.detach().to('cpu', torch.float32).contiguous().numpy()
    lower = np.array(grid.lower, np.float64)
    gather = _gather if backend == 'fast' else _gather_plainly
    gather(means, opacities, values, rows, lower, float(grid.resolution), sums)
    mean = sums[:, :-1] / np.maximum(sums[:, -1:], 1e-9)
    codes = np.clip(np.rint(mean), -LARGEST, LARGEST).astype(np.int8)
    codes[sums[:, -1] <= 0, 0] = UNKNOWN
    return codes


def _gather_plainly(
    means: np.ndarray,
    opacities: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    sums: np.ndarray,
) -> None:
    places = (means - lower) / resolution
    own = np.floor(places).astype(np.int64)
    for step in np.ndindex(3, 3, 3):
        cells = own + np.array(step) - REACH
        inside = ((cells >= 0) & (cells < rows.shape)).all(1)
        row = np.where(inside, rows[tuple(np.where(inside[:, None], cells, 0).T)], -1)
        away = ((cells + 0.5 - places) ** 2).sum(1)
        weight = (opacities * np.exp(-2.0 * away)).astype(np.float32)
        used = row >= 0
        weighted = weight[used, None] * np.c_[values[used], np.ones(used.sum(), np.float32)]
        np.add.at(sums, row[used], weighted)


@sum_kernel
def _gather(
    means: np.ndarray,
    opacities: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    sums: np.ndarray,
) -> None:
    cells_x, cells_y, cells_z = rows.shape
    channels = values.shape[1]
    for g in range(len(means)):
        x = (means[g, 0] - lower[0]) / resolution
        y = (means[g, 1] - lower[1]) / resolution
        z = (means[g, 2] - lower[2]) / resolution
        ci, cj, ck = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        if ci < -REACH or cj < -REACH or ck < -REACH:
            continue
        if ci >= cells_x + REACH or cj >= cells_y + REACH or ck >= cells_z + REACH:
            continue
        for i in range(max(0, ci - REACH), min(cells_x, ci + REACH + 1)):
            for j in range(max(0, cj - REACH), min(cells_y, cj + REACH + 1)):
                for k in range(max(0, ck - REACH), min(cells_z, ck + REACH + 1)):
                    row = rows[i, j, k]
                    if row < 0:
                        continue
                    away = (i + 0.5 - x) ** 2 + (j + 0.5 - y) ** 2 + (k + 0.5 - z) ** 2
                    weight = np.float32(opacities[g] * np.exp(-2.0 * away))
                    sums[row, :channels] += weight * values[g]
                    sums[row, channels] += weight
