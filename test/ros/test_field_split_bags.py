"""A drive in files that overlap in time: a recorder splits by size while a cache drains."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from bag_files import START
from mcap_bytes import Topic, write_mcap

from gausstr_core.bags.reading import Bag
from gausstr_ros.sets.limits import Grouping
from gausstr_ros.sets.synchroniser import Synchroniser

TEXT = 'std_msgs/msg/String'
NAMES = tuple('abcdef')
TOPICS = {f'/{name}/image_raw/compressed': name for name in NAMES}
Item = tuple[int, str]  # time, topic


def split_bag(folder: Path, parts: list[list[Item]]) -> Path:
    """A folder of one file per part."""
    folder.mkdir()
    for number, part in enumerate(parts):
        topics = [
            Topic(name, TEXT, 'ros2msg', 'cdr', [(time, b'') for time, at in part if at == name])
            for name in sorted({topic for _, topic in part})
        ]
        write_mcap(folder / f'{number}.mcap', topics)
    counts = Counter(topic for part in parts for _, topic in part)
    about = {
        'version': 5,
        'storage_identifier': 'mcap',
        'relative_file_paths': [f'{number}.mcap' for number in range(len(parts))],
        'duration': {'nanoseconds': 1},
        'starting_time': {'nanoseconds_since_epoch': START},
        'message_count': sum(counts.values()),
        'topics_with_message_count': [
            {
                'topic_metadata': {'name': name, 'type': TEXT, 'serialization_format': 'cdr'},
                'message_count': count,
            }
            for name, count in counts.items()
        ],
    }
    text = json.dumps({'rosbag2_bagfile_information': about})  # which is YAML
    (folder / 'metadata.yaml').write_text(text)
    return folder


def sets_of(bag: Path) -> list[tuple[int, dict[str, int], tuple[str, ...]]]:
    """The sets that a replay would map: stamp, images by their number in the bag, and gaps."""
    groups: Synchroniser[int] = Synchroniser(Grouping(NAMES, 0.06, 1.0))
    made = []
    with Bag(bag) as opened:
        for count, message in enumerate(opened.messages(TOPICS)):
            made += groups.add(TOPICS[message.topic], message.logged, count)
    return [(s.stamp, s.payloads, s.missing) for s in [*made, *groups.flush()]]


@pytest.mark.slow
def test_a_drive_split_at_random_gives_the_same_sets(tmp_path: Path) -> None:
    """Field_reports X2: 12 partial sets instead of 6 complete ones, out of order, exit 0."""
    rng = random.Random(2)
    items = [
        (START + frame * 500_000_000 + 3_000_000 * place, topic)
        for frame in range(6)
        for place, topic in enumerate(TOPICS)
    ]
    whole = sets_of(split_bag(tmp_path / 'whole', [items]))
    assert len(whole) == 6 and not any(missing for *_, missing in whole)
    length = items[-1][0] - START + 3_000_000_001
    for run in range(1000):
        count = rng.randint(2, 5)
        shift = {topic: rng.randint(0, 3_000_000_000) for topic in TOPICS}
        parts: list[list[Item]] = [[] for _ in range(count)]
        for time, topic in items:
            parts[(time - START + shift[topic]) * count // length].append((time, topic))
        rng.shuffle(parts)
        bag = split_bag(tmp_path / f'run{run}', [part for part in parts if part])
        assert sets_of(bag) == whole, (run, parts)
