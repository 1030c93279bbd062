"""Declare the table of parameters on a node."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as Value

from gausstr_ros.settings.parameters import PARAMETERS, Parameter, camera_parameters
from gausstr_ros.settings.settings import read_settings

AUTOSTART = Parameter('autostart', True, 'Configure and activate when the process starts.')


def declare_parameters(node: Node) -> None:
    """Declare all parameters with descriptions and ranges.

    Raises:
        ValueError: a value given from outside is of another type or out of range.
    """
    _refuse_empty_lists(node)
    _declare(node, AUTOSTART, read_only=True)  # looked at before anybody could set it
    for parameter in PARAMETERS:
        _declare(node, parameter)
    for camera in node.get_parameter('cameras').value:
        for parameter in camera_parameters(camera):
            _declare(node, parameter)


def parameter_values(node: Node) -> dict[str, Any]:
    """Name -> value of every parameter, and of what was given from outside under another name.

    A misspelt name in a parameter file shows up here and is refused by `read_settings`.
    """
    names = [parameter.name for parameter in PARAMETERS]
    for camera in node.get_parameter('cameras').value:
        for parameter in camera_parameters(camera):
            names.append(parameter.name)
            if not node.has_parameter(parameter.name):
                _declare(node, parameter)
    values = {name: node.get_parameter(name).value for name in names}
    for name, given in node._parameter_overrides.items():
        if not node.has_parameter(name) and not name.startswith('qos_overrides.'):
            values[name] = given.value
    return values


def _refuse_empty_lists(node: Node) -> None:
    """Raise ValueError where `[]` was given: ROS gives it no type, and could not even read it."""
    given = {
        name: [] if value.type_ == Value.Type.NOT_SET else value.value
        for name, value in node._parameter_overrides.items()
        if not name.startswith('qos_overrides.')
    }
    if [] in given.values():
        read_settings(given)  # says of each what it should be
        names = [name for name, value in given.items() if value == []]
        raise ValueError(f'parameter {", ".join(names)} must be a bool, got []')


def _declare(node: Node, parameter: Parameter, *, read_only: bool = False) -> None:
    descriptor = ParameterDescriptor(description=parameter.description, read_only=read_only)
    when = 'may change while the node runs' if parameter.live else 'read at configure'
    choices = [f'one of {", ".join(parameter.choices)}'] if parameter.choices else []
    descriptor.additional_constraints = '; '.join([*choices, when])
    if parameter.range and isinstance(parameter.default, float):
        low, high = parameter.range
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif parameter.range:
        low, high = map(int, parameter.range)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    try:
        node.declare_parameter(parameter.name, parameter.default, descriptor)
    except ParameterException as error:
        raise ValueError(f'parameter {parameter.name}: {error}') from error
