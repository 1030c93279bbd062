"""Bags of texts, and what can be done to them from outside."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer

from gausstr_core.bags.messages import STORE, TYPES, decode, encode
from gausstr_core.bags.reading import Bag

TEXT = 'std_msgs/msg/String'
PLUGINS = {'.mcap': StoragePlugin.MCAP, '.db3': StoragePlugin.SQLITE3}


def write(
    folder: Path, items: list[tuple[int, str]], plugin=StoragePlugin.MCAP, mode=None
) -> Path:
    """A folder of texts by time, on the topic that each begins with."""
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics: dict[str, Any] = {}
        for time, text in items:
            topic = text.split()[0]
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, TEXT, typestore=STORE)
            writer.write(topics[topic], time, encode(TYPES[TEXT](text)))
    return folder


def texts(bag: Path, *span: Any) -> list[tuple[int, str]]:
    with Bag(bag) as opened:
        return [(m.logged, decode(m).data) for m in opened.messages(*span)]


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a bag's metadata.yaml."""
    path = folder / 'metadata.yaml'
    about = yaml.safe_load(path.read_text())
    change(about['rosbag2_bagfile_information'])
    path.write_text(yaml.safe_dump(about))


def joined(target: Path, parts: list[Path]) -> Path:
    """One folder of the files of several."""
    target.mkdir()
    abouts = [yaml.safe_load((part / 'metadata.yaml').read_text()) for part in parts]
    whole = abouts[0]['rosbag2_bagfile_information']
    topics: dict[str, Any] = {}
    files: list[str] = []
    for part, about in zip(parts, abouts, strict=True):
        about = about['rosbag2_bagfile_information']
        for name in about['relative_file_paths']:
            shutil.copy(part / name, target / name)
            files.append(name)
        for topic in about['topics_with_message_count']:
            name = topic['topic_metadata']['name']
            if name in topics:
                topics[name]['message_count'] += topic['message_count']
            else:
                topics[name] = topic
    whole['topics_with_message_count'] = list(topics.values())
    whole['relative_file_paths'] = files
    (target / 'metadata.yaml').write_text(yaml.safe_dump(abouts[0]))
    return target


ITEMS = [(1000 + n, f'/{"ab"[n % 2]} {n}') for n in range(12)]
