"""Opens bags and reads raw messages by topic and time: the only file that knows `rosbags`.

`rosbags` finds a span of time through the chunk index of an MCAP file, or the time index of an
sqlite3 one, so that a set costs two or three chunks and not the file. Readers are opened where
they are first needed, one pool per process and thread: nothing open crosses a fork or is pickled.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.typesys import Stores, get_typestore

from gausstr_training.bags.discovery import DESCRIPTION, FILES, bag_files

MOST_OPEN = 16  # bags per thread; the one not used for longest is closed first
_STORE = get_typestore(Stores.ROS2_JAZZY)
_INHERITED: list[Any] = []


class Message(NamedTuple):
    """A message as it lies in the bag."""

    topic: str
    kind: str  # such as sensor_msgs/msg/Image
    logged: int  # ns: when it was recorded, which is not its own stamp
    raw: bytes  # CDR


class Topic(NamedTuple):
    """A topic of a bag."""

    name: str
    kind: str
    messages: int


class _Pool(threading.local):
    def __init__(self) -> None:
        self.process = os.getpid()
        self.readers: OrderedDict[tuple[Path, str], Reader] = OrderedDict()

    def reader(self, bag: Path, file: str, version: str) -> Reader:
        if self.process != os.getpid():
            # Forked: files, and folders of unpacked bags, belong to the parent. To drop them
            # would close or delete them, so they are kept and left alone.
            _INHERITED.append(self.readers)
            _Pool.__init__(self)
            # OpenCV's threads did not come along, and a worker has one core to itself
            cv2.setNumThreads(0)
        key = (bag, version)
        if key not in self.readers:
            if version_of(bag) != version:
                raise ValueError(f'{bag} has changed since it was indexed')
            self.readers[key] = _open(bag / file if file else bag)
        self.readers.move_to_end(key)
        while len(self.readers) > MOST_OPEN:
            self.readers.popitem(last=False)[1].close()
        return self.readers[key]


_POOL = _Pool()


def version_of(bag: Path) -> str:
    """Names, sizes and times of change of the bag's files: differs when the bag was rewritten."""
    parts = []
    for file in bag_files(bag):
        about = file.stat()
        parts.append(f'{file.name} {about.st_size} {about.st_mtime_ns}')
    return '\n'.join(parts)


def read_span(
    bag: Path, file: str, version: str, topics: Collection[str], first: int, last: int
) -> list[Message]:
    """The messages of some topics recorded from `first` to `last` ns, both included.

    Args:
        bag: folder or file.
        file: `Bag.file` of it.
        version: `version_of` the bag that is meant.
        topics: their names.
        first, last: nanoseconds.

    Raises:
        ValueError: the bag is missing, unreadable or damaged; the message names it.
    """
    reader = _POOL.reader(bag, file, version)
    return list(_messages(bag, reader, topics, first, last + 1))


class Bag:
    """A bag to be read once from the beginning to the end; used as a context.

    Raises:
        ValueError: as in `read_span`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Bag:
        """Open."""
        self._reader = _open(self.path)
        self.topics = [Topic(c.topic, c.msgtype, c.msgcount) for c in self._reader.connections]
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self._reader.close()

    @property
    def notes(self) -> dict[str, str]:
        """The custom data of the bag's metadata.yaml; a file without one has none."""
        return dict(self._reader.storage.metadata.custom or {})

    @property
    def file(self) -> str:
        """The one file of a folder that says all by itself, '' where there is none.

        It opens four times as fast as the folder, whose YAML has to be read.
        """
        storage = self._reader.storage
        files = [file for file in bag_files(self.path) if file.suffix in FILES]
        whole = isinstance(storage, DirectoryReader) and len(storage.storages) == len(files) == 1
        outer = storage.metadata.compression_mode in ('file', 'message')
        return files[0].name if whole and not outer else ''

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """The messages of some topics in the order of the bag."""
        return _messages(self.path, self._reader, topics, None, None)


def decode(message: Message) -> Any:
    """The message as an object with the fields of its ROS type.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        return _STORE.deserialize_cdr(message.raw, message.kind)
    except Exception as error:  # struct.error, IndexError, ... by what is wrong
        raise ValueError(f'damaged {message.kind}: {_text(error)}') from error


def _open(bag: Path) -> Reader:
    if bag.is_dir() and not (bag / DESCRIPTION).is_file():
        raise ValueError(f'{bag / DESCRIPTION} is missing')
    try:
        reader = Reader(bag)
        reader.open()
    except Exception as error:  # each storage has errors of its own
        raise ValueError(f'{bag} is not a readable bag: {_text(error)}') from error
    return reader


def _messages(
    bag: Path, reader: Reader, topics: Collection[str], start: int | None, stop: int | None
) -> Iterator[Message]:
    chosen = [c for c in reader.connections if c.topic in topics]
    if not chosen:
        return
    try:
        for connection, logged, raw in reader.messages(chosen, start, stop):
            yield Message(connection.topic, connection.msgtype, logged, raw)
    except Exception as error:
        raise ValueError(f'{bag} is damaged: {_text(error)}') from error


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
