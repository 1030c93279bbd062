"""The scans of the lidars -> the depth that a camera would have measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.depth.lidar_depth import depth_from_cloud
from gausstr_ros.listening.rig_source import PosedScan


def lidar_depth(scans: Sequence[PosedScan], rig: CameraRig) -> Tensor:
    """Dense z-depth [H, W] in metres of one camera; 0 where no scan says anything.

    Args:
        scans: that go with the camera's image.
        rig: the camera alone, at the size that is wanted, in the ego frame at its image's stamp.

    Raises:
        ValueError: none of the scans can be used; camera and topic are named.
    """
    points, faults = [], []
    for each in scans:
        try:
            points.append(_moved(each.scan.points(), each.pose))
        except ValueError as error:
            faults.append(str(error))
    if not points:
        raise ValueError(f'camera {rig.names[0]}: {"; ".join(dict.fromkeys(faults))}')
    return depth_from_cloud(torch.from_numpy(np.concatenate(points)), rig)[0]


def _moved(points: NDArray[np.floating], pose: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points [P, 3] by a transform [4, 4]; the sum of what may be large is small."""
    moved = points.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    return moved.astype(np.float32)
