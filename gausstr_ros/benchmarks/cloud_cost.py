"""What a cloud that is used costs the worker."""

from __future__ import annotations

import time

import numpy as np
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_ros.benchmarks.transport_sender import LIDAR, scan
from gausstr_ros.cycle.lidar_view import lidar_depth
from gausstr_ros.listening.clouds import Scan
from gausstr_ros.listening.rig_source import PosedScan


def cloud_cost(repeat: int = 5) -> tuple[float, float]:
    """Seconds to read one cloud, and to make the depth of one camera of it; the best of some."""
    eye = torch.eye(4)[None]
    # looks along x: the optical axes x right, y down, z forward
    eye[0, :3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    k = torch.tensor([[[252.0, 0, 160], [0, 252, 90], [0, 0, 1]]])
    rig = CameraRig(('front',), k, eye, ((180, 320),))
    message, reading, depth = scan(), [], []
    for _ in range(repeat):
        posed = PosedScan(Scan(LIDAR, message), np.eye(4))
        started = time.perf_counter()
        posed.scan.points()
        read = time.perf_counter()
        lidar_depth([posed], rig)
        reading.append(read - started)
        depth.append(time.perf_counter() - read)
    return min(reading), min(depth)
