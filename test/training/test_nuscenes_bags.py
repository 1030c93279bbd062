"""What a converted bag holds, compared with the tree it was made from."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from docs_snippets import blocks, run
from nuscenes_drives import real_drive
from nuscenes_tree import write_tree
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from scipy.ndimage import maximum_filter

from gausstr_core.contracts import VoxelGrid
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.sets import BagSettings
from gausstr_training.evaluation.occ3d import label_files as occ3d
from gausstr_training.nuscenes.convert import write_bag
from gausstr_training.nuscenes.tables import read_scenes
from gausstr_training.nuscenes_to_rosbag import main

STORE = get_typestore(Stores.ROS2_JAZZY)


class Logged(NamedTuple):
    stamp: int
    message: object


def read_bag(path: Path) -> dict[str, list[Logged]]:
    topics = defaultdict(list)
    with Reader(path) as reader:
        for connection, stamp, raw in reader.messages():
            message = STORE.deserialize_cdr(raw, connection.msgtype)
            topics[connection.topic].append(Logged(stamp, message))
        assert {c.topic: c.msgcount for c in reader.connections} == {
            topic: len(messages) for topic, messages in topics.items()
        }
    return topics


class Tree:
    """The tables of a tree, linked by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = {
            path.stem: {row['token']: row for row in json.loads(path.read_text())}
            for path in (root / 'v1.0-mini').glob('*.json')
        }

    def samples(self, scene: str) -> dict[str, dict]:
        (own,) = (t for t, row in self.tables['scene'].items() if row['name'] == scene)
        return {t: row for t, row in self.tables['sample'].items() if row['scene_token'] == own}

    def data(self, scene: str) -> list[tuple[str, dict, dict, dict]]:
        """Channel, and the rows of sample_data, calibrated_sensor and ego_pose."""
        samples, found = self.samples(scene), []
        for row in self.tables['sample_data'].values():
            mount = self.tables['calibrated_sensor'][row['calibrated_sensor_token']]
            channel = self.tables['sensor'][mount['sensor_token']]['channel']
            if row['sample_token'] in samples and not channel.startswith('RADAR'):
                pose = self.tables['ego_pose'][row['ego_pose_token']]
                found.append((channel, row, mount, pose))
        return found


@pytest.fixture(scope='module', params=['streets', 'streets, keyframes only', 'real'])
def case(request, tmp_path_factory):
    """A tree, the name of a scene in it, its bag, and whether only keyframes are in it."""
    folder = tmp_path_factory.mktemp('case')
    keyframes_only = 'only' in request.param
    if request.param == 'real':
        frame = request.getfixturevalue('shared') / 'data' / 'nuscenes_frame'
        root = write_tree(folder / 'tree', 'v1.0-mini', [real_drive(frame)])
        scene = 'scene-0061'
    else:
        root, scene = request.getfixturevalue('nuscenes_tree'), 'scene-0001'
    options = ['--keyframes-only'] * keyframes_only
    main([str(root), '--output', str(folder / 'bags'), '--scenes', scene, *options])
    return Tree(root), scene, folder / 'bags' / scene, keyframes_only


def nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def wanted(case, kind: str):
    """Channel, file and rows of the sensor data that the bag must have, in the order of time."""
    tree, scene, _, keyframes_only = case
    rows = [
        (channel, tree.root / row['filename'], row, mount)
        for channel, row, mount, _ in tree.data(scene)
        if channel.startswith(kind) and (row['is_key_frame'] or not keyframes_only)
    ]
    assert rows
    return sorted(rows, key=lambda item: item[2]['timestamp'])


def numbers(*vectors) -> np.ndarray:
    return np.array([getattr(v, axis) for v in vectors for axis in 'wxyz' if hasattr(v, axis)])


def test_images_are_the_files_bit_for_bit(case):
    topics = read_bag(case[2])
    expected = defaultdict(list)
    for channel, path, row, _ in wanted(case, 'CAM'):
        expected[f'/{channel}/image_raw/compressed'].append(
            (row['timestamp'] * 1000, channel, path.read_bytes())
        )
    for topic, rows in expected.items():
        assert [
            (logged.stamp, logged.message.header.frame_id, logged.message.data.tobytes())
            for logged in topics[topic]
        ] == rows
        for stamp, message in topics[topic]:
            assert nanoseconds(message.header.stamp) == stamp
            assert message.format == 'jpeg'


def test_intrinsics_are_exact(case):
    """K of a CameraInfo counts pixels from the centre of the first one, as nuScenes does."""
    topics = read_bag(case[2])
    for channel, _, row, mount in wanted(case, 'CAM'):
        stamp = row['timestamp'] * 1000
        (info,) = (m for at, m in topics[f'/{channel}/camera_info'] if at == stamp)
        matrix = np.array(mount['camera_intrinsic'])
        assert nanoseconds(info.header.stamp) == stamp
        assert info.header.frame_id == channel
        assert np.array_equal(info.k.reshape(3, 3), matrix)
        assert np.array_equal(info.p.reshape(3, 4), np.c_[matrix, np.zeros(3)])
        assert np.array_equal(info.r.reshape(3, 3), np.eye(3))
        assert info.distortion_model == 'plumb_bob' and not info.d.any()
        assert (info.height, info.width) == (row['height'], row['width'])


def test_poses_are_at_the_time_of_every_sensor(case):
    """Those of sweeps too, where only keyframes are converted: tf2 interpolates between them."""
    tree, scene, bag, _ = case
    topics = read_bag(bag)
    poses = {}
    for stamp, message in topics['/tf']:
        (link,) = message.transforms
        assert (link.header.frame_id, link.child_frame_id) == ('odom', 'base_link')
        assert nanoseconds(link.header.stamp) == stamp
        assert poses.setdefault(stamp, link.transform) is link.transform
    (static,) = topics['/tf_static']
    assert static.stamp == min(poses)
    mounts = {}
    for link in static.message.transforms:
        assert link.header.frame_id == 'base_link'
        mounts[link.child_frame_id] = link.transform
    assert len(mounts) == 7
    rows = tree.data(scene)
    assert set(poses) == {row['timestamp'] * 1000 for _, row, _, _ in rows}
    for channel, row, mount, ego in rows:
        for link, expected in ((poses[row['timestamp'] * 1000], ego), (mounts[channel], mount)):
            got = numbers(link.translation, link.rotation)
            true = [*expected['translation'], *expected['rotation']]
            assert np.abs(got - true).max() <= 1e-9


def test_sweeps_are_the_files_bit_for_bit(case):
    messages = read_bag(case[2])['/lidar_top/points']
    rows = wanted(case, 'LIDAR')
    assert [at for at, _ in messages] == [row['timestamp'] * 1000 for _, _, row, _ in rows]
    for (_, cloud), (_, path, _, _) in zip(messages, rows, strict=True):
        assert cloud.header.frame_id == 'LIDAR_TOP'
        assert cloud.data.tobytes() == path.read_bytes()
        points = np.fromfile(path, '<f4').reshape(-1, 5)
        assert (cloud.height, cloud.width, cloud.point_step) == (1, len(points), 20)
        assert cloud.row_step == 20 * len(points)
        assert cloud.is_dense and not cloud.is_bigendian
        assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
            (name, 4 * i, f.FLOAT32, 1)
            for i, (f, name) in enumerate(
                zip(cloud.fields, ('x', 'y', 'z', 'intensity', 'ring'), strict=True)
            )
        ]


def test_boxes_are_markers_with_category_and_instance(case):
    tree, scene, bag, _ = case
    arrays = dict(read_bag(bag)['/annotations'])
    ids = {}
    for token, sample in tree.samples(scene).items():
        clear, *cubes = arrays[sample['timestamp'] * 1000].markers
        assert clear.action == clear.DELETEALL
        rows = [r for r in tree.tables['sample_annotation'].values() if r['sample_token'] == token]
        assert len(rows) == len(cubes) > 10
        for row, cube in zip(rows, cubes, strict=True):
            instance = tree.tables['instance'][row['instance_token']]
            category = tree.tables['category'][instance['category_token']]['name']
            assert (cube.ns, cube.text) == (category, row['instance_token'])
            assert (cube.header.frame_id, cube.type, cube.action) == ('odom', cube.CUBE, cube.ADD)
            assert numbers(cube.pose.position, cube.pose.orientation) == pytest.approx(
                [*row['translation'], *row['rotation']], abs=1e-9
            )
            width, length, height = row['size']
            assert numbers(cube.scale).tolist() == [length, width, height]
            assert 0 < cube.color.a < 1
            assert ids.setdefault(cube.text, cube.id) == cube.id
        assert len({cube.id for cube in cubes}) == len(cubes)


def test_types_and_topics_are_those_of_jazzy(case):
    with Reader(case[2]) as reader:
        assert {c.topic: c.msgtype for c in reader.connections} == {
            '/tf': 'tf2_msgs/msg/TFMessage',
            '/tf_static': 'tf2_msgs/msg/TFMessage',
            '/lidar_top/points': 'sensor_msgs/msg/PointCloud2',
            '/annotations': 'visualization_msgs/msg/MarkerArray',
            **{
                f'/{name}/image_raw/compressed': 'sensor_msgs/msg/CompressedImage'
                for name in NUSCENES_CAMERAS
            },
            **{f'/{name}/camera_info': 'sensor_msgs/msg/CameraInfo' for name in NUSCENES_CAMERAS},
        }
        for connection in reader.connections:
            assert connection.digest == STORE.hash_rihs01(connection.msgtype)
            latched = [profile.durability.name for profile in connection.ext.offered_qos_profiles]
            assert latched == ['TRANSIENT_LOCAL'] * (connection.topic == '/tf_static')


def test_keyframes_become_training_frames_with_tokens(case, tmp_path):
    tree, scene, bag, _ = case
    samples = tree.samples(scene)
    frames = BagDataset([bag], BagSettings(keyframes_only=True), cache=tmp_path)
    assert frames.tokens == list(samples)
    for frame, sample in zip(frames, samples.values(), strict=True):
        assert frame.key == f'{scene}/{frame.stamp}'
        assert frame.stamp == sample['timestamp'] * 1000
        rows = {
            channel: (row, mount)
            for channel, row, mount, _ in tree.data(scene)
            if row['is_key_frame'] and row['sample_token'] == frame.token
        }
        for camera, name in enumerate(frame.rig.names):
            row, mount = rows[name]
            assert frame.image_stamps[camera] == row['timestamp'] * 1000
            image = cv2.imread(str(tree.root / row['filename']))[..., ::-1]
            assert np.array_equal(frame.images[camera].numpy(), image)
            matrix = np.array(mount['camera_intrinsic'])
            matrix[:2, 2] += 0.5  # the pixel centres of this project
            assert np.array_equal(frame.rig.intrinsics[camera].numpy(), matrix.astype('f4'))


def test_the_bag_says_what_it_was_made_from(case):
    tree, scene, bag, _ = case
    with Reader(bag) as reader:
        notes = reader.storage.metadata.custom
    (row,) = (row for row in tree.tables['scene'].values() if row['name'] == scene)
    assert notes['scene'] == scene
    assert notes['description'] == row['description']
    assert notes['nuscenes'] == 'v1.0-mini'


def test_sweeps_lie_on_the_labels_that_the_tokens_lead_to(nuscenes_tree, tmp_path):
    """The whole way: sweep, its frame, the rig, the ego frame at the keyframe's stamp, Occ3D."""
    (scene,) = read_scenes(nuscenes_tree / 'v1.0-mini', ['scene-0001'])
    write_bag(scene, nuscenes_tree, tmp_path / scene.name, '', keyframes_only=True)
    grid = VoxelGrid()
    settings = BagSettings(keyframes_only=True, points=True)
    frames = list(BagDataset([tmp_path / scene.name], settings, cache=tmp_path / 'cache'))
    assert len(frames) == 2
    for frame in frames:
        path = nuscenes_tree / 'gts' / scene.name / frame.token / 'labels.npz'
        occupied = occ3d.read_truth(path, grid).semantics != occ3d.FREE
        near = maximum_filter(occupied, 3)
        points = frame.points.numpy()
        right, turned = (share_in(near, points * sign, grid) for sign in ([1, 1, 1], [-1, 1, 1]))
        assert right > 0.97 > turned + 0.1


def share_in(voxels, points, grid):
    index = np.floor((points - grid.lower) / grid.resolution).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(1)
    assert inside.sum() > 1000
    return voxels[tuple(index[inside].T)].mean()


def test_two_poses_at_one_instant_are_refused(nuscenes_tree, tmp_path):
    (scene,) = read_scenes(nuscenes_tree / 'v1.0-mini', ['scene-0001'])
    first, second, *rest = scene.recordings
    together = replace(scene, recordings=(first, replace(second, stamp=first.stamp), *rest))
    with pytest.raises(ValueError, match=r'one ego pose per instant.*LEFT.*FRONT'):
        write_bag(together, nuscenes_tree, tmp_path / 'bag', '', keyframes_only=False)
    assert not list(tmp_path.iterdir())


def test_a_scene_without_annotations_has_no_topic_for_them(nuscenes_tree, tmp_path):
    (scene,) = read_scenes(nuscenes_tree / 'v1.0-mini', ['scene-0002'])
    bare = replace(scene, samples=tuple(replace(s, boxes=()) for s in scene.samples))
    write_bag(bare, nuscenes_tree, tmp_path / 'bag', '', keyframes_only=True)
    assert '/annotations' not in read_bag(tmp_path / 'bag')


def test_the_python_of_the_page_runs(nuscenes_tree: Path, tmp_path: Path) -> None:
    """field_reports N7: what docs/nuscenes.md prints, as printed."""
    main([str(nuscenes_tree), '--output', str(tmp_path / 'bags' / 'mini'), '--keyframes-only'])
    (script,) = blocks('nuscenes.md', 'python')
    done = run(script, tmp_path, GAUSSTR_CACHE=str(tmp_path / 'cache'))
    assert done.stdout.startswith('/data/occ3d/gts/scene-0001/'), done.stderr
