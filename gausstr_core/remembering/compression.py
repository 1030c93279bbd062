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
LEAST = 1e-6  # weight of a mean that means something
UNKNOWN = -128  # in the first number of a code: no feature is known
REACHES = (1, 2)  # voxels around its own to which a Gaussian lends its feature; then farther


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
    probabilities: Tensor,
    rows: np.ndarray,
    labels: np.ndarray,
    grid: VoxelGrid,
    *,
    backend: str = 'fast',
) -> np.ndarray:
    """Codes int8 [count, COMPONENTS]: the mean of the Gaussians at and beside each voxel.

    A voxel that only reaches of farther Gaussians fill has UNKNOWN in its first number.

    Args:
        gaussians: ego frame.
        rows: [X, Y, Z] int32, which row a voxel has, or -1.
        probabilities: [G, K] of the Gaussians' categories.
        labels: [count] int64, category of each row's voxel. A Gaussian counts as far as it is of
            that category: at the rim of a thing the mean is no mixture with what is beside it.
        backend: 'fast' (numba) or 'reference' (numpy); they agree but for rounding.
    """
    sums = np.zeros((len(labels), COMPONENTS + 1), np.float32)
    values = compression.coordinates(gaussians.features).contiguous().numpy()
    means = gaussians.means.detach().to('cpu', torch.float64).contiguous().numpy()
    opacities = gaussians.opacities.detach().to('cpu', torch.float32).contiguous().numpy()
    shares = probabilities.detach().to('cpu', torch.float32).contiguous().numpy()
    lower = np.array(grid.lower, np.float64)
    gather = _gather if backend == 'fast' else _gather_plainly
    for reach in REACHES:
        gather(
            means, opacities, values, shares, rows, labels, lower, float(grid.resolution),
            reach, sums,
        )  # fmt: skip
        lacking = np.append(sums[:, -1] <= LEAST, False)  # the last is row -1
        if not lacking.any():
            break
        rows = np.where(lacking[rows], rows, -1)
    mean = sums[:, :-1] / np.maximum(sums[:, -1:], 1e-9)
    codes = np.clip(np.rint(mean), -LARGEST, LARGEST).astype(np.int8)
    codes[sums[:, -1] <= LEAST, 0] = UNKNOWN
    return codes


def _gather_plainly(
    means: np.ndarray,
    opacities: np.ndarray,
    values: np.ndarray,
    shares: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    reach: int,
    sums: np.ndarray,
) -> None:
    places = (means - lower) / resolution
    own = np.floor(places).astype(np.int64)
    for step in np.ndindex(*(2 * reach + 1,) * 3):
        cells = own + np.array(step) - reach
        inside = ((cells >= 0) & (cells < rows.shape)).all(1)
        row = np.where(inside, rows[tuple(np.where(inside[:, None], cells, 0).T)], -1)
        away = ((cells + 0.5 - places) ** 2).sum(1)
        used = row >= 0
        share = np.where(used, shares[np.arange(len(row)), labels[row]], 0)
        weight = (opacities * np.exp(-2.0 * away) * share).astype(np.float32)
        weighted = weight[used, None] * np.c_[values[used], np.ones(used.sum(), np.float32)]
        np.add.at(sums, row[used], weighted)


@sum_kernel
def _gather(
    means: np.ndarray,
    opacities: np.ndarray,
    values: np.ndarray,
    shares: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    reach: int,
    sums: np.ndarray,
) -> None:
    cells_x, cells_y, cells_z = rows.shape
    channels = values.shape[1]
    for g in range(len(means)):
        x = (means[g, 0] - lower[0]) / resolution
        y = (means[g, 1] - lower[1]) / resolution
        z = (means[g, 2] - lower[2]) / resolution
        ci, cj, ck = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        if ci < -reach or cj < -reach or ck < -reach:
            continue
        if ci >= cells_x + reach or cj >= cells_y + reach or ck >= cells_z + reach:
            continue
        for i in range(max(0, ci - reach), min(cells_x, ci + reach + 1)):
            for j in range(max(0, cj - reach), min(cells_y, cj + reach + 1)):
                for k in range(max(0, ck - reach), min(cells_z, ck + reach + 1)):
                    row = rows[i, j, k]
                    if row < 0:
                        continue
                    away = (i + 0.5 - x) ** 2 + (j + 0.5 - y) ** 2 + (k + 0.5 - z) ** 2
                    weight = np.float32(
                        opacities[g] * np.exp(-2.0 * away) * shares[g, labels[row]]
                    )
                    sums[row, :channels] += weight * values[g]
                    sums[row, channels] += weight
