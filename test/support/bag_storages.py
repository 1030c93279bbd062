"""One bag in every form that rosbag2 writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from bag_files import Recorded, write_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin


def split(path: Path, messages: list[Recorded], plugin: StoragePlugin) -> Path:
    """A folder with two files, the messages of each topic in both."""
    middle = sorted(item.time for item in messages)[len(messages) // 2]
    early = [item for item in messages if item.time < middle or item.topic == '/tf_static']
    late = [item for item in messages if item.time >= middle and item.topic != '/tf_static']
    parts = [write_bag(path.with_name(f'{path.name}_{n}'), m, plugin)
             for n, m in enumerate((early, late))]  # fmt: skip
    infos = [yaml.safe_load((part / 'metadata.yaml').read_text()) for part in parts]
    whole, second = (info['rosbag2_bagfile_information'] for info in infos)
    path.mkdir()
    for part, info in zip(parts, (whole, second), strict=True):
        for name in info['relative_file_paths']:
            shutil.move(part / name, path / name)
    counts = {t['topic_metadata']['name']: t for t in whole['topics_with_message_count']}
    for topic in second['topics_with_message_count']:
        counts[topic['topic_metadata']['name']]['message_count'] += topic['message_count']
    for key in ('relative_file_paths', 'files'):
        whole[key] += second[key]
    whole['message_count'] = len(messages)
    first = min(item.time for item in messages)
    last = max(item.time for item in messages)
    whole['duration']['nanoseconds'] = last + 1 - first
    (path / 'metadata.yaml').write_text(yaml.safe_dump(infos[0]))
    return path


def _file(suffix: str, plugin: StoragePlugin) -> Callable[[Path, list[Recorded]], Path]:
    return lambda path, messages: next(write_bag(path, messages, plugin).glob(f'*{suffix}'))


def _folder(
    plugin: StoragePlugin, mode: CompressionMode
) -> Callable[[Path, list[Recorded]], Path]:
    return lambda path, messages: write_bag(path, messages, plugin, mode)


# Name -> makes the bag and gives the path to read it by.
STORAGES: dict[str, Callable[[Path, list[Recorded]], Path]] = {
    'sqlite3': _folder(StoragePlugin.SQLITE3, CompressionMode.NONE),
    'sqlite3, messages compressed': _folder(StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    'sqlite3, file compressed': _folder(StoragePlugin.SQLITE3, CompressionMode.FILE),
    'sqlite3, split': lambda path, messages: split(path, messages, StoragePlugin.SQLITE3),
    'one .db3': _file('.db3', StoragePlugin.SQLITE3),
    'mcap, chunks compressed': _folder(StoragePlugin.MCAP, CompressionMode.STORAGE),
    'mcap, file compressed': _folder(StoragePlugin.MCAP, CompressionMode.FILE),
    'mcap, split': lambda path, messages: split(path, messages, StoragePlugin.MCAP),
    'one .mcap': _file('.mcap', StoragePlugin.MCAP),
}
