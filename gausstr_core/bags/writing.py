"""Writes bags of raw messages: MCAP with the types of ROS 2 Jazzy. All bags are written here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from gausstr_core.bags.messages import STORE
from gausstr_core.bags.reading import Message

_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
_Key = tuple[str, str, tuple[Qos, ...]]  # topic, type and profiles: a bag has one of each


class BagWriter:
    """Writes a bag aside; it appears in its place where the context ends without an error.

    Args:
        target: an .mcap file, or else a folder with a metadata.yaml.
        topics: name and type of every topic to `write`; those of messages to `copy` need not be.
        latched: topics to be offered transient local, so that a player latches them.
        notes: the custom data of the metadata.
        compress: whether chunks are compressed (zstd, as rosbag2's own MCAP writer can do).
        replace: whether a bag that is there gives way to the complete one.
        finish: called with the folder of the complete bag before it gets to its place; what it
            raises keeps it away.

    Raises:
        ValueError: the target exists.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        target: Path,
        topics: Mapping[str, str],
        *,
        latched: Collection[str] = (),
        notes: Mapping[str, str] | None = None,
        compress: bool = False,
        replace: bool = False,
        finish: Callable[[Path], None] = lambda _: None,
    ) -> None:
        if target.exists() and not replace:
            raise ValueError(f'{target} exists already, not overwriting it')
        self._target, self._aside = target, target.with_name(f'.{target.name}.part')
        self._topics, self._latched, self._notes = topics, latched, notes or {}
        self._compress, self._replace, self._finish = compress, replace, finish
        self._connections: dict[_Key, Connection] = {}

    def __enter__(self) -> BagWriter:
        """Open."""
        shutil.rmtree(self._aside, ignore_errors=True)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self._aside, ignore_errors=True)
            self._aside.mkdir(parents=True)
            self._writer = Writer(
                self._aside / self._target.name.removesuffix('.mcap'),
                version=9,
                storage_plugin=StoragePlugin.MCAP,
            )
            if self._compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            for key, value in self._notes.items():
                self._writer.set_custom_data(key, value)
            self._writer.open()
            stack.callback(self._writer.abort)  # does nothing where it is closed
            self._own = {
                topic: self._connection(
                    topic, kind, (_LATCHED,) * (topic in self._latched), typestore=STORE
                )
                for topic, kind in self._topics.items()
            }
            self._closing = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Put the bag in its place, or after an error remove what there is of it."""
        with self._closing:
            if kind is None:
                self._complete()

    def write(self, topic: str, logged: int, raw: bytes | memoryview) -> None:
        """Write the CDR bytes of a message that is logged at a time in ns."""
        self._writer.write(self._own[topic], logged, raw)

    def copy(self, message: Message) -> None:
        """Write a message of another bag as it is.

        Raises:
            ValueError: neither the bag nor we know the definition of its type.
        """
        source = message.connection
        key = message.topic, message.kind, message.profiles
        if key not in self._connections:
            known: dict[str, Any] = {'typestore': STORE}
            if source.digest and source.msgdef.format != MessageDefinitionFormat.NONE:
                known = {'msgdef': source.msgdef.data, 'rihs01': source.digest}
            elif source.msgtype not in STORE.types:
                raise ValueError(
                    f'{source.topic}: the bag holds no definition of {source.msgtype}'
                )
            self._connection(*key, **known)
        self._writer.write(self._connections[key], message.logged, message.raw)

    def _connection(
        self, topic: str, kind: str, profiles: tuple[Qos, ...], **known: Any
    ) -> Connection:
        connection = self._writer.add_connection(
            topic, kind, offered_qos_profiles=profiles, **known
        )
        self._connections[topic, kind, profiles] = connection
        return connection

    def _complete(self) -> None:
        self._writer.close()
        made = self._writer.path
        self._finish(made)
        if self._target.suffix == '.mcap':
            made = made / f'{made.name}.mcap'
        if self._replace and self._target.exists():
            os.replace(self._target, self._aside / '.replaced')
        os.replace(made, self._target)
