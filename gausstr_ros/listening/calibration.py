"""CameraInfo -> how a camera projects, checked against the image it is for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from gausstr_core.camera.lens import Lens
from gausstr_core.camera.rig import CameraRig


def lens_from_info(
    camera: str, info: CameraInfo, size: tuple[int, int], *, rectified: bool = False
) -> Lens:
    """How a camera projects into its image, distortion included.

    Convention: ROS puts the centre of the first pixel at 0, the core puts it at 0.5: cx = 159.5
    in a CameraInfo 320 pixels wide becomes 160. CameraInfo describes the whole sensor; a region
    of interest moves the principal point by its offset, and binning by 2 halves all: cx becomes 80
    in the binned image, which is 79.5 in the convention of ROS.

    Args:
        camera: its name, for messages.
        info: the calibration.
        size: height and width of the image in pixels.
        rectified: the images are undistorted already (image_rect), and P describes them.

    Raises:
        ValueError: the calibration is not finite, has no focal length, is of another image size
            or of a model that is not known; the message names the camera.
    """
    try:
        return _lens(info, size, rectified=rectified)
    except ValueError as error:
        raise ValueError(f'camera {camera}: CameraInfo: {error}') from error


def _lens(info: CameraInfo, size: tuple[int, int], *, rectified: bool) -> Lens:
    left, top, width, height = _region(info)
    across, down = max(info.binning_x, 1), max(info.binning_y, 1)
    if (height // down, width // across) != size:
        cut = '' if (width, height) == (info.width, info.height) else f', region {width}x{height}'
        binned = '' if across == down == 1 else f', binned by {across}x{down}'
        raise ValueError(
            f'the image has {size[1]}x{size[0]} pixels (WxH), but it is for '
            f'{info.width}x{info.height}{cut}{binned}'
        )
    matrix = _rectified_matrix(info) if rectified else np.asarray(info.k, np.float64)
    matrix = matrix.reshape(3, 3).copy()
    if not matrix.any():
        raise ValueError(
            'expected focal lengths > 0, got fx=0 fy=0 in k: is the camera calibrated?'
        )
    matrix[:2, 2] += 0.5 - np.array([left, top])
    matrix[0] /= across
    matrix[1] /= down
    if rectified:
        return Lens.build('', (), matrix, size)
    return Lens.build(info.distortion_model, tuple(info.d), matrix, size)


def _region(info: CameraInfo) -> tuple[int, int, int, int]:
    """Left, top, width and height of the part of the sensor that is read; zeros mean all of it."""
    roi = info.roi
    width, height = roi.width or info.width, roi.height or info.height
    if roi.x_offset + width > info.width or roi.y_offset + height > info.height:
        raise ValueError(
            f'the region of interest {width}x{height} at {roi.x_offset}, {roi.y_offset} reaches '
            f'beyond the image of {info.width}x{info.height} (WxH)'
        )
    return roi.x_offset, roi.y_offset, width, height


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
    return projection[:, :3]


def build_rig(
    intrinsics: dict[str, NDArray[np.float64]],
    sizes: dict[str, tuple[int, int]],
    ego_from_camera: dict[str, NDArray[np.float64]],
) -> CameraRig:
    """The rig of one set of images; the keys of `sizes` give the cameras and their order.

    Args:
        intrinsics: [3, 3] of each camera's image, pixel centres at +0.5.
        sizes: height and width in pixels of each camera's image.
        ego_from_camera: [4, 4] pose of each camera at its own stamp, in the ego frame at the
            stamp of the set.

    Raises:
        ValueError: a camera's intrinsics or pose is missing or wrong; the camera is named.
    """
    for camera in sizes:
        for what, known in (('intrinsics', intrinsics), ('transform', ego_from_camera)):
            if camera not in known:
                raise ValueError(f'camera {camera}: no {what}')
    return CameraRig(
        tuple(sizes),
        torch.from_numpy(np.stack([intrinsics[camera] for camera in sizes])).float(),
        torch.from_numpy(np.stack([ego_from_camera[camera] for camera in sizes])).float(),
        tuple(sizes.values()),
    )
