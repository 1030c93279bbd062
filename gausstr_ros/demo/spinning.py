"""Nodes whose callbacks run in a thread of their own."""

from __future__ import annotations

import contextlib
import threading

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

END_WITHIN = 0.1  # seconds from `close` to its effect, where nothing comes


class SpinningThread:
    """Runs the callbacks of nodes from now until `close`.

    An executor must not be shut down while it spins: that destroys the guard condition which its
    own callbacks trigger. So the thread ends first.
    """

    def __init__(self, *nodes: Node) -> None:
        self._executor = SingleThreadedExecutor()
        for node in nodes:
            self._executor.add_node(node)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._spin, name='spinning', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the callback that runs; the nodes stay."""
        self._closed.set()
        self._thread.join()
        self._executor.shutdown()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not self._closed.is_set():
                self._executor.spin_once(END_WITHIN)
