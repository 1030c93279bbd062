"""The publishers of the outputs, and who listens to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile

from gausstr_ros.health.diagnostics import Health
from gausstr_ros.listening.connections import unserved_subscriptions

_LOGGER = logging.getLogger(__name__)

# A latched map reaches who comes later, as Nav2's static layer expects; others may ignore it.
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NEWEST = QoSProfile(depth=1)
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)  # see connections.py


class OutputTopics:
    """One publisher per output.

    Args:
        node: whose publishers they are.
        types: name, relative to the node -> message class.
        health: is told of subscriptions that cannot be served.
    """

    def __init__(self, node: LifecycleNode, types: Mapping[str, type], health: Health) -> None:
        self._node = node
        self._health = health
        self._publishers: dict[str, Any] = {}
        with ExitStack() as opened:  # all of them, or none
            for name, kind in types.items():
                qos = LATCHED if name == 'occupancy_grid' else NEWEST
                made = node.create_lifecycle_publisher(
                    kind, f'~/{name}', qos, event_callbacks=NO_EVENTS
                )
                opened.callback(node.destroy_lifecycle_publisher, made)
                self._publishers[name] = made
            self._opened = opened.pop_all()
        self._unserved: dict[str, dict[tuple[int, ...], str]] = {name: {} for name in types}
        self._silent = False

    def wanted(self) -> list[str]:
        """The outputs that somebody listens to."""
        if self._silent:
            return []
        return [name for name, p in self._publishers.items() if p.get_subscription_count()]

    def publish(self, name: str, message: Any) -> None:
        """Send one output."""
        if not self._silent:
            self._publishers[name].publish(message)

    def silence(self) -> None:
        """Send nothing any more: a worker that was given up may still come to its end."""
        self._silent = True

    def check(self) -> None:
        """Tell of subscriptions that cannot be served, and when they are gone."""
        for name, publisher in self._publishers.items():
            found = unserved_subscriptions(self._node, publisher)
            for policy in {found[endpoint] for endpoint in found.keys() - self._unserved[name]}:
                text = f'~/{name}: a subscription asks for an incompatible {policy}, gets nothing'
                _LOGGER.warning(text)
                self._health.unheard(name, text)
            if self._unserved[name] and not found:
                self._health.heard_again(name)
            self._unserved[name] = found

    def close(self) -> None:
        """Take the outputs back."""
        self._opened.close()
