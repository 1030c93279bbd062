"""Frames out of bags: the same whatever the storage and the process, and right in space."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from bag_files import (
    PERIOD,
    START,
    Recorded,
    cloud,
    ego_pose,
    messages_of,
    raw_image,
    write_bag,
    write_bag_of_drive,
)
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from torch.utils.data import DataLoader

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.bags import index
from gausstr_training.bags.augment import Augmentation, Resize
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.sampler import DrawnFrames
from gausstr_training.bags.scan import Layout
from gausstr_training.bags.sets import BagSettings
from gausstr_training.streets.drive import write_drive
from gausstr_training.streets.drive_settings import DriveSettings
from gausstr_training.streets.reader import read_street
from gausstr_training.streets.rig import StreetRig


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StreetRig]:
    """A bag of four frames with poses between the images' stamps."""
    path = tmp_path_factory.mktemp('drives') / 'drive_a'
    return path, write_bag_of_drive(path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / 'cache'


def assert_same(first: BagFrame, second: BagFrame, *, pixels: int = 0) -> None:
    assert (first.key, first.stamp, first.token) == (second.key, second.stamp, second.token)
    assert first.image_stamps == second.image_stamps
    assert first.rig.names == second.rig.names
    assert torch.equal(first.rig.intrinsics, second.rig.intrinsics)
    assert torch.equal(first.rig.ego_from_camera, second.rig.ego_from_camera)
    assert torch.equal(first.odom_from_ego, second.odom_from_ego)
    for one, other in zip(first.images, second.images, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype == torch.uint8
        assert (one.int() - other.int()).abs().max() <= pixels


def test_frames_of_a_street_are_those_of_its_truth(tmp_path: Path, cache: Path) -> None:
    """Cameras fire up to 43 ms apart on a moving car, and yet the rig is the truth's.

    GaussTR 4, 26, 38: other data and other rigs than nuScenes' six cameras.
    """
    folder = tmp_path / 'street_000007'
    write_drive(folder, DriveSettings(seed=7, frames=3, width=112, height=64, voxels=False))
    dataset, street = BagDataset([tmp_path], cache=cache), read_street(folder)
    assert len(dataset) == len(street) == 3
    about = json.loads((folder / 'street.json').read_text())
    mounted, moved = torch.tensor(about['base_from_camera']), 0.0
    for frame, truth in zip((dataset[i] for i in range(3)), street, strict=True):
        assert frame.key == f'street_000007/{truth.stamp}'
        assert (frame.stamp, frame.image_stamps) == (truth.stamp, tuple(truth.image_stamps))
        assert frame.rig.names == truth.rig.names == NUSCENES_CAMERAS
        assert (frame.stacked().numpy() == truth.images).all()
        torch.testing.assert_close(frame.rig.intrinsics, truth.rig.intrinsics, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            frame.rig.ego_from_camera, truth.rig.ego_from_camera, rtol=0, atol=2e-6
        )
        shifts = truth.rig.ego_from_camera[:, :3, 3] - mounted[:, :3, 3]
        moved = max(moved, float(shifts.norm(dim=1).max()))
    assert moved > 0.1
    assert dataset.skipped == {}


def test_poses_between_the_samples_of_tf(drive: tuple[Path, StreetRig], cache: Path) -> None:
    path, rig = drive
    dataset = BagDataset([path], cache=cache)
    for row in range(4):
        frame = dataset[row]
        stamps = [START + row * PERIOD + int(delay) for delay in rig.delays]
        assert frame.image_stamps == tuple(stamps)
        assert frame.stamp == max(stamps)
        ego_from_odom = np.linalg.inv(ego_pose(frame.stamp))
        expected = [
            ego_from_odom @ ego_pose(stamp) @ mounted
            for stamp, mounted in zip(stamps, rig.base_from_camera, strict=True)
        ]
        np.testing.assert_allclose(frame.rig.ego_from_camera, expected, atol=1e-5)
        np.testing.assert_allclose(frame.odom_from_ego, ego_pose(frame.stamp), atol=1e-6)
        shift = frame.rig.ego_from_camera[2, :3, 3] - torch.from_numpy(
            rig.base_from_camera[2, :3, 3]
        )
        assert shift.norm() > 0.3  # the first camera fires 40 ms early: what there was to correct


@pytest.mark.parametrize(
    ('plugin', 'compression'),
    [
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
    ],
)
def test_every_storage_gives_the_same_frames(
    drive: tuple[Path, StreetRig],
    tmp_path: Path,
    cache: Path,
    plugin: StoragePlugin,
    compression: CompressionMode,
) -> None:
    other = write_bag(tmp_path / 'other' / 'drive_a', messages_of(drive[0]), plugin, compression)
    plain, stored = BagDataset([drive[0]], cache=cache), BagDataset([other], cache=cache)
    for row in (3, 0, 2):
        assert_same(plain[row], stored[row])


def test_a_file_without_its_folder_is_a_bag(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path
) -> None:
    shutil.copy(drive[0] / 'drive_a.mcap', tmp_path / 'drive_a.mcap')
    assert_same(BagDataset([tmp_path], cache=cache)[1], BagDataset([drive[0]], cache=cache)[1])


@pytest.mark.parametrize(('encoding', 'padding'), [('bgr8', 0), ('rgb8', 5), ('mono8', 3)])
def test_raw_images_are_read(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path, encoding: str, padding: int
) -> None:
    def as_raw(item: Recorded) -> Recorded:
        if not item.topic.endswith('/compressed'):
            return item
        topic = item.topic.removesuffix('/compressed')
        image = raw_image(item.message, encoding, padding)
        return Recorded(item.time, topic, 'sensor_msgs/msg/Image', image)

    raw = write_bag(tmp_path / 'drive_a', map(as_raw, messages_of(drive[0])))
    got, plain = BagDataset([raw], cache=cache)[2], BagDataset([drive[0]], cache=cache)[2]
    if encoding == 'mono8':
        grey = [image[..., :1].expand(-1, -1, 3) for image in got.images]
        assert all(torch.equal(image, one) for image, one in zip(got.images, grey, strict=True))
        weights = torch.tensor([0.299, 0.587, 0.114])
        plain = replace(
            plain,
            images=[(i.float() @ weights).round().byte()[..., None].expand(-1, -1, 3)
                    for i in plain.images],
        )  # fmt: skip
    assert_same(got, plain, pixels=1 if encoding == 'mono8' else 0)


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_two_workers_give_what_none_give(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path, context: str
) -> None:
    """Also where the parent has the bags open, one of them unpacked in a folder of its own."""
    packed = write_bag(
        tmp_path / 'drive_b', messages_of(drive[0]), compression=CompressionMode.FILE
    )
    dataset = BagDataset([drive[0], packed], cache=cache, transform=Resize(24, 48))
    alone = [dataset[row] for row in range(len(dataset))]
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context=context
    )  # fmt: skip
    for _ in range(2 if context == 'fork' else 1):
        for one, other in zip(alone, loader, strict=True):
            assert_same(one, other)
    assert_same(alone[-1], dataset[len(dataset) - 1])  # the parent's files are still there


def test_drawn_frames_are_the_same_whoever_draws_them(
    drive: tuple[Path, StreetRig], cache: Path
) -> None:
    dataset = BagDataset([drive[0]], BagSettings(neighbours=True), cache=cache)
    augment = Augmentation(20, 40, zoom=(1.0, 1.5))
    frames = DrawnFrames(dataset, len(dataset), seed=3, augment=augment)
    alone = [frames[position] for position in range(8)]
    ranks = [
        DataLoader(frames, batch_size=None, sampler=count(rank, 2), num_workers=rank)
        for rank in range(2)
    ]
    for rank, loader in enumerate(ranks):
        for position, frame in zip(range(rank, 8, 2), loader, strict=False):
            assert_same(alone[position], frame)
    assert {frame.key for frame in alone[:4]} == set(dataset.keys)
    assert any(not torch.equal(a.images[0], b.images[0])
               for a in alone[:4] for b in alone[4:] if a.key == b.key)  # fmt: skip


def test_neighbours_are_seen_from_this_frame(drive: tuple[Path, StreetRig], cache: Path) -> None:
    dataset = BagDataset([drive[0]], BagSettings(neighbours=True), cache=cache)
    assert dataset[0].previous is None and dataset[3].following is None
    frame = dataset[1]
    assert [near.key for near in frame.neighbours] == [dataset.keys[0], dataset.keys[2]]
    world = torch.tensor([[130.0, 4.0, 1.0], [90.0, -20.0, 2.0]], dtype=torch.float64)
    for near in frame.neighbours:
        assert near.neighbours == ()
        in_frame, in_near = (
            (world - f.odom_from_ego[:3, 3]) @ f.odom_from_ego[:3, :3] for f in (frame, near)
        )
        expected = near.rig.project(in_near.float())
        got = frame.rig_of(near).project(in_frame.float())
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)
    apart = BagDataset([drive[0]], BagSettings(neighbours=True, neighbour_gap=0.4), cache=cache)
    assert apart[1].neighbours == ()


def test_lidar_points_come_in_the_ego_frame(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path
) -> None:
    points = np.array([[5, 1, -1], [np.nan, 0, 0], [-3, 2, 0.5]])
    messages, stamps = messages_of(drive[0]), [START + 30_000_000, START + PERIOD + 120_000_000]
    for stamp in stamps:
        message = cloud(stamp, 'CAM_BACK', points)
        messages.append(
            Recorded(stamp, '/lidar_top/points', 'sensor_msgs/msg/PointCloud2', message)
        )
    bag = write_bag(tmp_path / 'lidar', messages)
    assert BagDataset([bag], cache=cache)[0].points is None
    dataset = BagDataset([bag], BagSettings(points=True), cache=cache)
    got = dataset[0].points
    ego_from_lidar = (
        np.linalg.inv(ego_pose(dataset[0].stamp))
        @ ego_pose(stamps[0])
        @ drive[1].base_from_camera[NUSCENES_CAMERAS.index('CAM_BACK')]
    )
    expected = points[[0, 2]] @ ego_from_lidar[:3, :3].T + ego_from_lidar[:3, 3]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert dataset[2].points.shape == (0, 3)  # too far from any cloud
    assert dataset.skipped['lidar', '/lidar_top/points: frame without a cloud'] == 2 + 1


def test_the_index_is_kept_until_the_bag_changes(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = tmp_path / 'drive_a'
    shutil.copytree(drive[0], bag)
    scans: list[Path] = []
    scan = index.scan

    def counted(path: Path, layout: Layout) -> object:
        scans.append(path)
        return scan(path, layout)

    monkeypatch.setattr(index, 'scan', counted)
    first = BagDataset([bag], cache=cache)[3]
    assert_same(BagDataset([bag], cache=cache)[3], first)
    assert len(scans) == 1
    assert {path.suffix for path in cache.iterdir()} == {'.npz', '.lock'}

    (file,) = cache.glob('*.npz')
    file.write_bytes(file.read_bytes()[:200])
    assert_same(BagDataset([bag], cache=cache)[3], first)
    assert len(scans) == 2

    shutil.rmtree(bag)
    late = START + 2 * PERIOD
    write_bag(bag, [m for m in messages_of(drive[0]) if m.time < late or m.topic == '/tf'])
    assert len(BagDataset([bag], cache=cache)) == 2
    assert len(scans) == 3


def test_bags_are_scanned_by_several_processes(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path
) -> None:
    for name in 'bc':
        shutil.copytree(drive[0], tmp_path / f'drive_{name}')
    places = [drive[0], tmp_path / 'drive_b', tmp_path / 'drive_c']
    dataset = BagDataset(places, cache=cache, workers=2)
    assert len(dataset) == 12
    assert len(set(dataset.keys)) == 12
    assert_same(dataset[9], replace(dataset[1], key=dataset.keys[9]))


def test_a_bag_rewritten_under_an_open_data_set_is_noticed(
    drive: tuple[Path, StreetRig], tmp_path: Path, cache: Path
) -> None:
    bag = tmp_path / 'drive_a'
    shutil.copytree(drive[0], bag)
    dataset = BagDataset([bag], cache=cache)
    shutil.rmtree(bag)
    write_bag(bag, [m for m in messages_of(drive[0]) if m.topic != '/CAM_BACK/camera_info'])
    with pytest.raises(ValueError, match='drive_a has changed since it was indexed'):
        dataset[0]


def test_index_out_of_range(drive: tuple[Path, StreetRig], cache: Path) -> None:
    dataset = BagDataset([drive[0]], cache=cache)
    for wrong in (-1, 4):
        with pytest.raises(IndexError, match='4 frames'):
            dataset[wrong]


def test_the_cache_is_the_users_unless_told(
    drive: tuple[Path, StreetRig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, 'GAUSSTR_CACHE', str(tmp_path / 'mine'))
    BagDataset([drive[0]])
    assert list((tmp_path / 'mine' / 'bags').glob('*.npz'))
