"""Opens an MCAP file also where not all in it is of ROS 2.

`rosbags` reads the messages. It refuses a whole file for one schema that is no text of ROS 2
(protobuf, JSON, `unknown`), or for a profile that `mcap merge` left empty. So it is given the
index at the end of the file with such schemas emptied: their topics have no definition, and the
others are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import McapReader

from gausstr_core.bags.files import MCAP, FileFault, expect_format

_HEADER, _FOOTER, _SCHEMA, _CHUNK_INDEX, _STATISTICS = 1, 2, 3, 8, 11
_FOOTER_SIZE = 1 + 8 + 20 + len(MCAP)
_TEXTS = ('ros2msg', 'ros2idl', 'omgidl', '')  # schemas that rosbags understands
_Record = tuple[int, bytes]


class McapFile(McapReader):
    """An MCAP file.

    Raises:
        FileFault: by `open`, it is no MCAP file or incomplete.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file = path

    def open(self) -> None:
        """Open it; OSErrors are those of the disk, which may heal."""
        expect_format(self.file, MCAP, 'MCAP')
        self.bio = self.file.open('rb')
        try:
            self._open()
            self._expect_message_index()
        except (ReaderError, KeyError, ValueError, TypeError, struct.error) as error:
            self.close()
            if isinstance(error, FileFault):
                raise
            raise self._fault(f'is damaged ({error or type(error).__name__})') from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        assert self.bio
        whole, size = self.bio, self.bio.seek(0, 2)
        whole.seek(max(0, size - _FOOTER_SIZE))
        footer = whole.read()
        if len(footer) < _FOOTER_SIZE or footer[-8:] != MCAP:
            raise self._fault('is cut off: its end is missing, as after a power cut')
        whole.seek(len(MCAP))
        _, header = next(_records(whole))
        data_start = whole.tell()
        if _text(header, 0)[0] == b'ros1':
            raise FileFault(f'{self.file.name} holds messages of ROS 1 (expected ROS 2)')
        start = int.from_bytes(footer[9:17], 'little')
        whole.seek(start or size - _FOOTER_SIZE)
        index = list(_records(BytesIO(whole.read(size - _FOOTER_SIZE - whole.tell()))))
        kinds = {kind for kind, _ in index}
        if _SCHEMA not in kinds or not kinds & {_CHUNK_INDEX, _STATISTICS}:
            whole.seek(0)
            super()._open()  # which reads the whole file, and knows schemas of ROS 2 only
            return
        self.bio = BytesIO(_as_file(index))
        try:
            super()._open()
        finally:
            self.bio = whole
        self.data_start, self.data_end = data_start, start

    def _expect_message_index(self) -> None:
        """Without it, or with messages outside of chunks, rosbags passes over messages."""
        if not self.chunks:
            return
        for connection in self.connections:
            found = sum(chunk.channel_count.get(connection.id, 0) for chunk in self.chunks)
            if found < connection.msgcount:
                raise self._fault(
                    f'has no complete index: of {connection.msgcount} messages of '
                    f'{connection.topic} it lists {found}'
                )

    def _fault(self, what: str) -> FileFault:
        return FileFault(f'{self.file.name} {what}; {recovery(self.file)}')


def recovery(path: Path) -> str:
    """The command that makes a whole file of what can be read."""
    out = path.with_name(f'{path.stem}_recovered.mcap')
    return f'mcap recover {quote(str(path))} -o {quote(str(out))} saves what can be read'


def _records(file: BinaryIO) -> Iterator[_Record]:
    """Kind and content from here on."""
    while head := file.read(9):
        kind, size = struct.unpack('<BQ', head)
        content = file.read(size)
        if len(content) != size:
            raise ReaderError(f'record of {size} bytes is cut to {len(content)}')
        yield kind, content


def _as_file(index: list[_Record]) -> bytes:
    """A file of nothing but an index, in which all schemas are texts."""
    out = [MCAP, _record(_HEADER, struct.pack('<I4sI', 4, b'ros2', 0))]
    start = sum(map(len, out))
    for kind, content in index:
        out.append(_record(kind, _text_schema(content) if kind == _SCHEMA else content))
    return b''.join([*out, _record(_FOOTER, struct.pack('<QQI', start, 0, 0)), MCAP])


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack('<BQ', kind, len(content)) + content


def _text_schema(schema: bytes) -> bytes:
    """A schema as it is where it is a text of ROS 2, else one of its name without encoding."""
    _, end = _text(schema, 2)
    encoding, place = _text(schema, end)
    try:
        _text(schema, place)[0].decode()
        known = encoding.decode() in _TEXTS
    except UnicodeDecodeError:
        known = False
    return schema if known else schema[:end] + bytes(8)


def _text(content: bytes, place: int) -> tuple[bytes, int]:
    """Bytes with their length before them, and where they end."""
    begin = place + 4
    end = begin + int.from_bytes(content[place:begin], 'little')
    return content[begin:end], end
