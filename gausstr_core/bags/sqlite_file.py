"""Opens an sqlite3 file of a bag: of any name and version, with all that was recorded in it."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from shlex import quote
from urllib import parse

import apsw
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from gausstr_core.bags.files import SQLITE, FileFault, expect_format

_TEXTS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
_WAL_HEADER = 32  # bytes; what is longer holds pages
_HOT = bytes.fromhex('d9d505f920a163d7')  # how a rollback journal begins that is needed
_TOPICS = """
select topics.id, name, type, serialization_format, {qos}, {digest}, count(messages.id)
from topics left join messages on topics.id = messages.topic_id group by topics.id
order by topics.id
"""


class SqliteFile(Sqlite3Reader):
    """An sqlite3 file.

    Raises:
        FileFault: by `open`, it is no sqlite3 file, damaged, or incomplete without another file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        # rosbags opens file:PATH?immutable=1, where # and ? end the path and % begins a code
        super().__init__(Path(parse.quote(os.fsencode(path))))
        self.file = path

    def open(self) -> None:
        """Open it; OSErrors are those of the disk, which may heal."""
        expect_format(self.file, SQLITE, 'sqlite3')
        _expect_alone(self.file)
        try:
            super().open()
        except ReaderError as error:
            if isinstance(error.__cause__, apsw.IOError):
                raise OSError(f'{self.file}: {error.__cause__}') from error
            raise FileFault(f'{self.file.name}: {error}; {recovery(self.file)}') from error

    def _open(self) -> None:
        """Like rosbags, but topics whose definition is of another kind have none."""
        db = self.dbconn
        assert db is not None
        columns = {str(row[1]) for row in db.execute('pragma table_info(topics)')}
        if not columns:
            raise ReaderError('it has no table of topics')
        definitions = _definitions(db)
        query = _TOPICS.format(
            qos='offered_qos_profiles' if 'offered_qos_profiles' in columns else "''",
            digest='type_description_hash' if 'type_description_hash' in columns else "''",
        )
        none = MessageDefinition(MessageDefinitionFormat.NONE, '')
        rows: Iterator[tuple[int, str, str, str, str, str, int]] = db.execute(query)
        self.connections = [
            Connection(
                number,
                topic,
                kind,
                definitions.get(kind, none),
                digest,
                count,
                ConnectionExtRosbag2(encoding, parse_qos(qos)),
                self,
            )
            for number, topic, kind, encoding, qos, digest, count in rows
        ]
        times = 'select min(timestamp), max(timestamp) + 1, count(*) from messages'
        ((first, end, count),) = db.execute(times)
        self.metadata = ReaderMetadata(
            end - first if count else 0,
            first if count else 2**63 - 1,
            end if count else 0,
            count,
            None, None, None, None,
        )  # fmt: skip

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """As rosbags; a fault of the disk is an OSError."""
        try:
            yield from super().messages(connections, start, stop)
        except apsw.IOError as error:
            raise OSError(f'{self.file}: {error}') from error


def recovery(path: Path) -> str:
    """The command that makes a whole file of what can be read."""
    out = path.with_name(f'{path.stem}_recovered.db3')
    command = f'sqlite3 {quote(str(path))} .recover | sqlite3 {quote(str(out))}'
    return f'{command} saves what can be read'


def _definitions(db: apsw.Connection) -> dict[str, MessageDefinition]:
    """By type, those that are texts of ROS 2; bags before Iron hold none."""
    if not list(db.execute('pragma table_info(message_definitions)')):
        return {}
    rows = db.execute(
        'select topic_type, encoding, encoded_message_definition from message_definitions'
    )
    return {
        str(kind): MessageDefinition(_TEXTS[str(encoding)], str(text))
        for kind, encoding, text in rows
        if encoding in _TEXTS
    }


def _expect_alone(path: Path) -> None:
    """Refuse a file whose newest messages, or older state, still lie in a file beside it.

    An empty log, and a -shm file by itself, hold nothing.
    """
    wal, journal = (path.with_name(path.name + end) for end in ('-wal', '-journal'))
    if wal.is_file() and wal.stat().st_size > _WAL_HEADER:
        raise FileFault(
            f'{wal.name} beside it holds messages that are not in {path.name} yet, as after a '
            'power cut or while it is recorded: merge them with '
            f"sqlite3 {quote(str(path))} 'PRAGMA wal_checkpoint(TRUNCATE)'"
        )
    if journal.is_file():
        with journal.open('rb') as file:
            hot = file.read(len(_HOT)) == _HOT
        if hot:
            raise FileFault(
                f'{journal.name} beside it undoes a change of {path.name} that was never '
                f"completed: let it with sqlite3 {quote(str(path))} 'PRAGMA integrity_check'"
            )
