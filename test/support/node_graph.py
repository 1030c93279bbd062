"""What a node offers and hears, asked of the ROS graph."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from gausstr_ros.node.lifecycle_node import GaussTRNode

SMALL = {'preset': 'tiny', 'weights': 'untrained', 'cameras': ['left', 'right']}


@contextlib.contextmanager
def active_node(namespace: str = '', **parameters: Any) -> Iterator[GaussTRNode]:
    """A node with a tiny model that is configured and active; `a__b` stands for a.b."""
    values = SMALL | {name.replace('__', '.'): value for name, value in parameters.items()}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    # rclpy's lifecycle nodes, destroyed or not, stay in the graph until they are collected: one of
    # this name, of an earlier test, would be asked in place of this one
    gc.collect()
    node = GaussTRNode(namespace=namespace, parameter_overrides=overrides)
    try:
        node.trigger_configure()
        assert not node.fault, node.fault
        node.trigger_activate()
        assert not node.fault, node.fault
        yield node
    finally:
        node.close()
        node.destroy_node()


def endpoints(node: Node) -> dict[str, dict[str, str]]:
    """publish, subscribe, serve, call -> name -> type, of all that the node has open."""
    place = (node.get_name(), node.get_namespace())
    found = {
        'publish': node.get_publisher_names_and_types_by_node(*place),
        'subscribe': node.get_subscriber_names_and_types_by_node(*place),
        'serve': node.get_service_names_and_types_by_node(*place),
        'call': node.get_client_names_and_types_by_node(*place),
    }
    return {
        verb: {name: ' '.join(kinds) for name, kinds in entries} for verb, entries in found.items()
    }


def eventually(look: Callable[[], Any], expected: Any, timeout: float = 20.0) -> Any:
    """What is seen once it is as expected, or at last: the graph follows a moment later."""
    end = time.monotonic() + timeout
    while (seen := look()) != expected and time.monotonic() < end:
        time.sleep(0.05)
    return seen
