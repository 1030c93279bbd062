"""Messages as objects without ROS: their types, and CDR to and fro."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from gausstr_core.bags.reading import CDR, Message, encoding_of
from gausstr_core.process.reasons import reason

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES: Mapping[str, Any] = STORE.types  # classes by name, such as sensor_msgs/msg/Image

_IDL = f'{"=" * 80}\nIDL: '  # how rosbag2 begins a definition in IDL
_NO_HASH = f'RIHS01_{"0" * 64}'


def decode(message: Message) -> Any:
    """The message as an object with the fields of its ROS type.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        return STORE.deserialize_cdr(message.raw, message.kind)
    except Exception as error:  # struct.error, IndexError, ... by what is wrong
        raise ValueError(f'damaged {message.kind}: {reason(error)}') from error


def encode(message: Any) -> memoryview:
    """CDR of an object of one of `TYPES`."""
    return STORE.serialize_cdr(message, message.__msgtype__)


def learn_types(folder: Path, package: str) -> None:
    """Add the types of a package to `TYPES`, from its folder of .msg files."""
    for path in sorted(folder.glob('*.msg')):
        STORE.register(get_types_from_msg(path.read_text(), f'{package}/msg/{path.stem}'))


def zero_padded(raw: bytes, kind: str) -> memoryview:
    """The same message, the bytes between its fields zero.

    rclpy leaves in them what lay in memory, so that two messages of one content differ.
    """
    return STORE.serialize_cdr(STORE.deserialize_cdr(raw, kind), kind)


def known_definition(kind: str) -> tuple[str, str]:
    """Text and hash of one of `TYPES`."""
    return STORE.generate_msgdef(kind, ros_version=2)[0], STORE.hash_rihs01(kind)


def definition_of(connection: Connection) -> tuple[str, str]:
    """Text and hash of the type of a bag's topic, as the bag has it or else of `TYPES`.

    Raises:
        ValueError: the topic is not CDR, or nobody knows the definition.
    """
    topic, kind, own = connection.topic, connection.msgtype, connection.msgdef
    if (encoding := encoding_of(connection)) != CDR:
        raise ValueError(f'{topic}: {kind} is serialised as {encoding!r}, expected {CDR!r}')
    idl = own.format == MessageDefinitionFormat.IDL and own.data.startswith(_IDL)
    if own.data and (idl or own.format == MessageDefinitionFormat.MSG):
        return own.data, connection.digest or _hash(own, kind)
    if kind in TYPES:
        return known_definition(kind)
    raise ValueError(f'{topic}: the bag holds no definition of {kind}')


def _hash(definition: MessageDefinition, kind: str) -> str:
    """Of a type, which an MCAP file does not hold; zeros of one that rosbags cannot read."""
    store = get_typestore(Stores.EMPTY)
    try:
        if definition.format == MessageDefinitionFormat.MSG:
            store.register(get_types_from_msg(definition.data, kind))
        else:
            for part in definition.data.split(_IDL)[1:]:
                store.register(get_types_from_idl(part.partition('\n')[2]))
        return store.hash_rihs01(kind)
    except Exception:  # a parser's: wstring, for one, is unknown to it, and copied all the same
        return _NO_HASH
