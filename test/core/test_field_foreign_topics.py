"""Topics of a vendor, of protobuf, of JSON, of nobody knows what."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mcap_bytes import Topic, write_mcap
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from text_bags import ITEMS, TEXT, edit, texts, write

from gausstr_core.bags.messages import TYPES, encode
from gausstr_core.bags.reading import Bag
from gausstr_core.bags.writing import BagWriter


def numbers(number: int) -> list[tuple[int, bytes]]:
    return [(time, bytes(encode(TYPES[TEXT](f'{number} {time}')))) for time in (10, 20)]


FOREIGN = [
    Topic('/plain', TEXT, 'ros2msg', 'cdr', numbers(1)),
    Topic('/proto', 'foxglove.Log', 'protobuf', 'protobuf', numbers(2)),
    Topic('/json', 'my.Thing', 'jsonschema', 'json', numbers(3)),
    Topic('/unknown', 'my_msgs/msg/Own', 'unknown', 'cdr', numbers(4)),
    Topic('/flat', 'my.Flat', 'flatbuffer', 'flatbuffer', numbers(5)),
    Topic('/known', TEXT, 'unknown', 'cdr', numbers(6)),
]


@pytest.mark.parametrize('profile', ['ros2', ''])
def test_topics_that_are_not_of_ros_2_keep_nobody_from_the_others(
    tmp_path: Path, profile: str
) -> None:
    """Field_reports B4; mcap 810, 837, 1302; rosbag2 1922; kleinkram 1250."""
    source = write_mcap(tmp_path / 'mixed.mcap', FOREIGN, profile)
    refused: dict[str, set[str]] = {}
    with Bag(source) as bag, BagWriter(tmp_path / 'out', {}) as writer:
        messages = list(bag.messages())
        for message in messages:
            try:
                writer.copy(message)
            except ValueError as error:
                refused.setdefault(message.topic, set()).add(str(error))
    assert len(messages) == 2 * len(FOREIGN)
    assert texts(tmp_path / 'out') == [(10, '1 10'), (10, '6 10'), (20, '1 20'), (20, '6 20')]
    assert refused == {
        '/proto': {"/proto: foxglove.Log is serialised as 'protobuf', expected 'cdr'"},
        '/json': {"/json: my.Thing is serialised as 'json', expected 'cdr'"},
        '/flat': {"/flat: my.Flat is serialised as 'flatbuffer', expected 'cdr'"},
        '/unknown': {'/unknown: the bag holds no definition of my_msgs/msg/Own'},
    }


def test_a_folder_whose_metadata_says_so_is_read_as_well(tmp_path: Path) -> None:
    """Field_reports B4: rosbags refuses the bag for one serialization_format."""
    bag = write(tmp_path / 'bag', [(10, '/plain 1'), (20, '/proto 1')])
    write_mcap(bag / 'bag.mcap', FOREIGN[:2])

    def change(about: dict[str, Any]) -> None:
        for topic, foreign in zip(about['topics_with_message_count'], FOREIGN, strict=False):
            topic['message_count'] = 2
            topic['topic_metadata'] |= {
                'name': foreign.name,
                'type': foreign.kind,
                'serialization_format': foreign.encoding,
            }

    edit(bag, change)
    with Bag(bag) as opened:
        found = {m.topic: (m.kind, m.encoding) for m in opened.messages()}
    assert found == {'/plain': (TEXT, 'cdr'), '/proto': ('foxglove.Log', 'protobuf')}
    assert [item[1] for item in texts(bag, ['/plain'])] == ['1 10', '1 20']


def test_an_mcap_of_ros_1_is_called_so(tmp_path: Path) -> None:
    """Field_reports B4."""
    source = write_mcap(
        tmp_path / 'old.mcap',
        [Topic('/a', 'std_msgs/String', 'ros1msg', 'ros1', numbers(1))],
        'ros1',
    )
    with pytest.raises(ValueError, match=r'old\.mcap holds messages of ROS 1 \(expected ROS 2\)'):
        Bag(source)


@pytest.mark.parametrize('definition', ['float32 voltage\n', 'wstring name\n', 'float32[<=3] v\n'])
@pytest.mark.parametrize('alone', [True, False])
def test_a_vendors_type_is_copied_with_its_definition(
    tmp_path: Path, definition: str, alone: bool
) -> None:
    """Field_reports B4; rosbag2 307, 591: a lone .mcap holds no hash, which is reckoned anew."""
    store = get_typestore(Stores.ROS2_JAZZY)
    digest = 'RIHS01_' + '0' * 64
    if 'wstring' not in definition:
        store.register(get_types_from_msg(definition, 'robot_msgs/msg/Battery'))
        digest = store.hash_rihs01('robot_msgs/msg/Battery')
    raw = b'\0\1\0\0\0\0\x40\x41'
    with Writer(tmp_path / 'a', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection(
            '/battery', 'robot_msgs/msg/Battery', msgdef=definition, rihs01=digest
        )
        writer.write(topic, 1, raw)
    source = tmp_path / 'a' / 'a.mcap' if alone else tmp_path / 'a'
    with Bag(source) as bag, BagWriter(tmp_path / 'out', {}) as writer:
        for message in bag.messages():
            writer.copy(message)
    with Bag(tmp_path / 'out') as bag:
        (message,) = bag.messages()
        assert message.raw == raw and message.kind == 'robot_msgs/msg/Battery'
        assert message.connection.msgdef.data == definition
        assert message.connection.digest == digest


@pytest.mark.parametrize('encoding', ['unknown', 'protobuf', None])
def test_an_sqlite3_file_without_definitions_is_read(tmp_path: Path, encoding: str | None) -> None:
    """Field_reports B4: Humble wrote none, and Jazzy writes `unknown` where it finds none."""
    file = write(tmp_path / 'bag', ITEMS, StoragePlugin.SQLITE3) / 'bag.db3'
    with sqlite3.connect(file) as db:
        if encoding is None:
            db.executescript('drop table message_definitions; drop table schema; '
                             'alter table topics drop column type_description_hash;')  # fmt: skip
        else:
            db.execute('update message_definitions set encoding = ?', [encoding])
        db.execute("update topics set type = 'my_msgs/msg/Own' where name = '/b'")
    db.close()
    with Bag(file) as bag, BagWriter(tmp_path / 'out', {}) as writer:
        for message in bag.messages():
            if message.topic == '/a':
                writer.copy(message)
            else:
                with pytest.raises(ValueError, match='/b: the bag holds no definition of my_msgs'):
                    writer.copy(message)
    assert texts(tmp_path / 'out') == ITEMS[::2]
