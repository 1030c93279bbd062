"""A lidar beside the cameras of the tester, and a record of all that they send."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cloud_messages import cloud, ground
from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from gausstr_core.bags.writing import BagWriter
from gausstr_ros.messages.serialised import type_name

LIDAR = '/lidar_top/points'
PERIOD = 50_000_000  # nanoseconds: 20 Hz
HEIGHT = 1.8  # metres above the ground
STREET = np.concatenate(
    [ground(), [[8.0, y, z] for y in np.arange(-4, 4, 0.1) for z in np.arange(0, 2, 0.1)]]
)  # with a wall ahead; [P, 3] in the ego frame, metres


class Recorded:
    """A publisher that keeps what it sends."""

    def __init__(self, publisher: Any, topic: str, sent: list[tuple[str, str, bytes]]) -> None:
        self._publisher, self._topic, self._sent = publisher, topic, sent

    def publish(self, message: Any) -> None:
        """Send and keep."""
        self._sent.append((self._topic, type_name(type(message)), serialize_message(message)))
        self._publisher.publish(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)


class LidarPlayer:
    """Plays sets of the tester with clouds at 20 Hz around them.

    Args:
        tester: its publishers are recorded from now on.
        topics: of the lidars.
    """

    def __init__(self, tester: Any, topics: tuple[str, ...] = (LIDAR,)) -> None:
        self.tester = tester
        self.sent: list[tuple[str, str, bytes]] = []  # topic, type, CDR
        self.clouds = {
            topic: Recorded(tester.publisher(PointCloud2, topic), topic, self.sent)
            for topic in topics
        }
        for camera in tester.cameras:
            for publishers, end in (
                (tester.images, 'image_raw/compressed'),
                (tester.infos, 'camera_info'),
            ):
                publishers[camera] = Recorded(publishers[camera], f'/{camera}/{end}', self.sent)
        tester.tf = Recorded(tester.tf, '/tf', self.sent)
        tester.tf_static = Recorded(tester.tf_static, '/tf_static', self.sent)

    def wait_matched(self) -> None:
        """Wait until the node hears everything."""
        self.tester.wait_matched()
        self.tester.wait(
            lambda: all(p.get_subscription_count() for p in self.clouds.values()), what='match'
        )

    def play_mounts(self, frame: str = 'lidar') -> None:
        """Tell where cameras and lidars are."""
        pose = np.eye(4)
        pose[2, 3] = HEIGHT
        self.tester.play_transforms()
        link = self.tester.transform('base_link', frame, self.tester.start, pose)
        self.tester.tf_static.publish(TFMessage(transforms=[link]))

    def cloud(self, stamp: int, **fields: Any) -> PointCloud2:
        """What the lidar sees of the street."""
        return cloud(STREET - [0, 0, HEIGHT], stamp=stamp, **fields)

    def play(
        self, index: int, change: Callable[[PointCloud2], PointCloud2 | None] = lambda each: each
    ) -> int:
        """A set and the clouds from before it to after it; returns its stamp.

        Args:
            index: of the set, 0.1 s from one to the next.
            change: gives what is sent in place of a cloud; None: nothing.
        """
        start = self.tester.start + index * 2 * PERIOD
        self.tester.play_ego(start - 2 * PERIOD, x=0.1 * (index - 1))
        for stamp in (start - PERIOD + 10_000_000, start + 10_000_000):
            for publisher in self.clouds.values():
                if (message := change(self.cloud(stamp))) is not None:
                    publisher.publish(message)
        return self.tester.play_set(index)

    def write_bag(self, path: Path) -> Path:
        """All that was sent, a millisecond apart, in its order."""
        kinds = {topic: kind for topic, kind, _ in self.sent}
        with BagWriter(path, kinds, latched=['/tf_static']) as writer:
            for place, (topic, _, raw) in enumerate(self.sent):
                writer.write(topic, self.tester.start + place * 1_000_000, raw)
        return path
