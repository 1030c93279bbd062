"""Messages as bytes that depend on nothing but their content."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import serialize_message

from gausstr_core.bags.messages import zero_padded


def type_name(kind: type) -> str:
    """The name of a message class, such as sensor_msgs/msg/Image."""
    return f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'


def serialised(message: Any) -> bytes:
    """CDR of a message, zeros between its fields, where rclpy leaves what lay in memory."""
    return bytes(zero_padded(serialize_message(message), type_name(type(message))))
