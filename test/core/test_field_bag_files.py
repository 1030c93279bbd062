"""Files of bags that are cut, of another kind, oddly named, or half in a file beside."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from mcap_bytes import Topic, write_bare_mcap, write_mcap
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from text_bags import ITEMS, PLUGINS, TEXT, edit, texts, write

from gausstr_core.bags.messages import TYPES, encode
from gausstr_core.bags.reading import Bag


def log_beside(db3: Path) -> None:
    """What lies on the disk when the power goes: two messages are in the log only."""
    source = db3.with_name('live.db3')
    shutil.copy(db3, source)
    live = sqlite3.connect(source)
    live.execute('pragma journal_mode=wal')
    live.execute('pragma wal_autocheckpoint=0')
    live.execute('insert into messages(topic_id, timestamp, data) select topic_id, timestamp + 5, '
                 'data from messages limit 2')  # fmt: skip
    live.commit()
    for end in ('', '-wal', '-shm'):
        shutil.copy(f'{source}{end}', f'{db3}{end}')
    live.close()
    source.unlink()


@pytest.mark.parametrize('folder', [True, False])
def test_what_is_in_a_log_beside_is_not_lost_silently(tmp_path: Path, folder: bool) -> None:
    """Field_reports B2; rosbag2 901, 521: the command that is said merges them."""
    bag = write(tmp_path / 'bag', ITEMS, StoragePlugin.SQLITE3)
    file = bag / 'bag.db3'
    log_beside(file)
    command = re.escape(f"sqlite3 {file} 'PRAGMA wal_checkpoint(TRUNCATE)'")
    with pytest.raises(ValueError, match=rf'bag.db3-wal beside it holds messages.*{command}'):
        Bag(bag if folder else file)
    with sqlite3.connect(file) as merging:
        merging.execute('pragma wal_checkpoint(truncate)')
    merging.close()
    assert len(texts(file)) == 14
    for path in bag.glob('bag.db3-*'):
        path.unlink()
    assert len(texts(file)) == 14


@pytest.mark.parametrize(
    ('end', 'content', 'fine'),
    [
        ('-wal', b'', True),
        ('-wal', b'\x37\x7f\x06\x82' + bytes(28), True),  # a header and no page
        ('-shm', bytes(32768), True),
        ('-journal', b'', True),
        ('-journal', bytes(512), True),  # journal_mode=persist, committed
        ('-journal', bytes.fromhex('d9d505f920a163d7') + bytes(504), False),
    ],
    ids=['wal', 'wal header', 'shm', 'journal', 'persistent journal', 'hot journal'],
)
def test_files_beside_an_sqlite3_file_that_hold_nothing_are_no_fault(
    tmp_path: Path, end: str, content: bytes, fine: bool
) -> None:
    """Field_reports B2."""
    file = write(tmp_path / 'bag', ITEMS, StoragePlugin.SQLITE3) / 'bag.db3'
    file.with_name(file.name + end).write_bytes(content)
    if fine:
        assert texts(file) == ITEMS
    else:
        with pytest.raises(ValueError, match=r'bag.db3-journal beside it .*PRAGMA integrity'):
            Bag(file)


@pytest.mark.parametrize(
    'name', ['a#b', 'a?b', 'a?mode=memory', 'a%41b', '100%', 'a b', "a'b", 'ä']
)
@pytest.mark.parametrize('suffix', PLUGINS)
def test_a_path_of_any_name_is_that_of_the_bag(tmp_path: Path, name: str, suffix: str) -> None:
    """Field_reports B8; GUFI 126: rosbags opens sqlite3 by URI."""
    folder = tmp_path / name
    folder.mkdir()
    for decoy in ('a', 'aAb', name.partition('?')[0]):
        if decoy != name:
            (tmp_path / f'{decoy}{suffix}').write_bytes(b'')
    made = write(tmp_path / 'made', ITEMS, PLUGINS[suffix])  # rosbags cannot write there either
    bag = made.rename(folder / name)
    (bag / f'made{suffix}').rename(bag / f'{name}{suffix}')
    edit(bag, lambda about: about.update(relative_file_paths=[f'{name}{suffix}']))
    assert texts(bag) == ITEMS
    assert texts(bag / f'{name}{suffix}') == ITEMS


def cut(bag: Path) -> None:
    file = bag / 'bag.mcap'
    file.write_bytes(file.read_bytes()[:-20])


def half(bag: Path) -> None:
    file = bag / 'bag.mcap'
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_message_index(bag: Path) -> None:
    topic = Topic('/a', TEXT, 'ros2msg', 'cdr', [(10, b'x'), (20, b'y')])
    write_mcap(bag / 'bag.mcap', [topic], message_index=False)


def contents(content: bytes, name: str = 'bag.mcap') -> Callable[[Path], None]:
    def put(bag: Path) -> None:
        (bag / name).write_bytes(content)

    return put


SQL = b'SQLite format 3\0' + bytes(84)
LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n'


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (cut, r'bag\.mcap is cut off.*; mcap recover \S+/bag\.mcap -o \S+bag_recovered\.mcap'),
        (half, r'bag\.mcap is cut off.*mcap recover \S+ -o \S+'),
        (no_message_index, r'bag\.mcap has no complete index: of 2 .* lists 0; mcap recover \S+'),
        (contents(b''), r'bag\.mcap is empty'),
        (contents(bytes(4096)), r'bag\.mcap is filled with zeros, as after a power cut'),
        (contents(LFS), r'bag\.mcap is a pointer of Git LFS .*git lfs pull'),
        (contents(SQL), r'bag\.mcap is an sqlite3 file: name it \.db3'),
        (contents(b'#ROSBAG V2.0\n'), r'bag\.mcap is a bag of ROS 1: rosbags-convert'),
        (contents(b'\x89MCAP0\r\n'), r'bag\.mcap is cut off'),
        (contents(b'\x28\xb5\x2f\xfd1234'), r'bag\.mcap is compressed by zstd'),
        (contents(b'', 'metadata.yaml'), r'metadata.* is empty.*ros2 bag reindex -s mcap \S+bag'),
        (contents(LFS, 'metadata.yaml'), r'metadata.*git lfs pull.*ros2 bag reindex'),
        (contents(b'a: [', 'metadata.yaml'), r'YAML.*ros2 bag reindex -s mcap \S+bag'),
        (lambda bag: (bag / 'metadata.yaml').unlink(),
         r'bag/metadata\.yaml is missing; ros2 bag reindex -s mcap \S+bag makes it anew'),
    ],
)  # fmt: skip
def test_a_damaged_mcap_is_told_what_it_is_and_what_repairs_it(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    """Field_reports B7; mcap 535, 697, 1474, 1735; rosbag2 2133."""
    bag = write(tmp_path / 'bag', ITEMS)
    damage(bag)
    with pytest.raises(ValueError, match=rf'(?s)bag is not a readable bag: .*{said}'):
        texts(bag)
    if 'metadata' not in said and 'YAML' not in said:
        with pytest.raises(ValueError, match=rf'bag\.mcap is not a readable bag: {said}'):
            texts(bag / 'bag.mcap')


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', r'bag\.db3 is empty'),
        (b'\x89MCAP0\r\n' + bytes(90), r'bag\.db3 is an MCAP file: name it \.mcap'),
        (LFS, r'bag\.db3 is a pointer of Git LFS'),
        (SQL, r'bag\.db3: .*; sqlite3 \S+bag\.db3 \.recover \| sqlite3'),
    ],
    ids=['empty', 'mcap', 'lfs', 'damaged'],
)
def test_a_damaged_sqlite3_is_told_what_it_is_and_what_repairs_it(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Field_reports B7."""
    bag = write(tmp_path / 'bag', ITEMS, StoragePlugin.SQLITE3)
    (bag / 'bag.db3').write_bytes(content)
    for path in (bag, bag / 'bag.db3'):
        with pytest.raises(ValueError, match=rf'{path.name} is not a readable bag: {said}'):
            texts(path)


def test_an_mcap_without_index_is_read_in_order_or_told_what_makes_one(tmp_path: Path) -> None:
    """Field_reports B7."""

    def unindexed(times: list[int]) -> Path:
        messages = [(time, bytes(encode(TYPES[TEXT](str(time))))) for time in times]
        return write_bare_mcap(
            tmp_path / 'bare.mcap', Topic('/a', TEXT, 'ros2msg', 'cdr', messages)
        )

    assert texts(unindexed([1, 2, 3])) == [(1, '1'), (2, '2'), (3, '3')]
    with pytest.raises(ValueError, match=r'bare\.mcap is damaged: Unindexed.*mcap recover'):
        texts(unindexed([1, 3, 2]))


def test_a_file_of_another_name_and_a_folder_without_files_are_named(tmp_path: Path) -> None:
    """Field_reports B7."""
    (tmp_path / 'drive.bag').write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(ValueError, match=r'drive\.bag .*it is a bag of ROS 1: rosbags-convert'):
        Bag(tmp_path / 'drive.bag')
    (tmp_path / 'none').mkdir()
    with pytest.raises(ValueError, match=r'none/metadata\.yaml is missing; and no file of a bag'):
        Bag(tmp_path / 'none')


def test_a_path_that_is_no_unicode_is_that_of_the_bag(tmp_path: Path) -> None:
    """Field_reports B8: names from another system's disk."""
    file = write(tmp_path / 'bag', ITEMS, StoragePlugin.SQLITE3) / 'bag.db3'
    assert texts(file.rename(tmp_path / os.fsdecode(b'\xff#1.db3'))) == ITEMS


def test_what_is_cut_within_a_packed_file_names_the_file_that_is_there(tmp_path: Path) -> None:
    """Field_reports B7: rosbags unpacks such a bag into a folder that is gone by then."""
    zstd = pytest.importorskip('backports.zstd')
    bag = tmp_path / 'bag'
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        pass
    (packed,) = bag.glob('*.zstd')
    packed.write_bytes(zstd.compress(zstd.decompress(packed.read_bytes())[:-20]))
    with pytest.raises(ValueError, match=rf'is cut off.*unpacked from {bag}: unpack its files'):
        Bag(bag)
