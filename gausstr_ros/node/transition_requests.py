"""Requests for transitions of the lifecycle that its state does not allow.

A lifecycle manager such as Nav2's may ask for `configure` while the node is active, or by a number
that is none. rclpy 7 lets the error of its state machine out of the service's callback, which ends
the process without a reply (rclpy 1209).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions
from rclpy.lifecycle import LifecycleNode

from gausstr_ros.health.diagnostics import Health
from gausstr_ros.health.fault_log import FaultLog

_LOGGER = logging.getLogger(__name__)


class TransitionRequests:
    """Answers `~/change_state` in place of rclpy: whatever is asked for gets a reply.

    A transition that the state does not allow is refused, the state is kept, and the log has what
    would be possible.

    Args:
        node: whose services these are; it has them from its construction on.
        health: told how many are refused.
    """

    def __init__(self, node: LifecycleNode, health: Health) -> None:
        by_name = {service.srv_name.rpartition('/')[2]: service for service in node.services}
        self._change: Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response]
        self._change = by_name['change_state'].callback
        self._available = by_name['get_available_transitions'].callback
        by_name['change_state'].callback = self._answer
        self._health = health
        self._refused = 0
        self._log = FaultLog(_LOGGER)

    def _answer(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        asked, possible = request.transition, self._possible()
        known = asked.label in possible if asked.label else asked.id in possible.values()
        if known:
            return self._change(request, response)
        self._refuse(asked.label or str(asked.id), possible)
        response.success = False
        return response

    def _possible(self) -> dict[str, int]:
        """The transitions that the state allows: label -> number."""
        found = self._available(
            GetAvailableTransitions.Request(), GetAvailableTransitions.Response()
        )
        each = (description.transition for description in found.available_transitions)
        return {transition.label: transition.id for transition in each}

    def _refuse(self, asked: str, possible: dict[str, int]) -> None:
        self._refused += 1
        self._health.note('transitions refused', str(self._refused))
        names = ', '.join(f'{label} ({number})' for label, number in possible.items())
        self._log.note(
            f'change_state: refused transition {asked}; possible in this state: {names or "none"}',
            level=logging.WARNING,
        )
