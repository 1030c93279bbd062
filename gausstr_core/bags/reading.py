"""Opens bags of any storage and reads raw messages by topic and time.

All bags are opened here. `rosbags` finds a span of time through the chunk index of an MCAP file,
or the time index of an sqlite3 one, so that a set costs two or three chunks and not the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos, QosDurability
from rosbags.rosbag2 import Reader

DESCRIPTION = 'metadata.yaml'
FILES = ('.mcap', '.db3')


class Message(NamedTuple):
    """A message as it lies in the bag."""

    connection: Connection
    logged: int  # ns: when it was recorded, which is not its own stamp
    raw: bytes  # CDR

    @property
    def topic(self) -> str:
        """The name of its topic."""
        return self.connection.topic

    @property
    def kind(self) -> str:
        """The type, such as sensor_msgs/msg/Image."""
        return self.connection.msgtype

    @property
    def profiles(self) -> tuple[Qos, ...]:
        """The quality of service that its publishers offered."""
        assert isinstance(self.connection.ext, ConnectionExtRosbag2)
        return tuple(self.connection.ext.offered_qos_profiles)

    @property
    def latched(self) -> bool:
        """Whether who subscribes later gets it too: it was offered transient local."""
        return any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in self.profiles)


class Bag:
    """An open bag; used as a context, or closed by `close`.

    Args:
        path: folder or file.
        file: `Bag.file` of a folder, where it is known.

    Raises:
        ValueError: the bag is missing or unreadable; the message names it.
    """

    def __init__(self, path: Path, file: str = '') -> None:
        if path.is_dir() and not (path / DESCRIPTION).is_file():
            raise ValueError(f'{path / DESCRIPTION} is missing')
        self.path = path
        try:
            self._reader = Reader(path / file)
            self._reader.open()
        except Exception as error:  # each storage has errors of its own
            raise ValueError(f'{path} is not a readable bag: {_text(error)}') from error
        # of topic, msgtype and msgcount; one topic may come twice, from two publishers
        self.connections: list[Connection] = self._reader.connections

    def __enter__(self) -> Bag:
        """Open already."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the files."""
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
        files = [file for file in bag_files(self.path) if file.suffix in FILES]
        alone = self.path.is_dir() and len(files) == 1
        compressed = self._reader.compression_mode in ('file', 'message')
        return files[0].name if alone and not compressed else ''

    def messages(
        self,
        topics: Collection[str] | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> Iterator[Message]:
        """The messages of some topics, or of all, in the order of the bag.

        Args:
            topics: their names.
            first, last: nanoseconds of recording, both included.

        Raises:
            ValueError: the bag is damaged, or, read from end to end, holds fewer messages than it
                says: `rosbags` passes over the rest of a damaged chunk.
        """
        chosen = [c for c in self.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        missing: Counter[str] = Counter()
        for connection in chosen:
            missing[connection.topic] += connection.msgcount
        stop = None if last is None else last + 1
        try:
            for connection, logged, raw in self._reader.messages(chosen, first, stop):
                missing[connection.topic] -= 1
                yield Message(connection, logged, raw)
        except Exception as error:
            raise ValueError(f'{self.path} is damaged: {_text(error)}') from error
        if first is last is None:
            for name, count in (+missing).items():
                raise ValueError(
                    f'{self.path} is damaged: {count} messages of {name} cannot be read'
                )


def bag_files(path: Path) -> list[Path]:
    """The files a bag consists of, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file())


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
