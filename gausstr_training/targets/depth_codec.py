"""Depth as 16-bit codes on a logarithmic scale: the relative error is the same at 1 m and 100 m.

The scale spans 24 octaves, 2^-10 m to 2^14 m; depth beyond either end is stored as that end. At
level 0 all 65536 codes are used and the error is at most 0.013 %; every level more doubles it and
halves the number of codes. Codes are stored as what differs from a plane through the three
neighbours above and to the left, modulo 2^16, so that slanted surfaces become zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.contracts import move
from gausstr_training.targets.container import DamagedFile, Section

LOWEST, OCTAVES = -10.0, 24.0  # log2 of metres
STEP = OCTAVES / 65535  # octaves from code to code at level 0
LAST_LEVEL = 16
_ROUNDING = 2e-6  # of float32 in `PackedDepth.metres`


@dataclass(frozen=True)
class PackedDepth:
    """Depth of the N views of a frame, two bytes to a pixel."""

    codes: Tensor  # [N, H, W] int16, to be read as unsigned
    level: int

    @property
    def error(self) -> float:
        """The largest relative error of any pixel within the scale."""
        return error_at(self.level)

    def metres(self) -> Tensor:
        """Depth [N, H, W] float32."""
        codes = self.codes.to(torch.int32) & 0xFFFF
        return torch.exp2(codes * (STEP * 2**self.level) + LOWEST)

    def to(self, device: torch.device | str) -> PackedDepth:
        """Return a copy on `device`."""
        return move(self, device)


def error_at(level: int) -> float:
    """The largest relative error at a level."""
    return math.expm1(math.log(2) * STEP * 2**level / 2) + _ROUNDING


def level_for(error: float) -> int:
    """The coarsest level whose error is at most `error`.

    Raises:
        ValueError: no level is that fine.
    """
    levels = [level for level in range(LAST_LEVEL + 1) if error_at(level) <= error]
    if not levels:
        raise ValueError(
            f'the error of depth must be at least {error_at(0):.3g} (relative), got {error}'
        )
    return levels[-1]


def pack_depth(depth: Tensor, level: int, most: int) -> tuple[PackedDepth, Section]:
    """Pack depth at the finest level from `level` on that needs no more than `most` bytes.

    Args:
        depth: [N, H, W] metres, > 0.
        level: to begin with.
        most: bytes of the section.

    Raises:
        ValueError: depth is not finite and positive, or not even the coarsest level fits.
    """
    if not bool((torch.isfinite(depth) & (depth > 0)).all()):
        raise ValueError('depth must be finite and > 0 m everywhere')
    octaves = np.log2(depth.cpu().numpy().astype(np.float64)) - LOWEST
    codes = np.clip(octaves, 0, OCTAVES) / STEP
    while level <= LAST_LEVEL:
        whole = np.rint(codes / 2**level).astype(np.uint16)
        section = Section.of(_split(_differences(whole)))
        if len(section.data) <= most:
            return PackedDepth(torch.from_numpy(whole.view(np.int16)), level), section
        # a level saves a bit of every pixel at most, so none that would do is passed over
        level += max(1, int(8 * (len(section.data) - most) / codes.size))
    raise ValueError(f'depth {tuple(depth.shape)} does not fit into {most} bytes')


def unpack_depth(section: Section, level: int) -> PackedDepth:
    """The codes of a section.

    Raises:
        DamagedFile: the section is not one of `pack_depth`.
    """
    if section.dtype != '|u1' or len(section.shape) != 4 or section.shape[0] != 2:
        raise DamagedFile(f'expected depth as bytes [2, N, H, W], got {section.shape}')
    if not 0 <= level <= LAST_LEVEL:
        raise DamagedFile(f'the level of depth must be 0 to {LAST_LEVEL}, got {level}')
    low, high = section.array()
    codes = low.astype(np.uint16) | (high.astype(np.uint16) << 8)
    # the lowest bit is the sign: see `_split`
    codes = (codes >> 1) ^ np.negative(codes & 1)
    for axis in (1, 2):
        codes = np.cumsum(codes, axis, dtype=np.uint16)
    return PackedDepth(torch.from_numpy(codes.view(np.int16)), level)


def _differences(codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """[N, H, W]: along the columns, then along the rows; wraps around."""
    for axis in (2, 1):
        codes = np.diff(codes, axis=axis, prepend=np.uint16(0)).astype(np.uint16)
    return codes


def _split(differences: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Low and high bytes [2, N, H, W]; signs go into the lowest bit, so small is small."""
    signed = differences.view(np.int16)
    folded = ((signed << 1) ^ (signed >> 15)).view(np.uint16)
    return np.stack([(folded & 255).astype(np.uint8), (folded >> 8).astype(np.uint8)])
