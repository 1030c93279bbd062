"""What the demo hears from the node: kept as raw bytes while the drive lasts, decoded after.

Decoding a cycle in Python costs as much as a tenth of mapping it; on two cores that would slow
down what is being measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from gausstr_msgs.msg import Categories, Category
from gausstr_msgs.srv import SetCategories
from gausstr_ros.demo.bag_player import header_stamp
from gausstr_ros.demo.processes import DemoError
from gausstr_ros.demo.spinning import SpinningThread
from gausstr_ros.messages.serialised import type_name

NODE = '/gausstr'
_LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Heard:
    """One message: when it came (`time.monotonic`), its stamp in ns, its bytes."""

    time: float
    stamp: int
    raw: bytes


class Recorder:
    """A ROS node that listens to all outputs and calls the service.

    Args:
        cameras: whose rendered images to record.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        self.outputs: dict[str, type] = {
            f'{NODE}/occupancy_grid': OccupancyGrid,
            f'{NODE}/voxels': PointCloud2,
            f'{NODE}/gaussians': MarkerArray,
        }
        for camera in cameras:
            self.outputs[f'{NODE}/{camera}/depth'] = Image
            self.outputs[f'{NODE}/{camera}/semantics'] = Image
        self._kinds = {
            **self.outputs,
            f'{NODE}/categories': Categories,
            '/diagnostics': DiagnosticArray,
        }
        self.heard: dict[str, list[Heard]] = {topic: [] for topic in self._kinds}
        self._changed = threading.Condition()
        self._node = rclpy.create_node('gausstr_demo')
        for topic, kind in self._kinds.items():
            self._listen(topic, kind)
        self._client = self._node.create_client(SetCategories, f'{NODE}/set_categories')
        self._spinning = SpinningThread(self._node)

    def close(self) -> None:
        """Stop listening."""
        self._spinning.close()
        self._node.destroy_node()

    def ready(self) -> bool:
        """Whether the node offers its service, its words and every output."""
        return (
            self._client.service_is_ready()
            and bool(self.heard[f'{NODE}/categories'])
            and not self.unoffered()
        )

    def unoffered(self) -> list[str]:
        """Outputs that nobody publishes yet."""
        return [topic for topic in self.outputs if not self._node.count_publishers(topic)]

    def stamps(self, topic: str) -> list[int]:
        """Stamps heard on a topic so far."""
        return [entry.stamp for entry in self.heard[topic]]

    def complete_stamps(self) -> list[int]:
        """Stamps for which every output came."""
        return sorted(set.intersection(*(set(self.stamps(topic)) for topic in self.outputs)))

    def silent(self) -> list[str]:
        """Outputs that never came, with their types."""
        return [
            f'{topic} ({type_name(kind)})'
            for topic, kind in self.outputs.items()
            if not self.heard[topic]
        ]

    def wait(
        self,
        condition: Callable[[], bool],
        timeout: float,
        expected: Callable[[], str],
        watch: Callable[[], None],
    ) -> None:
        """Wait until `condition()`; it is looked at as messages come.

        Args:
            condition: what to wait for.
            timeout: seconds.
            expected: says what is missing, called when time is up.
            watch: raises when waiting has become pointless.

        Raises:
            DemoError: time is up; with the faults that the node reported.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while not condition():
                watch()
                if time.monotonic() > end:
                    faults = ''.join(f'\n    node: {fault}' for fault in self.faults())
                    raise DemoError(f'{expected()} (waited {timeout:g} s){faults}')
                self._changed.wait(0.1)  # the graph can change without a message

    def set_categories(self, categories: list[Category]) -> Any:
        """Call the service; a future."""
        return self._client.call_async(SetCategories.Request(categories=categories))

    def first_use(self, vocabulary: str) -> int:
        """Stamp of the first set that used a vocabulary, by ~/categories; 0 if not said yet."""
        stamps = [
            header_stamp(entry.raw)
            for entry in self.heard[f'{NODE}/categories']
            if deserialize_message(entry.raw, Categories).vocabulary_id == vocabulary
        ]
        return max(stamps, default=0)

    def decode(self, topic: str) -> dict[int, Any]:
        """The messages of a topic by stamp."""
        kind = self._kinds[topic]
        return {e.stamp: deserialize_message(e.raw, kind) for e in self.heard[topic]}

    def decode_all(self, topic: str) -> list[Any]:
        """The messages of a topic in the order they came."""
        return [deserialize_message(e.raw, self._kinds[topic]) for e in self.heard[topic]]

    def faults(self) -> list[str]:
        """Errors and warnings in the diagnostics, each once, in the order they came."""
        found = {
            f'{status.name}: {status.message}': None
            for report in self.decode_all('/diagnostics')
            for status in report.status
            if status.level != DiagnosticStatus.OK
        }
        return list(found)

    def _listen(self, topic: str, kind: type) -> None:
        # the stamp of a MarkerArray is that of its first marker, behind the count of markers
        skip = 4 if kind is MarkerArray else 0

        def store(raw: bytes) -> None:
            stamp = header_stamp(raw[:4] + raw[4 + skip : 12 + skip])
            with self._changed:
                self.heard[topic].append(Heard(time.monotonic(), stamp, raw))
                self._changed.notify_all()

        profile = _LATCHED if kind is Categories else QoSProfile(depth=10)
        self._node.create_subscription(kind, topic, store, profile, raw=True)
