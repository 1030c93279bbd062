"""CameraInfo -> the lens that it describes: one reading for node, replay, training and converter.

The message is that of whichever library decoded it: rclpy for the node, rosbags for training. The
errors name neither camera nor topic: who asks knows which it is, and puts it in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gausstr_core.camera.lens import Lens


class RegionOfInterest(Protocol):
    """The fields of sensor_msgs/RegionOfInterest that are read; pixels of the sensor."""

    x_offset: int
    y_offset: int
    height: int
    width: int


class CameraInfo(Protocol):
    """The fields of sensor_msgs/CameraInfo that are read; arrays, `array.array` or lists."""

    height: int
    width: int
    distortion_model: str
    d: ArrayLike
    k: ArrayLike  # 9 numbers by rows
    r: ArrayLike  # 9
    p: ArrayLike  # 12
    binning_x: int
    binning_y: int
    roi: RegionOfInterest


@dataclass(frozen=True)
class Calibration:
    """What a CameraInfo says of the images that come with it; equal ones hash alike."""

    width: int  # pixels of the whole sensor
    height: int
    k: tuple[float, ...]  # 9 numbers by rows; ROS: the centre of the first pixel is (0, 0)
    model: str
    d: tuple[float, ...]
    binning: tuple[int, int] = (0, 0)  # along x and y; 0 and 1 are none
    region: tuple[int, int, int, int] = (0, 0, 0, 0)  # x, y, width, height; sizes 0: all of it

    @classmethod
    def of(cls, info: CameraInfo, *, rectified: bool = False) -> Calibration:
        """What a CameraInfo says; whether that makes a lens is for `lens` to find.

        Args:
            info: a sensor_msgs/CameraInfo.
            rectified: the images are undistorted already (image_rect), and P describes them.

        Raises:
            ValueError: they are rectified, and P is none, or of a stereo pair.
        """
        matrix = _rectified_matrix(info) if rectified else np.asarray(info.k, np.float64)
        bent = np.zeros(0) if rectified else np.asarray(info.d, np.float64)
        roi = info.roi
        return cls(
            int(info.width),
            int(info.height),
            tuple(matrix.ravel().tolist()),
            '' if rectified else info.distortion_model,
            tuple(bent.tolist()),
            (int(info.binning_x), int(info.binning_y)),
            (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
        )

    def lens(self, size: tuple[int, int] | None = None) -> Lens:
        """How the camera projects into its image, distortion included; pixel centres at +0.5.

        Convention: ROS puts the centre of the first pixel at 0, the core puts it at 0.5: cx =
        159.5 in a CameraInfo 320 pixels wide becomes 160. CameraInfo describes the whole sensor; a
        region of interest moves the principal point by its offset, and binning by 2 halves all: cx
        becomes 80 in the binned image, which is 79.5 in the convention of ROS.

        Args:
            size: height and width in pixels of an image that the lens is to be of, where one is
                at hand.

        Raises:
            ValueError: the calibration is not finite, has no focal length, is of another image
                size or of a model that is not known, whatever its coefficients: all zeros are a
                pinhole in one model and a fisheye in another.
        """
        left, top, width, height = self._read_out()
        across, down = (max(count, 1) for count in self.binning)
        own = height // down, width // across
        if size is not None and size != own:
            whole = (width, height) == (self.width, self.height)
            cut = '' if whole else f', region {width}x{height}'
            binned = '' if across == down == 1 else f', binned by {across}x{down}'
            raise ValueError(
                f'the image has {size[1]}x{size[0]} pixels (WxH), but the calibration is for '
                f'{self.width}x{self.height}{cut}{binned}'
            )
        matrix = np.array(self.k, np.float64).reshape(3, 3)
        if not matrix.any():
            raise ValueError(
                'expected focal lengths > 0 pixels, got fx=0 fy=0: is the camera calibrated?'
            )
        matrix[:2, 2] += 0.5 - np.array([left, top])
        matrix[0] /= across
        matrix[1] /= down
        return Lens.build(self.model, self.d, matrix, own)

    def _read_out(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the part of the sensor that is read."""
        left, top, width, height = self.region
        width, height = width or self.width, height or self.height
        if left + width > self.width or top + height > self.height:
            raise ValueError(
                f'the region of interest {width}x{height} at {left}, {top} reaches beyond the '
                f'image of {self.width}x{self.height} (WxH)'
            )
        return left, top, width, height


def _rectified_matrix(info: CameraInfo) -> NDArray[np.float64]:
    """The matrix of the undistorted image, which must look where the camera looks."""
    rotation = np.asarray(info.r, np.float64).reshape(3, 3)
    projection = np.asarray(info.p, np.float64).reshape(3, 4)
    if rotation.any() and not np.allclose(rotation, np.eye(3), atol=1e-6):
        raise ValueError(
            f'r must be the identity for images that are rectified, got {rotation.tolist()}: '
            'feed image_raw, which is undistorted here'
        )
    if projection[:, 3].any():
        raise ValueError(
            f'p must have zeros in its last column, got {projection[:, 3].tolist()}: it is of the '
            'second camera of a stereo pair; feed image_raw, which is undistorted here'
        )
    try:
        if not projection.any():
            raise ValueError('expected focal lengths > 0 pixels, got fx=0 fy=0')
        Lens.build('', (), projection[:, :3], (1, 1))
    except ValueError as error:
        raise ValueError(
            f'p describes the images that are rectified: {error}; let the driver fill p in, or '
            'feed image_raw with rectified: false, which k and d describe'
        ) from error
    return projection[:, :3]
