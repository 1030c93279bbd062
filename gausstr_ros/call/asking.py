"""A participant in the graph that asks a node: calls its services, hears its topics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name

NODE = '/gausstr'
_LOOK = 0.1  # seconds between two looks at a condition where nothing comes


class Unanswered(Exception):
    """Nobody answered in time; the message says who was asked, and for how long."""


class Asker:
    """Asks one node.

    Args:
        node: its name with its namespace, such as /robot/gausstr.
        timeout: seconds that each answer may take.
        ros_arguments: as after --ros-args, such as an enclave.

    Raises:
        ValueError: that is no name of a node, or ROS does not start.
    """

    def __init__(self, node: str, timeout: float, ros_arguments: Sequence[str] = ()) -> None:
        self.name = '/' + node.lstrip('/')
        try:
            validate_full_topic_name(self.name)
        except InvalidTopicNameException:
            raise ValueError(
                f'--node {node!r} is no name: expected letters, digits, _ and /, as in '
                '/robot/gausstr'
            ) from None
        self._timeout = timeout
        self._context = rclpy.Context()
        try:
            self._node = self._joined(ros_arguments)
        except RuntimeError as error:  # of rcl: a domain or an enclave that cannot be
            why = str(error).partition(', at /')[0]  # its own file and line
            raise ValueError(f'ROS does not start: {why}') from error
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def _joined(self, ros_arguments: Sequence[str]) -> Node:
        """A node of our own, in a context of its own."""
        # rclpy's own handlers would keep Ctrl-C from ending the command
        rclpy.init(
            args=['gausstr-call', *ros_arguments],
            context=self._context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        return rclpy.create_node(
            f'gausstr_call_{os.getpid()}', context=self._context, start_parameter_services=False
        )

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def call(self, service: str, kind: Any, request: Any, work: float = 0.0) -> Any:
        """The reply of a service of the node.

        Args:
            service: its name below the node's.
            kind: its type.
            request: what is asked.
            work: seconds that the node may need for it, where these are more than the timeout.

        Raises:
            Unanswered: the service is not there, or does not reply.
        """
        name = f'{self.name}/{service}'
        client = self._node.create_client(kind, name)
        self.wait(client.service_is_ready, f'no service {name}')
        future = client.call_async(request)
        self.wait(future.done, f'no reply of {name}', work)
        return future.result()

    def hear(
        self, topic: str, kind: Any, take: Callable[[Any, float], Any], qos: QoSProfile
    ) -> None:
        """Hand each message on a topic to `take`, with the time at which it was published.

        That is in seconds of the sender's system clock, whatever the message's own stamp says.
        """

        def received(message: Any, info: dict[str, int]) -> None:
            take(message, info['source_timestamp'] / 1e9)

        self._node.create_subscription(kind, topic, received, qos)

    def wait(self, condition: Callable[[], bool], what: str, least: float = 0.0) -> None:
        """Spin until a condition holds.

        Raises:
            Unanswered: it does not within the timeout, or `least` seconds where these are more.
        """
        seconds = max(self._timeout, least)
        if not self.spin(condition, seconds):
            raise Unanswered(f'{what} within {seconds:g} s; {self._seen()}')

    def spin(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Spin until a condition holds, or for so many seconds; whether it holds."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._executor.spin_once(min(left, _LOOK))
        return True

    def _seen(self) -> str:
        """Which nodes are there, or what keeps them from being seen."""
        found = self._node.get_node_names_and_namespaces()
        names = {f'{space.rstrip("/")}/{name}' for name, space in found}
        domain = f'ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID") or 0}'
        return _advice(self.name, sorted(names - {self._node.get_fully_qualified_name()}), domain)


def _advice(wanted: str, nodes: Sequence[str], domain: str) -> str:
    if wanted in nodes:
        return f'{wanted} is there ({domain}), but does not answer: what does its log say?'
    if not nodes:
        return f'no node at all is seen with {domain}: is {wanted} started, with the same one?'
    likely = [node for node in nodes if 'gausstr' in node] or nodes
    return (
        f'with {domain} there is no node {wanted}, but {", ".join(likely[:5])}: choose by --node'
    )
