"""Features as 8-bit coordinates along the principal directions of their own frame.

All directions share one step. That is known to lose least for a given size: a direction gets the
more bits, the more the features vary along it, and none where they vary less than the step. With
8 bits over the range of each of a fixed number of directions, the same bytes lose 3 to 14 times
as much of the cosine (docs/targets.md). The step is the finest that 8 bits allow, or as much
coarser as the frame's share of bytes demands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.contracts import move
from gausstr_training.targets.container import DamagedFile, Section
from gausstr_training.targets.symbols import pack_rows, unpack_rows

RUNG = 2**0.25  # from step to coarser step
WORTH = 1 / 6  # of the step's square: directions along which features vary less are left out
_ENTROPY = math.log2(2 * math.pi * math.e) / 2  # bits of a Gaussian of variance 1 at step 1


@dataclass(frozen=True)
class PackedFeatures:
    """Features of the N views of a frame along K directions; T = N * h * w tokens."""

    coordinates: Tensor  # [K, T] int8, times `step`
    directions: Tensor  # [K, C] int8, times `scales`: unit vectors
    scales: Tensor  # [K] float32
    mean: Tensor  # [C] float32
    step: float
    grid: tuple[int, int, int]  # N, h, w

    def unpacked(self) -> Tensor:
        """Features [N, C, h, w] float32."""
        directions = self.directions.float() * (self.scales * self.step)[:, None]
        tokens = torch.addmm(self.mean, self.coordinates.t().float(), directions)
        return tokens.unflatten(0, self.grid).permute(0, 3, 1, 2).contiguous()

    def to(self, device: torch.device | str) -> PackedFeatures:
        """Return a copy on `device`."""
        return move(self, device)


@dataclass(frozen=True)
class Principal:
    """The tokens of a frame along orthogonal directions."""

    mean: NDArray[np.float32]  # [C]
    variances: NDArray[np.float64]  # [C], falling
    directions: NDArray[np.float32]  # [C, C] a direction per row
    coordinates: NDArray[np.float32]  # [C, T]

    @classmethod
    def of(cls, tokens: Tensor) -> Principal:
        """Tokens [T, C] float32 in the axes of their own covariance."""
        mean = tokens.mean(0)
        centred = tokens - mean
        covariance = (centred.t() @ centred).double() / len(tokens)
        variances, axes = torch.linalg.eigh(covariance)  # rising
        axes = axes.flip(1).float()
        return cls(
            mean.cpu().numpy(),
            variances.flip(0).clamp_min(0).cpu().numpy(),
            np.ascontiguousarray(axes.t().cpu().numpy()),
            np.ascontiguousarray((axes.t() @ centred.t()).cpu().numpy()),
        )


def pack_features(features: Tensor, most: int) -> tuple[PackedFeatures, dict[str, Section]]:
    """Pack features with the finest step that needs no more than `most` bytes.

    Args:
        features: [N, C, h, w], finite; on any device.
        most: bytes of the sections together.

    Raises:
        ValueError: features are not finite, or not even their mean fits.
    """
    if not bool(torch.isfinite(features).all()):
        raise ValueError('features must be finite')
    views, channels, height, width = features.shape
    principal = Principal.of(features.movedim(1, -1).reshape(-1, channels).float())
    return pack_principal(principal, (views, height, width), most)


def pack_principal(
    principal: Principal, grid: tuple[int, int, int], most: int
) -> tuple[PackedFeatures, dict[str, Section]]:
    """See `pack_features`; `grid` is (N, h, w)."""
    finest = max(float(np.abs(principal.coordinates).max()) / 127, 1e-12)
    rung = 0
    while _estimate(principal, finest * RUNG**rung) > most:
        rung += 1
    packed = _at(principal, finest * RUNG**rung, grid)
    while _size(packed) > most:
        if not len(packed[0].scales):
            channels = len(principal.mean)
            raise ValueError(f'features of {channels} channels do not fit into {most} bytes')
        rung += 1
        packed = _at(principal, finest * RUNG**rung, grid)
    while rung:
        finer = _at(principal, finest * RUNG ** (rung - 1), grid)
        if _size(finer) > most:
            # between the two, a little on the side of the one that fits
            share = 0.95 * (most - _size(packed)) / (_size(finer) - _size(packed))
            between = _at(principal, finest * RUNG ** (rung - share), grid)
            return between if _size(between) <= most else packed
        rung, packed = rung - 1, finer
    return packed


def unpack_features(
    sections: dict[str, Section], step: float, grid: tuple[int, int, int]
) -> PackedFeatures:
    """What `pack_features` packed.

    Raises:
        DamagedFile: the sections do not agree with each other.
    """
    named = {name: section.array() for name, section in sections.items()}
    mean, scales, directions = named['mean'], named['scales'], named['directions']
    if directions.shape != (*scales.shape, *mean.shape) or named['limits'].shape != scales.shape:
        raise DamagedFile(
            f'{directions.shape} directions, {scales.shape} scales, {mean.shape} mean'
        )
    rows = unpack_rows(named['limits'], named['coordinates'], math.prod(grid))
    return _of_arrays(rows, directions, scales, mean, step, grid)


def cosine_loss(features: Tensor, packed: Tensor) -> tuple[float, float]:
    """1 - cosine between features [N, C, h, w] and what became of them: mean, and worst token."""
    loss = 1 - F.cosine_similarity(features.float(), packed, dim=1)
    return float(loss.mean()), float(loss.max())


def _kept(principal: Principal, step: float) -> int:
    return int((principal.variances > WORTH * step**2).sum())


def _estimate(principal: Principal, step: float) -> float:
    """Bytes that a step will need, as if the coordinates were Gaussian."""
    kept = _kept(principal, step)
    channels, tokens = principal.coordinates.shape
    bits = np.log2(principal.variances[:kept] / step**2) / 2 + _ENTROPY
    return float(np.maximum(bits, 0.3).sum()) * tokens / 8 + kept * channels + 4 * channels


def _at(
    principal: Principal, step: float, grid: tuple[int, int, int]
) -> tuple[PackedFeatures, dict[str, Section]]:
    kept = _kept(principal, step)
    directions = principal.directions[:kept]
    scales = (np.abs(directions).max(1, initial=0) / 127).astype(np.float32)
    whole = np.rint(directions / scales[:, None]).astype(np.int8)
    rows = np.rint(principal.coordinates[:kept] / np.float32(step)).clip(-127, 127).astype(np.int8)
    limits, joined = pack_rows(rows)
    arrays = {
        'mean': principal.mean, 'scales': scales, 'directions': whole, 'limits': limits,
        'coordinates': joined,
    }  # fmt: skip
    sections = {name: Section.of(array) for name, array in arrays.items()}
    return _of_arrays(rows, whole, scales, principal.mean, step, grid), sections


def _of_arrays(
    rows: NDArray[np.int8],
    directions: NDArray[np.int8],
    scales: NDArray[np.float32],
    mean: NDArray[np.float32],
    step: float,
    grid: tuple[int, int, int],
) -> PackedFeatures:
    as_tensor = torch.from_numpy
    return PackedFeatures(
        as_tensor(rows), as_tensor(directions), as_tensor(scales), as_tensor(mean), step, grid
    )


def _size(packed: tuple[PackedFeatures, dict[str, Section]]) -> int:
    return sum(len(section.data) for section in packed[1].values())
