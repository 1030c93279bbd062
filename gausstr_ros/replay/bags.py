"""Reading and writing rosbag2 bags with `rosbags`: raw CDR in, raw CDR out."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rclpy.serialization import serialize_message
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
from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

# What a damaged bag can look like from inside its reader.
_UNREADABLE = (ReaderError, OSError, ValueError, AssertionError, LookupError, EOFError, TypeError)
_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)


class BagReader:
    """A bag as (connection, time, raw CDR); used as a context.

    Raises:
        ValueError: the bag is missing or damaged; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> BagReader:
        """Open."""
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except _UNREADABLE as error:
            raise ValueError(f'{self.path} is not a readable bag: {_text(error)}') from error
        self.topics = Counter({c.topic: c.msgcount for c in self._reader.connections})
        self.count = self._reader.message_count
        self.duration = self._reader.duration
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self._reader.close()

    def messages(self, *topics: str) -> Iterator[tuple[Connection, int, bytes]]:
        """The messages of some topics, or of all, in the order of the bag."""
        chosen = [c for c in self._reader.connections if not topics or c.topic in topics]
        if not chosen:
            return
        stream = self._reader.messages(chosen)
        while True:
            try:
                found = next(stream, None)
            except _UNREADABLE as error:
                raise ValueError(f'{self.path} is damaged: {_text(error)}') from error
            if found is None:
                return
            yield found


class BagWriter:
    """Writes MCAP aside; `complete` puts it in its place, as a file or as a folder.

    Raises:
        ValueError: the target exists.
    """

    def __init__(self, target: Path) -> None:
        if target.exists():
            raise ValueError(f'{target} exists already, not overwriting it')
        self._target = target
        self._aside = target.with_name(f'.{target.name}.partial')
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[Any, Connection] = {}
        self._open = False

    def __enter__(self) -> BagWriter:
        """Open."""
        shutil.rmtree(self._aside, ignore_errors=True)
        self._aside.mkdir(parents=True)
        name = self._target.name.removesuffix('.mcap')
        self._writer = Writer(self._aside / name, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what is incomplete."""
        if self._open:
            self._writer.abort()
        shutil.rmtree(self._aside, ignore_errors=True)

    def add(self, topic: str, kind: type, *, latched: bool = False) -> None:
        """Prepare a topic of a ROS message class."""
        name = '/'.join((kind.__module__.split('.')[0], 'msg', kind.__name__))
        if name not in self._store.types:
            self._register(name.split('/')[0])
        self._connections[topic] = self._writer.add_connection(
            topic, name, typestore=self._store, offered_qos_profiles=[_LATCHED] * latched
        )

    def write(self, topic: str, message: Any, now: int) -> None:
        """Write a ROS message, or one that is serialised; the topic must have been added."""
        raw = message if isinstance(message, bytes) else serialize_message(message)
        self._writer.write(self._connections[topic], now, raw)

    def copy(self, connection: Connection, raw: bytes, now: int) -> None:
        """Write a message of another bag as it is.

        Raises:
            ValueError: neither the bag nor we know the definition of its type.
        """
        profiles = connection.ext.offered_qos_profiles
        key = (connection.topic, connection.msgtype, repr(profiles))
        if key not in self._connections:
            known: dict[str, Any] = {'typestore': self._store}
            if connection.digest and connection.msgdef.format != MessageDefinitionFormat.NONE:
                known = {'msgdef': connection.msgdef.data, 'rihs01': connection.digest}
            elif connection.msgtype not in self._store.types:
                raise ValueError(
                    f'{connection.topic}: the bag holds no definition of {connection.msgtype}'
                )
            self._connections[key] = self._writer.add_connection(
                connection.topic, connection.msgtype, offered_qos_profiles=profiles, **known
            )
        self._writer.write(self._connections[key], now, raw)

    def complete(self) -> None:
        """Finish the bag and move it to its place."""
        self._writer.close()
        self._open = False
        folder = self._writer.path
        if self._target.suffix == '.mcap':
            os.replace(folder / f'{folder.name}.mcap', self._target)
        else:
            os.replace(folder, self._target)

    def _register(self, package: str) -> None:
        """Learn the messages of a package from its share folder."""
        for path in sorted((Path(get_package_share_directory(package)) / 'msg').glob('*.msg')):
            kinds = get_types_from_msg(path.read_text(), f'{package}/msg/{path.stem}')
            self._store.register(kinds)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
