"""Bags of a robot in a namespace, with topics of a driver's own, and paths that are no bag."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip('rclpy')

from bag_files import messages_of, write_bag, write_bag_of_drive

from gausstr_core.bags.place import check_place
from gausstr_core.bags.reading import Bag
from gausstr_ros.replay.command import main
from gausstr_ros.settings.settings import read_settings

pytestmark = pytest.mark.ros
PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    grid.range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]
"""


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drive') / 'bag'
    write_bag_of_drive(folder, frames=2)
    return messages_of(folder)


@pytest.fixture
def parameters(tmp_path):
    path = tmp_path / 'parameters.yaml'
    path.write_text(PARAMETERS)
    return ['--params-file', str(path)]


def renamed(drive, path, name):
    """The drive with other topics."""
    return str(write_bag(path, [item._replace(topic=name(item.topic)) for item in drive]))


def mapped(target):
    with Bag(target) as bag:
        return sum(m.topic == '/gausstr/voxels' for m in bag.messages())


def test_transforms_under_a_namespace_are_found_with_what_is_told(
    drive, parameters, tmp_path, caplog
):
    """geometry2 433: "base_link does not exist", and not a word of /robot/tf."""
    bag = renamed(drive, tmp_path / 'bag', lambda t: f'/robot{t}' if t.startswith('/tf') else t)
    target = tmp_path / 'mapped.mcap'
    with pytest.raises(SystemExit) as refused:
        main([bag, str(target), *parameters])
    advice = '/tf:=/robot/tf /tf_static:=/robot/tf_static'
    said = str(refused.value)
    assert 'no transforms on /tf or /tf_static, but on /robot/tf, /robot/tf_static' in said
    assert said.endswith(f'add --remap {advice}') and not target.exists()
    main([bag, str(target), *parameters, '--remap', *advice.split()])
    assert mapped(target) == 2


def test_a_whole_robot_in_a_namespace_is_remapped(drive, parameters, tmp_path):
    """geometry2 433, for every input."""
    bag = renamed(drive, tmp_path / 'bag', lambda t: f'/fleet/one{t}')
    rules = [f'{topic}:=/fleet/one{topic}' for topic in {item.topic for item in drive}]
    main([bag, str(tmp_path / 'mapped.mcap'), *parameters, '--remap', *rules])
    assert mapped(tmp_path / 'mapped.mcap') == 2


def test_only_the_transforms_that_are_read_must_be_some(drive, parameters, tmp_path):
    """geometry2 433: /tf of another type beside the one that --remap names, and the reverse."""
    mixed = [item._replace(topic=f'/robot{t}') if (t := item.topic).startswith('/tf') else item
             for item in drive]  # fmt: skip
    image = next(item for item in drive if 'image' in item.topic)
    rules = ['/tf:=/robot/tf', '/tf_static:=/robot/tf_static']
    bag = write_bag(tmp_path / 'bag', [*mixed, image._replace(topic='/tf')])
    main([str(bag), str(tmp_path / 'mapped.mcap'), *parameters, '--remap', *rules])
    assert mapped(tmp_path / 'mapped.mcap') == 2
    wrong = [item for item in mixed if item.topic != '/robot/tf']
    bag = write_bag(tmp_path / 'wrong', [*wrong, image._replace(topic='/robot/tf')])
    with pytest.raises(SystemExit, match=r'/robot/tf is sensor_msgs/msg/CompressedImage'):
        main([str(bag), str(tmp_path / 'no.mcap'), *parameters, '--remap', *rules])


def test_one_of_the_two_under_a_namespace_is_warned_of(drive, parameters, tmp_path, caplog):
    """geometry2 433: /tf_static is there, /tf is another robot's."""
    bag = renamed(drive, tmp_path / 'bag', lambda t: '/robot/tf' if t == '/tf' else t)
    given = [bag, str(tmp_path / 'mapped.mcap'), *parameters]
    with pytest.raises(SystemExit):  # no odometry: no set could be mapped
        main(given)
    assert 'add --remap /tf:=/robot/tf' in caplog.text
    main([*given, '--remap', '/tf:=/robot/tf'])
    assert mapped(tmp_path / 'mapped.mcap') == 2


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [
        ('/tf', 'expected FROM:=TO'),
        ('/tf:=', 'expected FROM:=TO'),
        ('/nothing:=/x', '/nothing is no input; they are /tf, /tf_static, /CAM_FRONT/image_raw/'),
        ('/tf:=/bad name', "'/bad name' is no topic"),
        (':=/x', 'is no topic'),
    ],
)
def test_a_rule_that_is_none_is_refused(drive, parameters, tmp_path, rule, expected):
    (tmp_path / 'bag').mkdir()
    bag = renamed(drive[:1], tmp_path / 'bag' / 'bag', str)
    with pytest.raises(SystemExit, match=f'--remap .*{expected}'):
        main([bag, str(tmp_path / 'out'), *parameters, '--remap', rule])


def test_another_rule_begins_afresh(drive, parameters, tmp_path, monkeypatch):
    """What was mapped with other transforms is not taken up."""
    from gausstr_core.pipeline import OccupancyPipeline

    statics = [item._replace(topic='/other') for item in drive if item.topic == '/tf_static']
    bag = str(write_bag(tmp_path / 'bag', [*drive, *statics]))
    done, work = [], OccupancyPipeline.map

    def fails_at_the_second(*arguments):
        done.append(1)
        if len(done) == 2:
            raise torch.OutOfMemoryError('none left')
        return work(*arguments)

    monkeypatch.setattr(OccupancyPipeline, 'map', fails_at_the_second)
    given = [bag, str(tmp_path / 'mapped.mcap'), *parameters]
    with pytest.raises(SystemExit, match='none left'):
        main(given)
    main([*given, '--remap', '/tf_static:=/other'])
    assert len(done) == 4, 'both sets are mapped with the other transforms'


@pytest.mark.parametrize(
    ('given', 'heard'),
    [
        ('/axis/image_compressed', '/axis/image_compressed'),
        ('/axis/image_raw/compressed', '/axis/image_raw/compressed'),
        ('/axis/compressed', '/axis/compressed'),
        ('/axis/compressed_image', '/axis/compressed_image'),
        ('/axis/imageCompressed', '/axis/imageCompressed'),
        ('/axis/image_raw', '/axis/image_raw/compressed'),
        ('/axis/image_uncompressed', '/axis/image_uncompressed/compressed'),
        ('/compressed/image', '/compressed/image/compressed'),
    ],
)
def test_a_topic_that_says_compressed_is_taken_as_it_is(given, heard):
    """axis_camera 5: `.../image_compressed` became `.../image_compressed/compressed`."""
    values = {'cameras': ['axis'], 'cameras.axis.image_topic': given}
    (camera,) = read_settings(values).cameras
    assert camera.image_topic == heard
    (camera,) = read_settings({**values, 'image_transport': 'raw'}).cameras
    assert camera.image_topic == given


@pytest.mark.parametrize(
    ('topic', 'compressed'),
    [
        ('/axis/depth', False),
        ('/axis/depth/compressedDepth', True),
        ('/axis/depth/compressed', True),
        ('/axis/depth_compressed', True),
        ('/axis/uncompressed', False),
    ],
)
def test_a_depth_topic_says_it_the_same_way(topic, compressed):
    """axis_camera 5, for depth."""
    values = {'cameras': ['axis'], 'cameras.axis.depth_topic': topic}
    (camera,) = read_settings(values).cameras
    assert camera.compressed_depth is compressed


@pytest.mark.parametrize('last', ['/image_compressed', '/jpeg', '/image_raw'])
def test_the_bag_says_which_topic_is_compressed(drive, parameters, tmp_path, last):
    """axis_camera 5: a CompressedImage under whatever name, as the bag knows its type."""
    bag = renamed(drive, tmp_path / 'bag', lambda t: t.replace('/image_raw/compressed', last))
    lines = [
        f'    cameras.{item.topic.split("/")[1]}.image_topic: /{item.topic.split("/")[1]}{last}'
        for item in {item.topic: item for item in drive if 'image_raw' in item.topic}.values()
    ]
    (tmp_path / 'parameters.yaml').write_text(PARAMETERS + '\n'.join(lines) + '\n')
    main([bag, str(tmp_path / 'mapped.mcap'), *parameters])
    assert mapped(tmp_path / 'mapped.mcap') == 2


@pytest.fixture
def places(drive, tmp_path):
    """Paths that are bags, hold bags, or hold none."""
    bag = write_bag(tmp_path / 'drive' / 'bag', drive[:2])
    (tmp_path / 'drive' / 'truth').mkdir()
    for name in ('a', 'b'):
        shutil.copytree(bag, tmp_path / 'many' / name)
    (tmp_path / 'none' / 'deeper').mkdir(parents=True)
    shutil.copytree(bag, tmp_path / 'drive' / '.out.part' / 'out')  # of a writer at work
    for name in ('old.bag', 'notes.txt', 'nothing', 'cut.mcap.zstd'):
        (tmp_path / name).write_bytes(b'x')
    shutil.copytree(bag, tmp_path / 'bare')
    (tmp_path / 'bare' / 'metadata.yaml').unlink()
    return tmp_path


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('drive', 'drive is no bag; did you mean {0}/drive/bag?'),
        ('drive/truth', 'is no bag: expected a folder with metadata.yaml and .mcap or .db3'),
        ('drive/bagg', 'drive/bagg does not exist; did you mean {0}/drive/bag?'),
        ('many', 'many holds 2 bags; give one of {0}/many/a, {0}/many/b'),
        ('none', 'none is no bag: expected a folder with metadata.yaml'),
        ('old.bag', 'it is of ROS 1; convert it with: rosbags-convert --src {0}/old.bag --dst'),
        ('notes.txt', 'expected a rosbag2 folder, a .mcap or a .db3 file, got .txt'),
        ('nothing', 'a .mcap or a .db3 file, got no ending'),
        ('cut.mcap.zstd', 'it is a compressed file of one; did you mean its folder, {0}?'),
        ('drive/bag/metadata.yaml', 'did you mean its folder, {0}/drive/bag?'),
    ],
)
def test_a_path_that_is_no_bag_says_which_was_meant(places, parameters, path, expected):
    """field_reports N10: `gausstr-replay drive` where synthesize wrote drive/bag."""
    with pytest.raises(SystemExit) as refused:
        main([str(places / path), str(places / 'out'), *parameters])
    assert str(refused.value).startswith('gausstr-replay: ')
    assert expected.format(places) in str(refused.value)


def test_a_hint_needs_only_what_can_be_read(places, monkeypatch):
    """At the top of a disk lies lost+found, which is root's."""
    (places / 'drive' / 'lost+found').mkdir()
    whole = Path.is_file

    def guarded(path):
        if 'lost+found' in path.parts:
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return whole(path)

    monkeypatch.setattr(Path, 'is_file', guarded)
    with pytest.raises(ValueError, match=r'bagg does not exist; did you mean .*drive/bag\?'):
        check_place(places / 'drive' / 'bagg')


def test_bags_pass_whatever_state_they_are_in(places):
    for path in ('drive/bag', 'many/a', 'bare'):
        check_place(places / path)
    (file,) = (places / 'bare').iterdir()
    check_place(file)
