"""Topics on which nothing comes: in the log once, and in the diagnostics with what to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from gausstr_ros.health.diagnostics import Health
from gausstr_ros.listening.neighbours import advice, all_sources
from gausstr_ros.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds of silence before the log tells of it: drivers take a moment to start
LOOK_EVERY = 1.0  # seconds between two looks at the graph, which may have hundreds of topics


class AwaitedTopics:
    """Watches the topics of all cameras and lidars until each has been heard.

    Args:
        node: whose graph is looked at.
        settings: name the topics.
        subscriptions: to the topics, by stream (camera, or topic of a lidar) and name in the
            settings.
        health: is told where else there is what does not come.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        subscriptions: Mapping[tuple[str, str], Any],
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._health = health
        self._clock = clock
        self._since = self._next_look = clock()
        self._subscriptions = subscriptions
        self._sources = all_sources(settings)
        self._streams = {(camera.name, camera.image_topic) for camera in settings.cameras}
        self._streams |= {(topic, topic) for topic in settings.lidar_topics}
        self._silent = set(self._sources)  # nothing has come on them since the start
        self._hints: dict[tuple[str, str], str] = {}
        self._told: set[str] = set()  # hints that the log has
        self._listed = False

    def heard(self, stream: str, topic: str) -> None:
        """Note that a message has come; called with each of them."""
        self._silent.discard((stream, topic))

    def check(self) -> None:
        """Look for what does not come, and tell of it."""
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_EVERY
            self._look()
        self._log()

    def _look(self) -> None:
        names = {key: made.topic_name for key, made in self._subscriptions.items()}
        lacking = [key for key in self._sources if self._may_lack(key, names[key])]
        if not lacking and not any(self._hints.values()):
            return
        ours = f'{self._node.get_fully_qualified_name()}/'  # our pictures are nobody's input
        others = {
            name: kinds
            for name, kinds in self._node.get_topic_names_and_types()
            if name not in names.values() and not name.startswith(ours)
        }
        for key, source in self._sources.items():
            hint = advice(self._node, names[key], source, others) if key in lacking else ''
            if hint != self._hints.get(key, ''):
                self._hints[key] = hint
                self._health.hint(*key, hint)

    def _may_lack(self, key: tuple[str, str], name: str) -> bool:
        """Images and clouds may also stop, and come elsewhere; one CameraInfo may be enough."""
        if key in self._silent:
            return True
        return key in self._streams and not self._node.count_publishers(name)

    def _log(self) -> None:
        if self._clock() - self._since < PATIENCE:
            return
        if self._silent and not self._listed:
            self._listed = True
            awaited = [self._subscriptions[key].topic_name for key in sorted(self._silent)]
            _LOGGER.warning(
                'waiting for %s: nothing has come for %.0f s. Does the driver run, in this ROS '
                'domain? See `ros2 topic list`; topics are those of the parameters cameras, '
                'cameras.<name>.*_topic, image_transport and lidar.topic, and /diagnostics goes '
                'on to tell',
                ', '.join(dict.fromkeys(awaited)), PATIENCE,
            )  # fmt: skip
        elif self._listed and not self._silent:
            self._listed = False
            _LOGGER.info('all topics have been heard')
        for hint in dict.fromkeys(self._hints.values()):
            if hint and hint not in self._told:
                self._told.add(hint)
                _LOGGER.warning(hint)
