"""Hears /diagnostics and the maps, and calls the node's services."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from cameras import PICTURES, Cameras
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from faults import Sign
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points

from gausstr_core.stamps import nanoseconds
from gausstr_msgs.msg import Category
from gausstr_msgs.srv import SetCategories

# Cells of a map that may differ from that of the same pictures: rounding at the threshold.
SAME = 0.002
# Of the node's grid: metres, columns along each side, and the heights of its 2D map.
EDGE, COLUMNS, BAND = 0.4, 100, (0.2, 2.2)


class Watcher:
    """Keeps the newest statuses, and the maps by the number of their cycle."""

    def __init__(self, node: Node, cameras: Cameras) -> None:
        self._cameras = cameras
        self._lock = threading.Lock()
        self._reports: list[tuple[float, dict[str, DiagnosticStatus]]] = []
        self.wanted: dict[int, Any] = {}  # picture -> map of a complete set
        self.correct: dict[int, float] = {}  # cycle -> when its correct map came
        self.maps = 0
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_report, 50)
        node.create_subscription(PointCloud2, '/gausstr/voxels', self._on_map, 10)
        self._state = node.create_client(ChangeState, '/gausstr/change_state')
        self._words = node.create_client(SetCategories, '/gausstr/set_categories')

    def learn(self) -> None:
        """Forget the maps to compare with; the next of each picture is right."""
        with self._lock:
            self.wanted.clear()

    def change_state(self, asked: str | int) -> Any:
        """Ask for a lifecycle transition by its label or number; returns the future."""
        request = ChangeState.Request()
        if isinstance(asked, str):
            request.transition.label = asked
        else:
            request.transition.id = asked
        return self._state.call_async(request)

    def set_words(self, names: list[str]) -> Any:
        """Ask for other words; returns the future."""
        return self._words.call_async(
            SetCategories.Request(categories=[Category(name=name) for name in names])
        )

    def counters(self, sign: Sign, camera: str) -> str:
        """What a sign's counter shows now."""
        with self._lock:
            return _value(self._reports[-1][1], sign, camera) if self._reports else ''

    def seen_at(self, sign: Sign, camera: str, since: float, before: str) -> float | None:
        """When a sign was first reported after a time."""
        with self._lock:
            reports = [(at, found) for at, found in self._reports if at > since]
        for at, found in reports:
            status = found.get(sign.status or camera)
            if status is None:
                continue
            if sign.text and sign.text.format(camera=camera) in status.message:
                return at
            if sign.counter and _value(found, sign, camera) != before:
                return at
        return None

    def quiet(self) -> bool:
        """Whether the newest report has nothing to say."""
        with self._lock:
            found = self._reports[-1][1] if self._reports else {}
        return bool(found) and all(
            status.level == DiagnosticStatus.OK
            for name, status in found.items()
            if name != 'clock'
        )

    def texts(self) -> dict[str, str]:
        """The newest messages."""
        with self._lock:
            found = self._reports[-1][1] if self._reports else {}
        return {name: status.message for name, status in found.items()}

    def _on_report(self, message: DiagnosticArray) -> None:
        found = {s.name.removeprefix('gausstr: '): s for s in message.status}
        with self._lock:
            self._reports = [*self._reports[-199:], (time.monotonic(), found)]

    def _on_map(self, message: PointCloud2) -> None:
        cycle = self._cameras.index_of.get(nanoseconds(message.header.stamp))
        if cycle is None:
            return
        cells = seen_from_above(message)
        with self._lock:
            self.maps += 1
            wanted = self.wanted.setdefault(cycle % PICTURES, cells)
            if np.mean(cells != wanted) <= SAME:
                self.correct.setdefault(cycle, time.monotonic())


def seen_from_above(cloud: PointCloud2) -> NDArray[np.bool_]:
    """Whether a column of the map holds an obstacle that is seen now; what is remembered of the
    cycles before must not change that."""
    points = read_points(cloud)
    low, high = BAND
    now = (points['age'] == 0) & (points['z'] > low) & (points['z'] < high)
    cells = np.zeros((COLUMNS, COLUMNS), np.bool_)
    place = [np.floor(points[axis][now] / EDGE).astype(int) + COLUMNS // 2 for axis in 'xy']
    cells[tuple(place)] = True
    return cells


def _value(found: dict[str, DiagnosticStatus], sign: Sign, camera: str) -> str:
    status = found.get(sign.status or camera)
    pairs = status.values if status is not None else []
    return next((pair.value for pair in pairs if pair.key == sign.counter), '')
