"""gausstr-replay on bags as others have them, and the files that two runs give."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from pathlib import Path

import pytest
from filelock import FileLock

pytestmark = pytest.mark.ros
rclpy = pytest.importorskip('rclpy')

from bag_files import START, STORE, Recorded, messages_of, write_bag, write_bag_of_drive
from diagnostic_msgs.msg import DiagnosticArray
from mcap_bytes import Topic, write_mcap
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapReader
from text_bags import joined

from gausstr_core.bags.reading import Bag
from gausstr_ros.demo.bag_player import BagPlayer
from gausstr_ros.messages.stamps import header_message
from gausstr_ros.replay.command import main

PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    threads: 1
    grid:
      range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]
"""
ALL = ['occupancy_grid', 'voxels', 'gaussians', 'voxel_markers', 'depth', 'semantics']


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('drive')
    (folder / 'parameters.yaml').write_text(PARAMETERS)
    write_bag_of_drive(folder / 'bag', 2)
    return folder


def given(drive: Path, target: Path, bag: Path | None = None, names=('occupancy_grid',)):
    parameters = ['--params-file', str(drive / 'parameters.yaml')]
    return [str(bag or drive / 'bag'), str(target), *parameters, '--outputs', *names]


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as reader:
        return [(c.topic, time, bytes(raw)) for c, time, raw in reader.messages()]


def outputs(path: Path) -> list[tuple[str, int, bytes]]:
    return [item for item in read(path) if item[0].startswith('/gausstr/')]


# --- the same bytes: field_reports X1


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_replays_give_one_file(drive: Path, tmp_path: Path, capsys) -> None:
    """Field_reports X1: rclpy leaves in the padding of CDR what lay in memory."""
    main(given(drive, tmp_path / 'one.mcap', names=ALL))
    said = capsys.readouterr().out
    litter = [os.urandom(5000) for _ in range(1000)]  # other leftovers for the second
    del litter
    main(given(drive, tmp_path / 'two.mcap', names=ALL))
    main(given(drive, tmp_path / 'folder', names=ALL))
    (tmp_path / 'other').mkdir()
    main(given(drive, tmp_path / 'other' / 'folder', names=ALL))
    assert digest(tmp_path / 'one.mcap') == digest(tmp_path / 'two.mcap')
    for name in ('folder.mcap', 'metadata.yaml'):
        assert digest(tmp_path / 'folder' / name) == digest(tmp_path / 'other' / 'folder' / name)
    assert 'medians of a set: ' in said and '[ms]' in said
    kinds = {topic.split('/')[-1] for topic, *_ in outputs(tmp_path / 'one.mcap')}
    assert kinds == {*ALL, 'categories'}


def test_what_is_written_has_zeros_between_its_fields(drive: Path, tmp_path: Path) -> None:
    """Field_reports X1: 140 000 bytes of each ~/gaussians were leftovers of memory."""
    main(given(drive, tmp_path / 'out', names=ALL))
    with Bag(tmp_path / 'out') as bag:
        ours = [m for m in bag.messages() if m.topic.startswith(('/gausstr/', '/diagnostics'))]
        assert len(ours) > 2 * len(ALL)
        for message in ours:
            if message.kind in STORE.types:
                content = STORE.deserialize_cdr(message.raw, message.kind)
                assert bytes(message.raw) == STORE.serialize_cdr(content, message.kind)


# --- topics: field_reports B3, B4, B5


def test_a_bag_with_diagnostics_of_its_own_keeps_them(drive: Path, tmp_path: Path) -> None:
    """Field_reports B3; LIO-SAM 558: rosbags-convert writes topics without QoS."""
    theirs = STORE.deserialize_cdr(
        serialize_message(DiagnosticArray(header=header_message(START, 'theirs'))),
        'diagnostic_msgs/msg/DiagnosticArray',
    )
    items = messages_of(drive / 'bag')
    kind = 'diagnostic_msgs/msg/DiagnosticArray'
    items.append(Recorded(items[0].time, '/diagnostics', kind, theirs))
    bag = write_bag(tmp_path / 'bag', items)
    main(given(drive, tmp_path / 'out.mcap', bag))
    frames = [
        deserialize_message(raw, DiagnosticArray).header.frame_id
        for topic, _, raw in read(tmp_path / 'out.mcap')
        if topic == '/diagnostics'
    ]
    assert frames == ['theirs', '', '']
    with Reader(tmp_path / 'out.mcap') as reader:
        assert sum(c.topic == '/diagnostics' for c in reader.connections) == 1


def test_topics_that_cannot_be_copied_are_left_out_with_one_warning(
    drive: Path, tmp_path: Path, caplog
) -> None:
    """Field_reports B4; rosbag2 307, 591, 1922; mcap 810, 837, 1302; kleinkram 1250."""
    write_bag(tmp_path / 'bag', messages_of(drive / 'bag'))
    times = [(START + 10**8 * n, b'\0\1\0\0\1\0\0\0\0') for n in range(5)]
    foreign = [
        Topic('/proto', 'foxglove.Log', 'protobuf', 'protobuf', times),
        Topic('/own', 'my_msgs/msg/Own', 'unknown', 'cdr', times),
        Topic('/chatter', 'std_msgs/msg/String', 'ros2msg', 'cdr', times),
    ]
    (tmp_path / 'more').mkdir()
    write_mcap(tmp_path / 'more' / 'more.mcap', foreign)
    about = (tmp_path / 'bag' / 'metadata.yaml').read_text()
    (tmp_path / 'more' / 'metadata.yaml').write_text(about.replace('bag.mcap', 'more.mcap'))
    # metadata.yaml says nothing of what the second file holds
    bag = joined(tmp_path / 'mixed', [tmp_path / 'bag', tmp_path / 'more'])
    text = (bag / 'metadata.yaml').read_text()
    (bag / 'metadata.yaml').write_text(_halved(text))
    main(given(drive, tmp_path / 'out.mcap', bag))
    left_out = [r.getMessage() for r in caplog.records if 'left out' in r.getMessage()]
    assert sorted(left_out) == [
        'left out: /own: the bag holds no definition of my_msgs/msg/Own',
        "left out: /proto: foxglove.Log is serialised as 'protobuf', expected 'cdr'",
    ]
    found = read(tmp_path / 'out.mcap')
    assert sum(topic == '/chatter' for topic, *_ in found) == 5
    main(given(drive, tmp_path / 'plain.mcap'))
    assert outputs(tmp_path / 'out.mcap') == outputs(tmp_path / 'plain.mcap')


def _halved(text: str) -> str:
    """Counts that `joined` has added up although both files were described by one text."""
    import yaml

    about = yaml.safe_load(text)
    for topic in about['rosbag2_bagfile_information']['topics_with_message_count']:
        topic['message_count'] //= 2
    return yaml.safe_dump(about)


@pytest.mark.parametrize(
    ('parameters', 'said'),
    [
        (
            'image_transport: raw\n    cameras: [CAM_BACK]\n    cameras.CAM_BACK.image_topic: '
            '/CAM_BACK/image_raw/compressed',
            r'/CAM_BACK/image_raw/compressed is sensor_msgs/msg/CompressedImage, expected '
            r'sensor_msgs/msg/Image: see cameras\.CAM_BACK\.image_topic and image_transport',
        ),
        (
            'cameras: [CAM_BACK]\n    cameras.CAM_BACK.camera_info_topic: '
            '/CAM_BACK/image_raw/compressed',
            r'/CAM_BACK/image_raw/compressed is sensor_msgs/msg/CompressedImage, expected '
            r'sensor_msgs/msg/CameraInfo: see cameras\.CAM_BACK\.camera_info_topic',
        ),
        (
            'depth_source: topic\n    cameras: [CAM_BACK]\n    cameras.CAM_BACK.depth_topic: '
            '/CAM_BACK/camera_info',
            r'/CAM_BACK/camera_info is sensor_msgs/msg/CameraInfo, expected '
            r'sensor_msgs/msg/Image: see cameras\.CAM_BACK\.depth_topic',
        ),
    ],
)
def test_a_topic_of_another_type_is_named(
    drive: Path, tmp_path: Path, parameters: str, said: str
) -> None:
    """Field_reports B5; MIAS-LCEC 6: topic, found, expected, parameter."""
    file = tmp_path / 'mine.yaml'
    file.write_text(f'{PARAMETERS}    {parameters}\n')
    with pytest.raises(SystemExit, match=rf'gausstr-replay: .*bag: {said}'):
        main([str(drive / 'bag'), str(tmp_path / 'out'), '--params-file', str(file)])
    assert [path.name for path in tmp_path.iterdir()] == ['mine.yaml']


def test_transforms_of_another_type_are_named(drive: Path, tmp_path: Path) -> None:
    """Field_reports B5: /tf as a conversion of ROS 1 may leave it."""
    items = [m for m in messages_of(drive / 'bag') if m.topic != '/tf']
    text = STORE.types['std_msgs/msg/String']('odom')
    bag = write_bag(tmp_path / 'bag', [*items, Recorded(START, '/tf', text.__msgtype__, text)])
    with pytest.raises(SystemExit, match='/tf is std_msgs/msg/String, expected tf2_msgs/msg/TFM'):
        main(given(drive, tmp_path / 'out', bag))


def test_a_message_that_is_cut_costs_itself_only(drive: Path, tmp_path: Path) -> None:
    """Field_reports B5: RMWError, and a traceback."""
    bag = tmp_path / 'bag'
    with (
        Reader(drive / 'bag') as reader,
        Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        topics = {
            c.topic: writer.add_connection(c.topic, c.msgtype, typestore=STORE)
            for c in reader.connections
        }
        for connection, time, raw in reader.messages():
            cut = raw[:20] if connection.topic == '/CAM_BACK/camera_info' else raw
            writer.write(topics[connection.topic], time, cut)
    (drive / 'five.yaml').write_text(f'{PARAMETERS}    sync.min_cameras: 5\n')
    given_ = [str(bag), str(tmp_path / 'out'), '--params-file', str(drive / 'five.yaml')]
    main(given_)
    assert any(topic == '/gausstr/voxels' for topic, *_ in read(tmp_path / 'out'))


# --- who else is there: field_reports B9, B10


def test_a_second_replay_of_one_target_is_refused_and_leaves_all_alone(
    drive: Path, tmp_path: Path
) -> None:
    """Field_reports B9: with other outputs one deleted the other's OUT."""
    target = tmp_path / 'out'
    with FileLock(tmp_path / '.out.lock', timeout=0):  # as the first one holds it
        (tmp_path / '.out.part').mkdir()
        (tmp_path / '.out.0123456789ab.journal').write_bytes(b'of an interrupted one')
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(SystemExit, match=r'another process is writing .*out'):
            main(given(drive, target, names=('voxels',)))
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    main(given(drive, target))
    assert [path.name for path in tmp_path.iterdir()] == ['out']


@pytest.mark.parametrize('number', [errno.EIO, errno.ESTALE, errno.ENODEV])
def test_a_disk_that_fails_leaves_the_journal(
    drive: Path, tmp_path: Path, monkeypatch, caplog, number: int
) -> None:
    """Field_reports B10: "is damaged", and the journal of 100 sets was deleted."""
    messages = McapReader.messages

    def failing(self, connections, *span):
        for count, message in enumerate(messages(self, connections, *span)):
            if len(connections) > 2 and count == 20:  # not when /tf alone is read
                raise OSError(number, os.strerror(number))
            yield message

    monkeypatch.setattr(McapReader, 'messages', failing)
    with pytest.raises(
        SystemExit, match=rf'(?i)bag cannot be read any more: {os.strerror(number)}'
    ):
        main(given(drive, tmp_path / 'out.mcap'))
    (left,) = tmp_path.iterdir()
    assert left.suffix == '.journal'
    monkeypatch.setattr(McapReader, 'messages', messages)
    main(given(drive, tmp_path / 'out.mcap'))
    main(given(drive, tmp_path / 'whole.mcap'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out.mcap', 'whole.mcap']
    assert digest(tmp_path / 'out.mcap') == digest(tmp_path / 'whole.mcap')
    assert 'sets are mapped already' in caplog.text


# --- files that overlap: field_reports X2


def test_the_map_of_a_split_drive_is_that_of_the_whole(drive: Path, tmp_path: Path) -> None:
    """Field_reports X2, through the command."""
    items = messages_of(drive / 'bag')
    rng = random.Random(1)
    parts: list[list[Recorded]] = [[], [], []]
    for item in items:
        rng.choice(parts).append(item)
    folders = [write_bag(tmp_path / f'part{n}', part) for n, part in enumerate(parts)]
    main(given(drive, tmp_path / 'whole.mcap'))
    main(given(drive, tmp_path / 'split.mcap', joined(tmp_path / 'bag', folders)))
    assert outputs(tmp_path / 'split.mcap') == outputs(tmp_path / 'whole.mcap')


# --- the player: field_reports B4, B5


def test_the_player_names_who_listens_with_another_type(tester, tmp_path: Path) -> None:
    """Field_reports B5."""
    from std_msgs.msg import Int32

    text = STORE.types['std_msgs/msg/String']('x')
    bag = write_bag(tmp_path / 'bag', [Recorded(START, '/said', text.__msgtype__, text)])
    tester.listen('/said', Int32)
    with Bag(bag) as opened:
        context = rclpy.Context()  # as in a process of its own: one has one type a topic
        rclpy.init(context=context)
        node = rclpy.create_node('player', context=context)
        player = BagPlayer(node, opened)
        said = r'/said \(std_msgs/msg/String in the bag, heard by .* as std_msgs/msg/Int32'
        # who listens is known a while after the publisher is made
        tester.wait(lambda: node.get_subscriptions_info_by_topic('/said'), what='listener')
        with pytest.raises(ValueError, match=said):
            player.wait_matched(0.1)
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_the_player_leaves_out_what_is_not_installed(tester, tmp_path: Path, caplog) -> None:
    """Field_reports B4."""
    raw = b'\0\1\0\0\2\0\0\0x\0'
    topics = [
        Topic('/proto', 'foxglove.Log', 'protobuf', 'protobuf', [(1, raw)]),
        Topic('/own', 'my_msgs/msg/Own', 'unknown', 'cdr', [(1, raw)]),
    ]
    bag = write_mcap(tmp_path / 'none.mcap', topics)
    with Bag(bag) as opened, pytest.raises(ValueError, match=r'none\.mcap: no topic of it can be'):
        BagPlayer(tester.node, opened)
    plain = Topic('/said2', 'std_msgs/msg/String', 'ros2msg', 'cdr', [(1, raw)])
    with Bag(write_mcap(tmp_path / 'mixed.mcap', [*topics, plain])) as opened:
        player = BagPlayer(tester.node, opened)
    assert player.unmatched() == ['/said2'] and player.play(1.0) == 1
    assert '/own: message type my_msgs/msg/Own is not installed' in caplog.text


def test_the_player_refuses_a_topic_of_two_types(tester, tmp_path: Path) -> None:
    """Field_reports B5: rclpy has one publisher a topic."""
    raw = b'\0\1\0\0\2\0\0\0x\0'
    topics = [
        Topic('/said', kind, 'unknown', 'cdr', [(time, raw)])
        for time, kind in enumerate(['std_msgs/msg/String', 'std_msgs/msg/Int32'], 1)
    ]
    with (
        Bag(write_mcap(tmp_path / 'two.mcap', topics)) as opened,
        pytest.raises(
            ValueError, match=r'/said is both std_msgs/msg/String and std_msgs/msg/Int32'
        ),
    ):
        BagPlayer(tester.node, opened)
