"""What a camera sent and its calibration -> what a pinhole in its place would have given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from gausstr_core.camera.camera_info import Calibration
from gausstr_core.camera.images import depth_image
from gausstr_core.camera.undistortion import Undistorter
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.messages.images import rgb_image


@dataclass(frozen=True)
class PinholeView:
    """One undistorted image; all arrays are native and contiguous, as torch wants them."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    intrinsics: NDArray[np.float64]  # [3, 3] pixels, pixel centres at +0.5
    depth: NDArray[np.float32] | None  # [h, w] z-depth in metres, any size; None: not measured


def pinhole_view(
    camera: str,
    shot: Shot,
    info: CameraInfo,
    undistorter: Undistorter,
    *,
    rectified: bool = False,
) -> PinholeView:
    """Decode and undistort what one camera gave at one stamp.

    Args:
        camera: its name, for messages and for the maps that the undistorter keeps.
        shot: image, and depth if it is measured.
        info: the calibration.
        undistorter: kept from set to set.
        rectified: the images are undistorted already.

    Raises:
        ValueError: an image cannot be read or does not fit its calibration; the camera is named.
    """
    try:
        image = rgb_image(shot.image)
        depth = None if shot.depth is None else depth_image(shot.depth)
    except ValueError as error:
        raise ValueError(f'camera {camera}: {error}') from error
    try:
        lens = Calibration.of(info, rectified=rectified).lens((image.shape[0], image.shape[1]))
    except ValueError as error:
        raise ValueError(f'camera {camera}: CameraInfo: {error}') from error
    undistortion = undistorter(camera, lens)
    if depth is not None:
        # what a sensor gives below 0 is no depth; to the pipeline it would mean something
        depth = np.ascontiguousarray(np.maximum(undistortion.depth(depth), 0), np.float32)
    return PinholeView(
        np.ascontiguousarray(undistortion.image(image)), undistortion.intrinsics, depth
    )
