"""A synthetic lidar at 20 Hz, and what may be wrong with its clouds."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from gausstr_ros.messages.stamps import header_message

TOPIC, FRAME, HEIGHT = '/lidar_top/points', 'lidar', 1.8
PERIOD = 50_000_000  # nanoseconds
POINTS = 4000
OLD = 700_000_000  # nanoseconds by which the stamps of a wrong clock are behind
FIELDS = [
    PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
    for place, name in enumerate('xyz')
]


class Lidar:
    """Gives the clouds of a cycle of the cameras; `fault` is the name of the one in force."""

    def __init__(self) -> None:
        chance = np.random.default_rng(0)
        distance, angle = chance.uniform(1, 25, POINTS), chance.uniform(0, 2 * np.pi, POINTS)
        ground = [distance * np.cos(angle), distance * np.sin(angle), np.full(POINTS, -HEIGHT)]
        self._points = np.stack(ground, -1).astype('<f4')
        self.fault = ''

    def scans(self, base: int) -> list[tuple[int, PointCloud2]]:
        """(nanoseconds after `base`, cloud) of one cycle."""
        if self.fault == 'lidar silent':
            return []
        points = self._points
        if self.fault == 'lidar all NaN':
            points = np.full_like(points, np.nan)
        late = OLD if self.fault == 'lidar old' else 0
        return [(after, _cloud(base + after - late, points)) for after in (0, PERIOD)]


def _cloud(stamp: int, points: np.ndarray) -> PointCloud2:
    return PointCloud2(
        header=header_message(stamp, FRAME),
        height=1,
        width=len(points),
        fields=FIELDS,
        point_step=12,
        row_step=12 * len(points),
        data=array.array('B', points.tobytes()),
    )
