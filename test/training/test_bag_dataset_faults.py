"""Bags as robots record them: what is skipped is counted, what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_files import (
    PERIOD,
    START,
    STORE,
    Recorded,
    T,
    ego_pose,
    header,
    messages_of,
    raw_image,
    write_bag,
    write_bag_of_drive,
)
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from gausstr_core.camera.images import rgb_image
from gausstr_core.stamps import nanoseconds
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.discovery import bag_name, find_bags
from gausstr_training.bags.reading import undistortion_of
from gausstr_training.bags.scan import Layout
from gausstr_training.bags.sets import BagSettings

FRONT, BACK = '/CAM_FRONT/image_raw/compressed', '/CAM_BACK/image_raw/compressed'
INFO = '/CAM_FRONT/camera_info'
_ANY = QosTime(0, 0)
OTHER_PUBLISHER = Qos(
    QosHistory.KEEP_LAST, 7, QosReliability.BEST_EFFORT, QosDurability.VOLATILE,
    _ANY, _ANY, QosLiveliness.AUTOMATIC, _ANY, False,
)  # fmt: skip


@pytest.fixture(scope='module')
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    """The messages of a drive of four frames, 0.5 s apart."""
    path = tmp_path_factory.mktemp('drives') / 'drive'
    write_bag_of_drive(path)
    return messages_of(path)


@pytest.fixture
def bag_of(tmp_path: Path) -> Callable[..., BagDataset]:
    """Writes a bag and opens it as a data set."""

    def build(items: list[Recorded], **settings: Any) -> BagDataset:
        notes = settings.pop('notes', None)
        path = write_bag(tmp_path / 'drive', items, notes=notes)
        return BagDataset([path], BagSettings(**settings), cache=tmp_path / 'cache')

    return build


def changed(items: list[Recorded], topic: str, change: Callable[[Any], Any]) -> list[Recorded]:
    """The messages with those of one topic replaced; what becomes None is left out."""
    fresh = [item._replace(message=change(item.message)) if item.topic == topic else item
             for item in items]  # fmt: skip
    return [item for item in fresh if item.message is not None]


def frame_of(item: Recorded) -> int:
    return (item.time - START) // PERIOD


def test_sets_that_lack_a_camera_are_counted(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    kept = [m for m in messages if not (m.topic == BACK and frame_of(m) == 1)]
    dataset = bag_of(kept)
    assert [(int(s) - START) // PERIOD for s in dataset.bags[0].stamps] == [0, 2, 3]
    assert dataset.skipped == {
        ('drive', f'/{name}/image_raw/compressed: image in no complete set'): 1
        for name in dataset.bags[0].cameras
        if name != 'CAM_BACK'
    }
    assert dataset[1].key == f'drive/{dataset.bags[0].stamps[1]}'


def test_cameras_may_be_chosen_and_ordered(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    kept = [m for m in messages if not (m.topic == BACK and frame_of(m) == 1)]
    dataset = bag_of(kept, cameras=('CAM_BACK_LEFT', 'CAM_FRONT'))
    assert len(dataset) == 4
    assert dataset[1].rig.names == ('CAM_BACK_LEFT', 'CAM_FRONT')


def test_a_robots_own_names_and_number_of_cameras(
    messages: list[Recorded], tmp_path: Path
) -> None:
    """Two cameras in a namespace of their own, frames map and chassis, rotated topics."""
    names = {'CAM_FRONT': 'rig/left', 'CAM_BACK': 'rig/right'}
    renamed = []
    for item in messages:
        camera = item.topic.split('/')[1]
        if camera in names:
            renamed.append(item._replace(topic=item.topic.replace(camera, names[camera])))
        elif camera.startswith('tf'):
            for transform in item.message.transforms:
                swap = {'odom': '/map', 'base_link': 'chassis'}
                parent = transform.header.frame_id
                transform = replace(
                    transform,
                    header=replace(transform.header, frame_id=swap.get(parent, parent)),
                    child_frame_id=swap.get(transform.child_frame_id, transform.child_frame_id),
                )
                message = T['tf2_msgs/msg/TFMessage']([transform])
                renamed.append(item._replace(message=message))
    bag = write_bag(tmp_path / 'robot', renamed)
    settings = BagSettings(layout=Layout(base_frame='chassis'), tolerance=0.05)
    frame = BagDataset([bag], settings, cache=tmp_path / 'cache')[0]
    assert frame.rig.names == ('rig/left', 'rig/right')
    np.testing.assert_allclose(frame.odom_from_ego, ego_pose(frame.stamp), atol=1e-6)


def keyframe(token: str, stamp: int, messages: list[Recorded], frame: int) -> dict[str, Any]:
    """What the bag's notes say of a keyframe that has the images of one cycle."""
    images = {
        item.topic.split('/')[1]: item.time
        for item in messages
        if item.topic.endswith('/compressed') and frame_of(item) == frame
    }
    return {'token': token, 'stamp': stamp, 'images': images}


def test_keyframes_are_the_images_and_the_instant_they_name(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    stamps = [START + 40_000_000, START + 2 * PERIOD + 48_000_000]
    told = [
        keyframe('a', stamps[0], messages, 0),
        keyframe('c', stamps[1], messages, 2),
        keyframe('gone', START + 99 * PERIOD, messages, 99),
    ]
    # as if a camera had been assigned the image of the next cycle: not what grouping would find
    told[1]['images']['CAM_FRONT'] = keyframe('', 0, messages, 3)['images']['CAM_FRONT']
    dataset = bag_of(messages, keyframes_only=True, notes={'keyframes': json.dumps(told)})
    assert dataset.tokens == ['a', 'c']
    assert [dataset[i].token for i in range(2)] == ['a', 'c']
    assert [dataset[i].stamp for i in range(2)] == stamps
    assert dataset[1].image_stamps == tuple(told[1]['images'][c] for c in dataset[1].rig.names)
    np.testing.assert_allclose(dataset[1].odom_from_ego, ego_pose(stamps[1]), atol=1e-6)
    skipped = {reason: count for (_, reason), count in dataset.skipped.items()}
    assert skipped['set that is no keyframe'] == 1  # the fourth lost an image to a keyframe
    assert skipped['keyframe without a set'] == 1
    assert skipped[f'{FRONT}: image in no complete set'] == 1
    bag = dataset.bags[0].path
    every = BagDataset([bag], cache=bag.parent / 'cache')
    assert every.tokens == ['a', '', 'c']


def test_frames_keep_the_least_period(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    dataset = bag_of(messages, period=0.8)
    assert [(int(s) - START) // PERIOD for s in dataset.bags[0].stamps] == [0, 2]
    assert dataset.skipped == {('drive', 'set before the period was over'): 2}


def test_instants_without_poses_are_skipped(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    """No pose is extrapolated, nor interpolated over a gap in the localisation."""
    second = START + PERIOD
    kept = [
        m
        for m in messages
        if m.topic != '/tf'
        or START + PERIOD // 2 < m.time < second
        or m.time > second + PERIOD // 2
    ]
    dataset = bag_of(kept, pose_gap=0.2)
    assert [(int(s) - START) // PERIOD for s in dataset.bags[0].stamps] == [2, 3]
    assert dataset.skipped == {('drive', 'set without poses around its stamps'): 2}


def test_messages_that_say_nothing_are_counted(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    front = [m for m in messages if m.topic == FRONT]
    unset = front[0]._replace(
        time=front[0].time + 1, message=replace(front[0].message, header=header(0, 'CAM_FRONT'))
    )
    twice = front[2]._replace(time=front[2].time + 7)
    pose = next(m for m in messages if m.topic == '/tf')
    (transform,) = pose.message.transforms
    broken = replace(
        transform.transform, translation=T['geometry_msgs/msg/Vector3'](np.nan, 0.0, 0.0)
    )
    nan = pose._replace(
        message=T['tf2_msgs/msg/TFMessage']([replace(transform, transform=broken)])
    )
    dataset = bag_of([*messages, unset, twice, nan])
    assert len(dataset) == 4
    assert dataset.skipped == {
        ('drive', f'{FRONT}: message without a stamp'): 1,
        ('drive', f'{FRONT}: message with the stamp of another'): 1,
        ('drive', '/tf: transform that is not finite or has no unit quaternion'): 1,
    }
    assert dataset[2].images[0].shape == (36, 64, 3)


def test_a_calibration_holds_from_its_stamp_on(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    changes = [START + 2 * PERIOD]

    def longer(info: Any) -> Any:
        stamp = nanoseconds(info.header.stamp)
        if stamp < START + PERIOD:
            return None  # the first frame has none of its own
        if stamp < changes[0]:
            return info
        k = info.k.copy()
        k[0] *= 2
        return replace(info, k=k)

    dataset = bag_of(changed(messages, INFO, longer))
    focal = [float(dataset[i].rig.intrinsics[0, 0, 0]) for i in range(4)]
    assert focal == pytest.approx([focal[1], focal[1], 2 * focal[1], 2 * focal[1]])


@pytest.mark.parametrize(
    ('model', 'd'),
    [('plumb_bob', [-0.2, 0.05, 0.001, -0.001, 0.0]), ('equidistant', [0.02, -0.01, 0.0, 0.0])],
)
def test_distorted_images_come_as_a_pinhole_sees_them(
    messages: list[Recorded], bag_of: Callable[..., BagDataset], model: str, d: list[float]
) -> None:
    dataset = bag_of(told(messages, INFO, distortion_model=model, d=np.array(d)))
    frame, calibration = dataset[1], dataset.bags[0].calibrations[0][0]
    lens = undistortion_of(calibration.lens())
    assert calibration.model == model
    np.testing.assert_allclose(frame.rig.intrinsics[0], lens.intrinsics, rtol=1e-6)
    (recorded,) = (m for m in messages if m.topic == FRONT and frame_of(m) == 1)
    expected = lens.image(rgb_image(recorded.message))
    assert (frame.images[0].numpy() == expected).all()
    assert lens.intrinsics[0, 0] != calibration.k[0]


def test_binned_images_of_a_region_are_read(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    """A sensor of 200x100, of which 128x72 pixels are read out two by two."""
    region = T['sensor_msgs/msg/RegionOfInterest'](30, 20, 72, 128, False)
    matrix = np.array([100.0, 0, 99.5, 0, 80, 49.5, 0, 0, 1])
    sensor = {'width': 200, 'height': 100, 'k': matrix, 'roi': region}
    dataset = bag_of(told(messages, INFO, binning_x=2, binning_y=2, **sensor))
    rig = dataset[1].rig
    assert rig.image_sizes[0] == (36, 64)
    assert rig.intrinsics[0].tolist() == [[50, 0, 35], [0, 40, 15], [0, 0, 1]]


def told(items: list[Recorded], topic: str, **values: Any) -> list[Recorded]:
    """The messages with fields of one topic's set."""
    return changed(items, topic, lambda message: replace(message, **values))


def without(items: list[Recorded], *topics: str) -> list[Recorded]:
    return [item for item in items if item.topic not in topics]


FAULTS: dict[str, tuple[Callable[[list[Recorded]], list[Recorded]], str]] = {
    'no ego pose': (
        lambda m: without(m, '/tf'),
        r'no transform from base_link to odom or map in /tf: the bag links base_link',
    ),
    'no mounting': (
        lambda m: without(m, '/tf_static'),
        r'no transform from CAM_FRONT to odom: the recording links CAM_FRONT',
    ),
    'two parents': (
        lambda m: [
            *m,
            next(i for i in m if i.topic == '/tf_static')._replace(topic='/tf', time=START),
        ],
        r'hangs on base_link \(/tf_static\) and on base_link \(/tf\): expected one parent',
    ),
    'no calibration': (
        lambda m: without(m, INFO),
        r'camera CAM_FRONT has no CameraInfo on /CAM_FRONT/camera_info',
    ),
    'not calibrated': (
        lambda m: told(m, INFO, k=np.diag([0.0, 0, 1]).ravel()),
        r'/CAM_FRONT/camera_info: expected focal lengths > 0 pixels',
    ),
    'region': (
        lambda m: told(
            m, INFO, roi=T['sensor_msgs/msg/RegionOfInterest'](40, 2, 20, 40, False)
        ),
        r'/CAM_FRONT/camera_info: the region of interest 40x20 at 40, 2 reaches beyond .* 64x36',
    ),
    'distortion': (
        lambda m: told(m, INFO, distortion_model='double_sphere', d=np.array([0.5, 0.2])),
        r"/CAM_FRONT/camera_info: distortion model must be one of .* got 'double_sphere'",
    ),
    'distortion of zeros': (
        lambda m: told(m, INFO, distortion_model='fisheye', d=np.zeros(4)),
        r"/CAM_FRONT/camera_info: distortion model must be one of .* got 'fisheye'",
    ),
    'no frame_id': (
        lambda m: changed(
            m, FRONT, lambda i: replace(i, header=replace(i.header, frame_id=''))
        ),
        r'camera CAM_FRONT: its images have an empty frame_id',
    ),
    'no images': (
        lambda m: [i for i in m if 'image_raw' not in i.topic],
        r'no camera: expected topics /<camera>/image_raw/compressed',
    ),
    'no sets': (
        lambda m: [i for i in m if i.topic != BACK or frame_of(i) == 9],
        r'no images of camera CAM_BACK',
    ),
}  # fmt: skip


@pytest.mark.parametrize('fault', FAULTS)
def test_what_a_bag_lacks_is_named(
    messages: list[Recorded], tmp_path: Path, bag_of: Callable[..., BagDataset], fault: str
) -> None:
    change, expected = FAULTS[fault]
    settings = {'cameras': ('CAM_FRONT', 'CAM_BACK')} if fault == 'no sets' else {}
    with pytest.raises(ValueError, match=expected) as caught:
        bag_of(change(messages), **settings)
    assert str(caught.value).startswith(f'{tmp_path / "drive"}: ')


def test_a_bag_without_one_complete_set_says_why(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    with pytest.raises(ValueError, match=r'no frame of 6 cameras; skipped: 4 x .*CAM_FRONT.*set'):
        bag_of(messages, tolerance=0.01)


def test_every_broken_bag_is_named_at_once(messages: list[Recorded], tmp_path: Path) -> None:
    places = [
        write_bag(tmp_path / 'one', without(messages, '/tf')),
        write_bag(tmp_path / 'two', messages),
        write_bag(tmp_path / 'three', without(messages, '/tf_static')),
        tmp_path / 'four' / 'metadata.yaml',
    ]
    places[3].parent.mkdir()
    places[3].write_text('nothing: here')
    with pytest.raises(ValueError) as caught:
        BagDataset([tmp_path], cache=tmp_path / '.cache')
    named = [line.split(':')[0].split(' ')[0] for line in str(caught.value).splitlines()]
    assert named == [str(tmp_path / name) for name in ('four', 'one', 'three')]


IMAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    'empty': (lambda i: replace(i, data=i.data[:0]), 'image is empty'),
    'truncated': (lambda i: replace(i, data=i.data[: len(i.data) // 2]), 'truncated JPEG'),
    'text': (lambda i: replace(i, data=np.full(90, 65, np.uint8)), 'no JPEG or PNG'),
}  # fmt: skip


@pytest.mark.parametrize('fault', IMAGES)
def test_a_damaged_image_is_named(
    messages: list[Recorded], tmp_path: Path, bag_of: Callable[..., BagDataset], fault: str
) -> None:
    change, expected = IMAGES[fault]
    dataset = bag_of(changed(messages, BACK, change))
    stamp = dataset.bags[0].image_stamps[2, 3]
    with pytest.raises(
        ValueError, match=rf'{tmp_path / "drive"}: {BACK} at {stamp}: .*{expected}'
    ):
        dataset[2]


def test_a_raw_image_that_is_no_colour_image_is_named(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    kept = [m for m in messages if m.topic != FRONT]
    for item in messages:
        if item.topic == FRONT:
            image = replace(raw_image(item.message, 'mono8'), encoding='16UC1')
            kept.append(
                Recorded(item.time, '/CAM_FRONT/image_raw', 'sensor_msgs/msg/Image', image)
            )
    with pytest.raises(ValueError, match=r"/CAM_FRONT/image_raw at \d+: .* got encoding '16UC1'"):
        bag_of(kept)[0]


def test_an_image_of_another_size_than_its_calibration_is_named(
    messages: list[Recorded], bag_of: Callable[..., BagDataset]
) -> None:
    binned = told(messages, INFO, width=256, height=144, binning_x=2, binning_y=2)
    expected = r'the image has 64x36 pixels .* is for 256x144, binned by 2x2'
    with pytest.raises(ValueError, match=rf'{FRONT} at \d+: {expected}'):
        bag_of(binned)[0]


@pytest.mark.parametrize('keep', [0, 20, 3000])
def test_a_damaged_file_is_named(messages: list[Recorded], tmp_path: Path, keep: int) -> None:
    bag = write_bag(tmp_path / 'drive', messages)
    file = bag / 'drive.mcap'
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=str(bag)):
        BagDataset([bag], cache=tmp_path / 'cache')


def test_a_bag_damaged_in_the_middle_is_named(messages: list[Recorded], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'drive', messages)
    file = bag / 'drive.mcap'
    data = bytearray(file.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 4000] = bytes(range(250)) * 16
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf'{bag} is damaged: \d+ messages of /.* cannot be read'):
        BagDataset([bag], cache=tmp_path / 'cache')


@pytest.mark.parametrize('notes', ['[1, 2]', '{', '{"a": 1}', '[{"token": "a", "stamp": 1}]'])
def test_keyframes_that_are_no_table_are_named(
    messages: list[Recorded], bag_of: Callable[..., BagDataset], notes: str
) -> None:
    with pytest.raises(ValueError, match=r"drive: custom data 'keyframes' .* must be a JSON list"):
        bag_of(messages, notes={'keyframes': notes})


@pytest.mark.parametrize(
    ('wrong', 'expected'),
    [
        ({'tolerance': -1}, 'tolerance must be >= 0'),
        ({'period': float('nan')}, 'period must be >= 0'),
        ({'cameras': ('a', 'b', 'a')}, 'each come once'),
        ({'fixed_frames': ()}, 'at least one frame'),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        BagSettings(**wrong)


def test_bags_are_found_and_named(tmp_path: Path) -> None:
    for name in (
        *('b/metadata.yaml', 'street_3/bag/metadata.yaml', '.b.part/metadata.yaml'),
        *('b/b_0.mcap', 'deep/er/x.mcap', 'deep/.y.mcap', 'notes.txt', 'z.db3'),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_bags([tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        'b', 'deep/er/x.mcap', 'street_3/bag', 'z.db3'
    ]  # fmt: skip
    assert [bag_name(path) for path in found] == ['b', 'x', 'street_3', 'z']
    assert find_bags([tmp_path / 'b', tmp_path]) == found
    with pytest.raises(ValueError, match=r'notes\.txt holds no bag'):
        find_bags([tmp_path / 'notes.txt'])
    with pytest.raises(ValueError, match='nowhere does not exist'):
        find_bags([tmp_path / 'nowhere'])
    (tmp_path / 'deep' / 'z.mcap').touch()
    with pytest.raises(ValueError, match=r"z\.mcap and .*z\.db3 are both called 'z'"):
        find_bags([tmp_path])


def test_a_topic_of_two_publishers_is_one(messages: list[Recorded], tmp_path: Path) -> None:
    """Recorders keep a channel for each kind of publisher; none of their messages is missed."""
    path = tmp_path / 'two' / 'two.mcap'
    with Writer(path.parent, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        channels: dict[tuple[str, int], Any] = {}
        for number, item in enumerate(messages):
            key = item.topic, number % 2 if item.topic == '/tf' else 0
            if key not in channels:
                profiles = [OTHER_PUBLISHER] if key[1] else []
                channels[key] = writer.add_connection(
                    item.topic, item.kind, typestore=STORE, offered_qos_profiles=profiles
                )
            raw = STORE.serialize_cdr(item.message, item.kind)
            writer.write(channels[key], item.time, raw)
    alone = tmp_path / 'drive.mcap'
    path.rename(alone)
    dataset = BagDataset([alone], cache=tmp_path / 'cache')
    assert len(dataset) == 4
    np.testing.assert_allclose(dataset[1].odom_from_ego, ego_pose(dataset[1].stamp), atol=1e-6)
