"""Measured depth of one camera: made of the scans of the lidars, and compared with the ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.depth.ground_scale import ground_ratio, is_plausible
from gausstr_core.foundation.depth.lidar_depth import depth_from_cloud
from gausstr_ros.listening.rig_source import PosedScan


def lidar_depth(scans: Sequence[PosedScan], rig: CameraRig) -> tuple[Tensor, str]:
    """The depth of one camera, and which of the scans cannot be used.

    Args:
        scans: that go with the camera's image.
        rig: the camera alone, at the size that is wanted, in the ego frame at its image's stamp.

    Returns:
        Dense z-depth [H, W] in metres, 0 where no scan says anything, and a text, empty where all
        can be used.

    Raises:
        ValueError: none of the scans can be used; camera and topic are named.
    """
    points, faults = [], []
    for each in scans:
        try:
            points.append(_moved(each.scan.points(), each.pose))
        except ValueError as error:
            faults.append(str(error))
    lost = f'camera {rig.names[0]}: {"; ".join(dict.fromkeys(faults))}' if faults else ''
    if not points:
        raise ValueError(lost)
    return depth_from_cloud(torch.from_numpy(np.concatenate(points)), rig)[0], lost


def wrong_scale(depth: Tensor, rig: CameraRig) -> str:
    """What to say of measured depth that the ground contradicts; '' where it does not.

    Args:
        depth: z-depth [h, w] in metres of one camera.
        rig: the camera alone.
    """
    ratio = ground_ratio(depth, rig)
    if ratio is None or is_plausible(ratio):
        return ''
    return (
        f'camera {rig.names[0]}: measured depth has the wrong scale: it is {ratio:.3g} times that '
        'of the ground (z = 0 of base_frame) where the camera looks down at it; 32FC1 is in '
        'metres, 16UC1 in millimetres, and base_frame lies on the ground'
    )


def _moved(points: NDArray[np.floating], pose: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points [P, 3] by a transform [4, 4]; the sum of what may be large is small."""
    moved = points.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    return moved.astype(np.float32)
