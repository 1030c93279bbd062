"""Parameters that are set while the node is configured: some change, the others are refused."""

from __future__ import annotations

from collections.abc import Callable

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from gausstr_ros.settings.declaration import parameter_values
from gausstr_ros.settings.parameters import live_parameters
from gausstr_ros.settings.settings import Settings, read_settings


class LiveParameters:
    """Lets parameters change from now until `close`; all that one request sets, or none of it.

    Args:
        node: whose parameters they are.
        check: called with the settings as they would be; raises ValueError where that cannot be.
        use: called with the settings once they hold.
    """

    def __init__(
        self, node: Node, check: Callable[[Settings], None], use: Callable[[Settings], None]
    ) -> None:
        self._node = node
        self._check = check
        self._use = use
        node.add_on_set_parameters_callback(self._refuse)
        node.add_post_set_parameters_callback(self._take)

    def close(self) -> None:
        """Look at no parameter any more."""
        self._node.remove_on_set_parameters_callback(self._refuse)
        self._node.remove_post_set_parameters_callback(self._take)

    def _refuse(self, changed: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in changed if p.name != 'use_sim_time'}
        values = parameter_values(self._node)
        late = changes.keys() - live_parameters(values['cameras'])
        if late:
            reason = f'{", ".join(sorted(late))}: read when the node is configured; clean it up'
            return SetParametersResult(successful=False, reason=f'{reason} first')
        try:
            if changes:
                self._check(read_settings({**values, **changes}))
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take(self, changed: list[Parameter]) -> None:
        if any(parameter.name != 'use_sim_time' for parameter in changed):
            self._use(read_settings(parameter_values(self._node)))
