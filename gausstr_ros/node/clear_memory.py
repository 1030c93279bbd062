"""~/clear_memory: everything that is remembered is forgotten, as after the robot was carried."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import Trigger

ASKED_FOR = 'asked for'


class ClearMemory:
    """The service on a node; it is there in every state.

    Args:
        node: whose service it is.
        clear: forgets for a reason, and says why that cannot be, or ''.
    """

    def __init__(self, node: Node, clear: Callable[[str], str]) -> None:
        self._clear = clear
        node.create_service(Trigger, '~/clear_memory', self._on_request)

    def _on_request(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        refusal = self._clear(ASKED_FOR)
        response.success = not refusal
        response.message = refusal or 'ok'
        return response
