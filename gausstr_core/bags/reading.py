"""Opens bags of any storage and reads raw messages by topic and time.

All bags are opened here. `rosbags` finds a span of time through the chunk index of an MCAP file,
or the time index of an sqlite3 one, so that a set costs two or three chunks and not the file. What
it refuses or passes over and need not is in `folder`, `mcap_file` and `sqlite_file`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos, QosDurability
from rosbags.rosbag2 import Reader

from gausstr_core.bags import mcap_file, sqlite_file
from gausstr_core.bags.files import format_of
from gausstr_core.bags.folder import DESCRIPTION, FILES, Folder, reindexing
from gausstr_core.bags.mcap_file import McapFile
from gausstr_core.bags.sqlite_file import SqliteFile
from gausstr_core.process.reasons import reason

__all__ = ['DESCRIPTION', 'FILES', 'Bag', 'Connection', 'Message', 'bag_files']
CDR = 'cdr'
_RECOVERIES = {'.mcap': mcap_file.recovery, '.db3': sqlite_file.recovery}


class _Reader(Reader):
    STORAGE_PLUGINS: Mapping[str, Any] = {'dir': Folder, '.mcap': McapFile, '.db3': SqliteFile}


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
    def encoding(self) -> str:
        """How it is serialised: `CDR`, or json, protobuf, ..., which only other tools read."""
        return encoding_of(self.connection)

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
        ValueError: the bag is missing, incomplete or unreadable; the message names it, and the
            command that repairs it.
        OSError: its disk or network does not answer: it may later.
    """

    def __init__(self, path: Path, file: str = '') -> None:
        self.path = path
        try:
            self._reader = _opened(path / file)
        except (FileNotFoundError, PermissionError) as error:
            raise ValueError(f'{path} is not a readable bag: {reason(error)}') from error
        except OSError as error:
            raise OSError(f'{path} cannot be read at present: {reason(error)}') from error
        except Exception as error:  # each storage has errors of its own
            raise ValueError(f'{path} is not a readable bag: {reason(error)}') from error
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
        """The messages of some topics, or of all, in the order of their recording.

        Args:
            topics: their names.
            first, last: nanoseconds of recording, both included.

        Raises:
            ValueError: the bag is damaged, or, read from end to end, holds fewer messages than it
                says: `rosbags` passes over the rest of a damaged chunk.
            OSError: its disk or network does not answer: it may later.
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
        except OSError as error:
            raise OSError(f'{self.path} cannot be read any more: {reason(error)}') from error
        except Exception as error:
            raise ValueError(f'{self.path} is damaged: {reason(error)}{self._help()}') from error
        if first is last is None:
            for name, count in (+missing).items():
                raise ValueError(
                    f'{self.path} is damaged: {count} messages of {name} cannot be read'
                    f'{self._help()}{self._miscounted()}'
                )

    def _help(self) -> str:
        files = [file for file in bag_files(self.path) if file.suffix in FILES]
        if not files:
            return ''
        more = f' (and so for {len(files) - 1} more files)' * (len(files) > 1)
        return f'; {_RECOVERIES[files[0].suffix](files[0])}{more}'

    def _miscounted(self) -> str:
        described = self.path.is_dir()
        return f'; where {DESCRIPTION} is wrong, {reindexing(self.path)}' * described


def bag_files(path: Path) -> list[Path]:
    """The files a bag consists of, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file())


def encoding_of(connection: Connection) -> str:
    """How the messages of a topic are serialised."""
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return connection.ext.serialization_format


def _opened(path: Path) -> Reader:
    if path.is_file() and path.suffix not in FILES:
        raise ValueError(f'it is {format_of(path)} (expected a folder, {" or ".join(FILES)})')
    reader = _Reader(path)
    reader.open()
    return reader
