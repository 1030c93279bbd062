"""A folder with a metadata.yaml: its files as one bag, in the order of time."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Generator, Iterator, Mapping
from operator import itemgetter
from pathlib import Path, PosixPath
from shlex import quote
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import DECOMPRESSORS

from gausstr_core.bags.files import UNKNOWN, FileFault, format_of
from gausstr_core.bags.mcap_file import McapFile
from gausstr_core.bags.sqlite_file import SqliteFile

DESCRIPTION = 'metadata.yaml'
FILES = ('.mcap', '.db3')
_FORMAT = re.compile(r"""(serialization_format['"]?: *)("[^"]*"|'[^']*'|[\w.-]+)""")
_Logged = tuple[Connection, int, bytes]


class _Place(PosixPath):
    """A path whose metadata.yaml says of every topic that it is CDR.

    For one that is not, rosbags refuses the bag. What a topic is, its file says too.
    """

    def read_text(self, *options: Any, **more: Any) -> str:
        return _FORMAT.sub(r'\1cdr', super().read_text(*options, **more))


class Folder(DirectoryReader):
    """The files of a folder.

    Topics of metadata.yaml and of the files are the same where name and type are: their QoS, by
    which rosbags tells them apart as well, differs once a bag was edited, merged or converted.

    Raises:
        FileFault: metadata.yaml is missing; by `open`, it or a file is damaged.
        OSError: a file cannot be read.
    """

    STORAGE_PLUGINS: Mapping[str, Any] = {'mcap': McapFile, 'sqlite3': SqliteFile}

    def __init__(self, path: Path) -> None:
        if not (path / DESCRIPTION).is_file():
            raise FileFault(f'{path / DESCRIPTION} is missing; {reindexing(path)}')
        super().__init__(_Place(path))
        self.folder = path

    def open(self) -> None:
        """Open all files."""
        try:
            super().open()
        except FileFault as error:
            if not any(self.folder.glob('*.zstd')):
                raise
            # what is wrong with an unpacked copy that is gone by now
            what = str(error).partition('; ')[0]
            raise FileFault(
                f'{what}, unpacked from {self.folder}: unpack its files (zstd -d), repair those'
            ) from error
        except ReaderError as error:
            if not any(word in str(error) for word in ('metadata', 'YAML')):
                raise
            found = format_of(self.folder / DESCRIPTION)
            what = str(error) if found == UNKNOWN else f'{DESCRIPTION} is {found}'
            raise FileFault(f'{what}; {reindexing(self.folder)}') from error
        self.connections = list(self._described())

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[_Logged, None, None]:
        """Messages in the order of their recording, also where files overlap in time.

        No file is read before its first message is due.
        """
        streams = (self._stream(file, connections, start, stop) for file in self.storages)
        for message in heapq.merge(*streams, key=itemgetter(1)):
            if message[0] is not None:
                yield message

    def _stream(
        self, file: Any, connections: Collection[Connection], start: int | None, stop: int | None
    ) -> Iterator[Any]:
        """The messages of one file, and before them the time of the first, with nothing read."""
        ours = {own.id: _same(own, connections) for own in file.connections}
        own = [connection for connection in file.connections if ours[connection.id] is not None]
        if not own:
            return
        yield None, max(file.metadata.start_time, start or 0), b''
        compressed = self.metadata.compression_mode == 'message'
        for connection, logged, raw in file.messages(own, start, stop):
            if compressed:
                raw = DECOMPRESSORS['zstd'](raw, 0)
            yield ours[connection.id], logged, raw

    def _described(self) -> Iterator[Connection]:
        """The topics of metadata.yaml, and those that only the files know of."""
        stored: dict[tuple[str, str], list[Connection]] = {}
        for file in self.storages:
            for own in file.connections:
                stored.setdefault(_key(own), []).append(own)
        for connection in self.connections:
            twins = stored.get(_key(connection), [])
            digest = connection.digest or next((own.digest for own in twins if own.digest), '')
            ext = ConnectionExtRosbag2(_format((twins or [connection])[0]), _profiles(connection))
            yield connection._replace(digest=digest, ext=ext)
        known = set(map(_key, self.connections))
        for key, twins in stored.items():
            if key not in known:
                yield twins[0]._replace(msgcount=sum(own.msgcount for own in twins), owner=self)


def reindexing(folder: Path) -> str:
    """The command that makes a metadata.yaml, where the folder has files to make it from."""
    for plugin, suffix in (('mcap', '.mcap'), ('sqlite3', '.db3')):
        if files := sorted(file.name for file in folder.glob(f'*{suffix}')):
            alone = f', or give {files[0]} in place of the folder' * (len(files) == 1)
            return f'ros2 bag reindex -s {plugin} {quote(str(folder))} makes it anew{alone}'
    return f'and no file of a bag ({", ".join(FILES)}) to make it from lies in {folder}'


def _same(own: Connection, connections: Collection[Connection]) -> Connection | None:
    """The topic that a file's topic is: of two with its name and type, the one of its QoS."""
    twins = [connection for connection in connections if _key(connection) == _key(own)]
    qos = _profiles(own)
    return next((twin for twin in twins if _profiles(twin) == qos), next(iter(twins), None))


def _key(connection: Connection) -> tuple[str, str]:
    return connection.topic, connection.msgtype


def _format(connection: Connection) -> str:
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return connection.ext.serialization_format


def _profiles(connection: Connection) -> list[Qos]:
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return connection.ext.offered_qos_profiles
