"""What a CameraInfo says, and the lens that it describes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gausstr_core.camera.lens import EQUIDISTANT, Lens
from gausstr_core.camera.undistortion import Undistortion

KEPT = 24  # lenses whose maps stay in memory: 6 bytes per pixel each


@dataclass(frozen=True)
class Calibration:
    """The content of a CameraInfo; hashable, so that equal calibrations share their maps."""

    width: int  # pixels
    height: int
    k: tuple[float, ...]  # 9 numbers by rows; ROS: the centre of the first pixel is (0, 0)
    model: str
    d: tuple[float, ...]
    binning: tuple[int, int] = (0, 0)  # along x and y; 0 and 1 are none
    region: tuple[int, int, int, int] = (0, 0, 0, 0)  # x, y, width, height; all 0: all of it

    @classmethod
    def of(cls, info: Any) -> Calibration:
        """From a sensor_msgs/CameraInfo, whichever library decoded it."""
        region = info.roi
        return cls(
            info.width,
            info.height,
            tuple(map(float, info.k)),
            info.distortion_model,
            tuple(map(float, info.d)),
            (info.binning_x, info.binning_y),
            (region.x_offset, region.y_offset, region.width, region.height),
        )

    @property
    def lens(self) -> Lens:
        """The lens, pixel centres at +0.5.

        Raises:
            ValueError: it is of a region or a binned image, or no lens at all.
        """
        whole = (0, 0, self.width, self.height)
        if max(self.binning) > 1 or self.region not in ((0, 0, 0, 0), whole):
            raise ValueError(
                f'binning {self.binning[0]}x{self.binning[1]} or a region of interest of '
                f'{self.region[2]}x{self.region[3]} at {self.region[0]}, {self.region[1]} is not '
                f'supported: expected the whole image of {self.width}x{self.height} (WxH)'
            )
        matrix = np.array(self.k).reshape(3, 3)
        matrix[:2, 2] += 0.5
        # whatever its name, a model without distortion is a pinhole, but for this one
        model = self.model if any(self.d) or self.model == EQUIDISTANT else ''
        return Lens.build(model, self.d if model else (), matrix, (self.height, self.width))


@lru_cache(KEPT)
def undistortion_of(calibration: Calibration) -> Undistortion:
    """The undistortion of a calibration, shared within the process.

    Raises:
        ValueError: as `Calibration.lens` and `Undistortion`.
    """
    return Undistortion(calibration.lens)
