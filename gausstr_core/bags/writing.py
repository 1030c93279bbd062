"""Writes bags of raw messages: MCAP with the types of ROS 2 Jazzy. All bags are written here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from gausstr_core.bags.messages import definition_of, known_definition
from gausstr_core.bags.reading import Message

_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
_Key = tuple[str, str, tuple[Qos, ...]]  # topic, type and profiles: a bag has one of each


class BagWriter:
    """Writes a bag aside; it appears in its place where the context ends without an error.

    One process at a time writes a target. Two files ending in .mcap that were given the same are
    the same byte by byte, whatever they are called.

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
        ValueError: the target exists, or another process is writing it.
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
        self._target, self._aside = target, target.with_name(f'.{target.name}.part')
        self._lock = FileLock(target.with_name(f'.{target.name}.lock'), timeout=0)
        self._topics, self._latched, self._notes = topics, latched, notes or {}
        self._compress, self._replace, self._finish = compress, replace, finish
        self._connections: dict[_Key, Connection] = {}
        self._refused: dict[_Key, str] = {}
        self._refuse_existing()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from the target; the writer does so itself while it is open.

        Raises:
            ValueError: another process is writing it, or has written it meanwhile.
            OSError: its folder cannot be written.
        """
        self._target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise ValueError(f'another process is writing {self._target}') from None
        try:
            self._refuse_existing()
            yield
        finally:
            if self._lock.lock_counter == 1:
                # before it is released: whoever has opened it already finds out that it is gone
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> BagWriter:
        """Open."""
        with ExitStack() as stack:
            stack.enter_context(self.locked())
            shutil.rmtree(self._aside, ignore_errors=True)
            stack.callback(shutil.rmtree, self._aside, ignore_errors=True)
            self._aside.mkdir(parents=True)
            # its name gets into the file
            alone = self._target.suffix == '.mcap'
            self._writer = Writer(
                self._aside / ('bag' if alone else self._target.name),
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
                    (topic, kind, (_LATCHED,) * (topic in self._latched)), known_definition(kind)
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
            ValueError: it is not CDR, or neither the bag nor we know the definition of its type;
                the same for every message of the topic.
        """
        key = message.topic, message.kind, message.profiles
        if key in self._refused:
            raise ValueError(self._refused[key])
        if key not in self._connections:
            try:
                self._connection(key, definition_of(message.connection))
            except ValueError as error:
                self._refused[key] = str(error)
                raise
        self._writer.write(self._connections[key], message.logged, message.raw)

    def _connection(self, key: _Key, definition: tuple[str, str]) -> Connection:
        topic, kind, profiles = key
        text, digest = definition
        connection = self._writer.add_connection(
            topic, kind, msgdef=text, rihs01=digest, offered_qos_profiles=profiles
        )
        self._connections[key] = connection
        return connection

    def _refuse_existing(self) -> None:
        if self._target.exists() and not self._replace:
            raise ValueError(f'{self._target} exists already, not overwriting it')

    def _complete(self) -> None:
        self._writer.close()
        made = self._writer.path
        self._finish(made)
        if self._target.suffix == '.mcap':
            made = made / f'{made.name}.mcap'
        if self._replace and self._target.exists():
            os.replace(self._target, self._aside / '.replaced')
        os.replace(made, self._target)
