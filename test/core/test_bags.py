"""Bags without ROS: what is written appears when it is complete, what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import TypesysError

from gausstr_core.bags.messages import TYPES, decode, encode
from gausstr_core.bags.reading import Bag
from gausstr_core.bags.writing import BagWriter

TEXT = 'std_msgs/msg/String'
NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, '')
TOPICS = {'/latched': TEXT, '/plain': TEXT}


def write(target: Path, count: int = 3, **options) -> Path:
    with BagWriter(target, TOPICS, latched=['/latched'], **options) as writer:
        for number in range(count):
            for topic in TOPICS:
                writer.write(topic, 1000 + number, encode(TYPES[TEXT](f'{topic} {number}')))
        assert options.get('replace') or not target.exists()
    return target


def texts(bag: Path) -> list[tuple[str, int, bool, str]]:
    with Bag(bag) as opened:
        return [(m.topic, m.logged, m.latched, decode(m).data) for m in opened.messages()]


@pytest.mark.parametrize('name', ['bag', 'bag.mcap'])
def test_what_was_written_is_read_and_nothing_lies_beside_it(tmp_path: Path, name: str) -> None:
    target = write(tmp_path / name, notes={'place': 'here'}, compress=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert texts(target) == [
        (topic, 1000 + n, topic == '/latched', f'{topic} {n}')
        for n in range(3)
        for topic in TOPICS
    ]
    with Bag(target) as bag:
        spanned = [(m.topic, m.logged) for m in bag.messages(['/plain'], 1001, 1002)]
        assert spanned == [('/plain', 1001), ('/plain', 1002)]
        assert not list(bag.messages(['/other'])) and not list(bag.messages([]))
        assert bag.notes == ({'place': 'here'} if name == 'bag' else {})
        assert bag.file == ('bag.mcap' if name == 'bag' else '')
    if name == 'bag':
        with Bag(target, 'bag.mcap') as bag:
            assert len(list(bag.messages())) == 6


def test_nothing_appears_after_an_error_and_what_is_there_stays(tmp_path: Path) -> None:
    target = write(tmp_path / 'bag', 1)
    with pytest.raises(ValueError, match='bag exists already'):
        write(target)

    def refuse(folder: Path) -> None:
        assert (folder / 'metadata.yaml').is_file()
        raise OSError('no')

    with pytest.raises(OSError, match='no'):
        write(target, replace=True, finish=refuse)
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / 'other', TOPICS):
        raise KeyboardInterrupt
    with pytest.raises(TypesysError), BagWriter(tmp_path / 'other', {'/a': 'my/msg/Own'}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ['bag'] and len(texts(target)) == 2
    write(target, 2, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ['bag'] and len(texts(target)) == 4


def test_messages_are_copied_also_to_a_topic_that_is_written(tmp_path: Path) -> None:
    """Rosbags refuses a topic that is added twice: a robot has a /diagnostics of its own."""
    source = write(tmp_path / 'source')
    with Bag(source) as bag, BagWriter(tmp_path / 'out', {'/plain': TEXT}) as writer:
        for message in bag.messages():
            writer.copy(message)
        writer.write('/plain', 2000, encode(TYPES[TEXT]('ours')))
        strange = message.connection._replace(
            msgtype='my/msg/Own', digest='', msgdef=NO_DEFINITION
        )
        with pytest.raises(ValueError, match='/plain: the bag holds no definition of my/msg/Own'):
            writer.copy(message._replace(connection=strange))
    assert texts(tmp_path / 'out') == [*texts(source), ('/plain', 2000, False, 'ours')]


def test_bags_that_are_none_and_bags_that_lost_messages_are_named(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'noise.mcap').write_bytes(bytes(range(256)) * 40)
    for name, said in (
        ('absent.mcap', 'absent.mcap is not a readable bag: .* does not exist'),
        ('noise.mcap', 'noise.mcap is not a readable bag'),
        ('empty', 'empty/metadata.yaml is missing'),
    ):
        with pytest.raises(ValueError, match=said):
            Bag(tmp_path / name)
    bag = write(tmp_path / 'bag')
    about = bag / 'metadata.yaml'
    about.write_text(about.read_text().replace('message_count: 3', 'message_count: 5'))
    with pytest.raises(ValueError, match='bag is damaged: 2 messages of /latched cannot be read'):
        texts(bag)
    with Bag(bag) as opened:
        assert len(list(opened.messages(['/latched'], 1000, 1002))) == 3
    (bag / 'bag.mcap').write_bytes((bag / 'bag.mcap').read_bytes()[:-9])
    with pytest.raises(ValueError, match='bag is not a readable bag'):
        Bag(bag)
