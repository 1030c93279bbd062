"""Messages as objects without ROS: their types, and CDR to and fro."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from gausstr_core.bags.reading import Message

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES: Mapping[str, Any] = STORE.types  # classes by name, such as sensor_msgs/msg/Image


def decode(message: Message) -> Any:
    """The message as an object with the fields of its ROS type.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        return STORE.deserialize_cdr(message.raw, message.kind)
    except Exception as error:  # struct.error, IndexError, ... by what is wrong
        text = str(error) or type(error).__name__
        raise ValueError(f'damaged {message.kind}: {text}') from error


def encode(message: Any) -> memoryview:
    """CDR of an object of one of `TYPES`."""
    return STORE.serialize_cdr(message, message.__msgtype__)


def learn_types(folder: Path, package: str) -> None:
    """Add the types of a package to `TYPES`, from its folder of .msg files."""
    for path in sorted(folder.glob('*.msg')):
        STORE.register(get_types_from_msg(path.read_text(), f'{package}/msg/{path.stem}'))
