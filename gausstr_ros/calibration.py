"""CameraInfo -> intrinsics, checked against the image they are for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from gausstr_core.rig import CameraRig


def intrinsics(camera: str, info: CameraInfo, size: tuple[int, int]) -> NDArray[np.float64]:
    """The intrinsic matrix [3, 3] of an image, in pixels with pixel centres at +0.5.

    Convention: ROS puts the centre of the first pixel at 0, the core puts it at 0.5: cx = 159.5
    in a CameraInfo 320 pixels wide becomes 160.

    Args:
        camera: its name, for messages.
        info: the calibration; binning and a region of interest are not supported.
        size: height and width of the image in pixels.

    Raises:
        ValueError: the calibration is not finite, has no focal length, is of another image size
            or is of a region or a binned image; the message names the camera.
    """
    matrix = np.asarray(info.k, np.float64).reshape(3, 3).copy()
    if not np.isfinite(matrix).all():
        raise ValueError(f'camera {camera}: CameraInfo.k must be finite, got {matrix.tolist()}')
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise ValueError(
            f'camera {camera}: CameraInfo.k must have focal lengths > 0 pixels, got '
            f'fx={matrix[0, 0]:g} fy={matrix[1, 1]:g}: is the camera calibrated?'
        )
    if (info.height, info.width) != size:
        raise ValueError(
            f'camera {camera}: the image has {size[1]}x{size[0]} pixels (WxH), but its CameraInfo '
            f'is for {info.width}x{info.height}'
        )
    region = (info.roi.width or info.width, info.roi.height or info.height)
    if max(info.binning_x, info.binning_y) > 1 or region != (info.width, info.height):
        raise ValueError(
            f'camera {camera}: CameraInfo with binning ({info.binning_x}x{info.binning_y}) or a '
            f'region of interest ({region[0]}x{region[1]}) is not supported'
        )
    matrix[:2, 2] += 0.5
    return matrix


def build_rig(
    infos: dict[str, CameraInfo],
    sizes: dict[str, tuple[int, int]],
    ego_from_camera: dict[str, NDArray[np.float64]],
) -> CameraRig:
    """The rig of one set of images; the keys of `sizes` give the cameras and their order.

    Args:
        infos: the calibration of each camera.
        sizes: height and width in pixels of each camera's image.
        ego_from_camera: [4, 4] pose of each camera at its own stamp, in the ego frame at the
            stamp of the set.

    Raises:
        ValueError: a camera's calibration or pose is missing or wrong; the camera is named.
    """
    for camera in sizes:
        for what, known in (('CameraInfo', infos), ('transform', ego_from_camera)):
            if camera not in known:
                raise ValueError(f'camera {camera}: no {what}')
    matrices = [intrinsics(camera, infos[camera], size) for camera, size in sizes.items()]
    return CameraRig(
        tuple(sizes),
        torch.from_numpy(np.stack(matrices)).float(),
        torch.from_numpy(np.stack([ego_from_camera[camera] for camera in sizes])).float(),
        tuple(sizes.values()),
    )
