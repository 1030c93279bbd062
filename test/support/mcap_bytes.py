"""MCAP files byte by byte, as libraries that know no ROS write them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MAGIC = b'\x89MCAP0\r\n'


class Topic(NamedTuple):
    """A topic and its messages, (time, content)."""

    name: str
    kind: str
    schema: str  # encoding of the schema
    encoding: str  # of the messages
    messages: Sequence[tuple[int, bytes]]


def record(kind: int, content: bytes) -> bytes:
    """A record."""
    return struct.pack('<BQ', kind, len(content)) + content


def text(value: bytes) -> bytes:
    """Bytes, and how many before them."""
    return struct.pack('<I', len(value)) + value


def write_mcap(
    path: Path, topics: Sequence[Topic], profile: str = 'ros2', *, message_index: bool = True
) -> Path:
    """A file of one chunk, its index at the end."""
    about = [_about(number, topic) for number, topic in enumerate(topics, 1)]
    data, lists = _data(topics)
    first = min(time for topic in topics for time, _ in topic.messages)
    last = max(time for topic in topics for time, _ in topic.messages)
    chunk = struct.pack('<QQQI', first, last, len(data), 0) + text(b'')
    chunk = record(6, chunk + struct.pack('<Q', len(data)) + data)
    out = MAGIC + record(1, text(profile.encode()) + text(b'test'))
    start, offsets = len(out), b''
    out += chunk
    for number, entries in lists.items() if message_index else ():
        offsets += struct.pack('<HQ', number, len(out))
        out += record(7, struct.pack('<H', number) + text(entries))
    index = struct.pack('<QQQQ', first, last, start, len(chunk)) + text(offsets)
    index += struct.pack('<Q', len(out) - start - len(chunk)) + text(b'')
    index += struct.pack('<QQ', len(data), len(data))
    out += record(15, bytes(4))
    summary = len(out)
    count = sum(len(topic.messages) for topic in topics)
    counts = [struct.pack('<HQ', n, len(topic.messages)) for n, topic in enumerate(topics, 1)]
    statistics = struct.pack('<QHIIIIQQ', count, len(topics), len(topics), 0, 0, 1, first, last)
    out += b''.join(about) + record(8, index) + record(11, statistics + text(b''.join(counts)))
    path.write_bytes(out + record(2, struct.pack('<QQI', summary, 0, 0)) + MAGIC)
    return path


def write_bare_mcap(path: Path, topic: Topic) -> Path:
    """A file without chunks and index."""
    out = MAGIC + record(1, text(b'ros2') + text(b'')) + _about(1, topic)
    for time, raw in topic.messages:
        out += record(5, struct.pack('<HIQQ', 1, 0, time, time) + raw)
    path.write_bytes(out + record(15, bytes(4)) + record(2, bytes(20)) + MAGIC)
    return path


def _about(number: int, topic: Topic) -> bytes:
    """Schema and channel; what is no text of ROS is no UTF-8 either, as in protobuf."""
    schemas = {'unknown': b'', 'ros2msg': b'string data\n'}
    schema = text(topic.kind.encode()) + text(topic.schema.encode())
    schema += text(schemas.get(topic.schema, b'\x0a\xff\xfe\x80\x00'))
    channel = struct.pack('<HH', number, number) + text(topic.name.encode())
    channel += text(topic.encoding.encode()) + text(b'')
    return record(3, struct.pack('<H', number) + schema) + record(4, channel)


def _data(topics: Sequence[Topic]) -> tuple[bytes, dict[int, bytes]]:
    """The messages in the order of time, and the entries of each topic's index."""
    data, lists = b'', dict.fromkeys(range(1, len(topics) + 1), b'')
    items = [(time, n, raw) for n, topic in enumerate(topics, 1) for time, raw in topic.messages]
    for time, number, raw in sorted(items):
        lists[number] += struct.pack('<QQ', time, len(data))
        data += record(5, struct.pack('<HIQQ', number, 0, time, time) + raw)
    return data, lists
