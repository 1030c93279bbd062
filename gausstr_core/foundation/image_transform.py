"""The released image augmentation: scale, crop, mirror, rotate, and its matrix.

Inference scales only (0.48 or 0.56 for 1600x900). The rest is here because stored fixtures and
training data of the released code carry such matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ImageTransform:
    """Original image -> the image that the network sees.

    Convention: continuous pixel coordinates, so `matrix` maps the corner (0, 0) of the original
    to the same place of the result.
    """

    scale: float
    left: int = 0  # of the crop, in pixels of the scaled image
    top: int = 0
    size: tuple[int, int] = (0, 0)  # (height, width) of the result; (0, 0): all
    mirrored: bool = False
    degrees: float = 0.0  # counter-clockwise as seen, about the middle of the result

    def image(self, original: Tensor) -> Tensor:
        """uint8 RGB [H, W, 3] -> uint8 [height, width, 3]; black outside the original."""
        rows, columns = original.shape[:2]
        scaled = (int(rows * self.scale), int(columns * self.scale))
        planes = original.permute(2, 0, 1)[None]
        planes = F.interpolate(planes, scaled, mode='bicubic', antialias=True)
        height, width = self.size if self.size != (0, 0) else scaled
        # negative padding crops, positive pads with black
        below, right = height - scaled[0] + self.top, width - scaled[1] + self.left
        planes = F.pad(planes, (-self.left, right, -self.top, below))
        if self.mirrored:
            planes = planes.flip(-1)
        if self.degrees:
            planes = self._rotated(planes)
        return planes[0].permute(1, 2, 0).contiguous()

    def matrix(self) -> Tensor:
        """[4, 4] float32: pixel of the original -> pixel of the result.

        Raises:
            ValueError: turned or mirrored without `size`.
        """
        if (self.mirrored or self.degrees) and self.size == (0, 0):
            raise ValueError('the matrix of a turned or mirrored image needs its size')
        linear = torch.eye(2, dtype=torch.float64) * self.scale
        offset = -torch.tensor([self.left, self.top], dtype=torch.float64)
        height, width = self.size
        if self.mirrored:
            mirror = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
            linear, offset = mirror @ linear, mirror @ offset
            offset[0] += width
        turn, middle = self._turn(), torch.tensor([width, height], dtype=torch.float64) / 2
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:2, :2] = turn @ linear
        matrix[:2, 3] = turn @ (offset - middle) + middle
        return matrix.float()

    def _turn(self) -> Tensor:
        """[2, 2] rotation of pixel coordinates, y down."""
        angle = math.radians(self.degrees)
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, s], [-s, c]], dtype=torch.float64)

    def _rotated(self, planes: Tensor) -> Tensor:
        """Turn by the nearest pixel, as Pillow does."""
        height, width = planes.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(height, dtype=torch.float64) + 0.5,
            torch.arange(width, dtype=torch.float64) + 0.5,
            indexing='ij',
        )
        middle = torch.tensor([width, height], dtype=torch.float64) / 2
        source = (torch.stack([x, y], -1) - middle) @ self._turn() + middle
        column, row = source.floor().long().unbind(-1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        picked = planes[..., row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return picked * inside
