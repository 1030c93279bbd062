"""A real keyframe through the node, over DDS: the shipped model, and the published ones."""

from __future__ import annotations

import time

import foundation_files as files
import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')
pytest.importorskip('scipy')

from cloud_messages import cloud
from nuscenes_keyframe import (
    FRAME,
    LIDAR_TIME,
    KeyframePublisher,
    moved,
    read_frame,
    stamps_of,
)
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from tf2_msgs.msg import TFMessage

from gausstr_core.contracts import VoxelGrid
from gausstr_core.foundation.exported import write_exported
from gausstr_core.foundation.released import exportable
from gausstr_core.process.memory import peak_memory
from gausstr_core.weights import FOLDER as WEIGHTS

GRID = {'grid.range': [*VoxelGrid().lower, *VoxelGrid().upper]}
# a busy machine takes its time; a partial map proves nothing
PATIENT = {'sync.tolerance': 0.1, 'sync.timeout': 30.0}


@pytest.fixture(scope='module')
def frame():
    if not FRAME.is_dir():
        pytest.skip(f'{FRAME} is not there')
    return read_frame()


def test_most_lidar_points_lie_in_or_next_to_an_occupied_voxel(frame, start_node, tester, tell):
    calibration, points = frame
    stamps, ego_at_lidar = stamps_of(calibration), np.array(calibration['ego2global'])
    tester.listen('/gausstr/voxels', PointCloud2)
    keyframe = KeyframePublisher(tester, calibration, depth_topics=True)
    shipped = (WEIGHTS / 'compact.safetensors').exists()
    start_node(
        preset='compact',
        weights='' if shipped else 'untrained',
        cameras=keyframe.names,
        fixed_frame='map',
        depth_source='topic',
        **GRID,
        **PATIENT,
    )
    keyframe.wait_matched()
    keyframe.publish(points)
    tester.wait(lambda: tester.heard['/gausstr/voxels'], 60, 'voxels')

    newest = max(stamps, key=stamps.get)
    ego_at_set = np.array(calibration['cams'][newest]['ego2global_cam'])
    seen = moved(points, np.linalg.inv(ego_at_set) @ ego_at_lidar)
    cloud = read_points(tester.heard['/gausstr/voxels'][0])
    centers = np.stack([cloud['x'], cloud['y'], cloud['z']], -1)
    roof = own_roof(points)
    every, filled = share_near(seen, centers)
    share, _ = share_near(seen[~roof], centers)
    in_view, _ = share_near(seen[seen_by_a_camera(points, calibration)], centers)
    tell(
        f'nuScenes keyframe, {"shipped" if shipped else "untrained"} weights, lidar depth: '
        f'in or next to one of {len(cloud)} occupied voxels lie {100 * share:.1f} % of the '
        f'lidar points in the grid ({100 * every:.1f} % with the {100 * roof.mean():.0f} % of '
        f'the sweep that hit the own roof, {100 * in_view:.1f} % of those that cameras see); '
        f'of all voxels {100 * filled:.1f} %'
    )
    assert every >= 0.6
    assert share >= 0.75
    assert in_view >= 0.85


@pytest.mark.slow
@pytest.mark.timeout(600)  # it computes a minute of one core, and waits 300 s where that is busy
@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_full_size_talk2dino_maps_it(frame, start_node, tester, tmp_path, tell, device):
    """Random weights of the published sizes and formats, as files: the map means nothing."""
    for library in ('onnx', 'onnxruntime', 'open_clip'):
        pytest.importorskip(library)
    calibration, _ = frame
    files.write_full_size(tmp_path, presets=('talk2dino',))
    tester.listen('/gausstr/voxels', PointCloud2)
    keyframe = KeyframePublisher(tester, calibration, depth_topics=False)
    node = start_node(
        preset='talk2dino',
        weights_folder=str(tmp_path),
        device=device,
        cameras=keyframe.names,
        fixed_frame='map',
        **GRID,
        **PATIENT,
    )
    keyframe.wait_matched()
    keyframe.publish()
    tester.wait(lambda: tester.heard['/gausstr/voxels'], 300, 'voxels')
    cloud = read_points(tester.heard['/gausstr/voxels'][0])
    tell(
        f'talk2dino on {device}, random weights: {len(cloud)} occupied voxels, '
        f'peak memory {peak_memory(device)}'
    )
    assert len(cloud) > 100 and np.isfinite(cloud['confidence']).all()
    assert set(np.unique(cloud['label'])) <= set(range(15))  # 15 categories before the sky
    assert tester.wait_for_text('peak memory=') and node.fault == ''


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_full_size_surface_maps_it_with_its_lidar(frame, start_node, tester, tmp_path, tell):
    """Networks of one's own at full width, exported, and the real sweep; random weights."""
    for library in ('onnx', 'onnxruntime', 'open_clip'):
        pytest.importorskip(library)
    calibration, points = frame
    size = (224, 400)
    files.write_clip(tmp_path, **files.FULL_CLIP)
    _, share = write_exported(*exportable('maskclip', tmp_path, size), tmp_path)
    tester.listen('/gausstr/voxels', PointCloud2)
    keyframe = KeyframePublisher(tester, calibration, depth_topics=False)
    lidar = tester.publisher(PointCloud2, '/lidar_top/points')
    started = time.perf_counter()
    node = start_node(
        preset='surface',
        weights='',
        weights_folder=str(tmp_path),
        input_size=list(size),
        engine='onnxruntime',
        depth_source='lidar',
        cameras=keyframe.names,
        fixed_frame='map',
        **GRID,
        **PATIENT,
    )
    configured = time.perf_counter()
    keyframe.wait_matched()
    tester.wait(lidar.get_subscription_count, what='a subscription to the lidar')
    ego = np.array(calibration['ego2global'])
    moving = tester.transform('map', 'base_link', LIDAR_TIME, ego)
    tester.tf.publish(TFMessage(transforms=[moving]))
    lidar.publish(cloud(points, stamp=LIDAR_TIME, frame='base_link'))
    published = time.perf_counter()
    keyframe.publish()
    tester.wait(lambda: tester.heard['/gausstr/voxels'], 300, 'voxels')
    found = read_points(tester.heard['/gausstr/voxels'][0])
    tell(
        f'surface, maskclip 224x400 in onnxruntime ({share:.1e} from torch), lidar: '
        f'{len(found)} occupied voxels, {configured - started:.0f} s until it is active, '
        f'{time.perf_counter() - published:.1f} s from images to voxels, '
        f'peak memory {peak_memory("cpu")}'
    )
    centers = np.stack([found['x'], found['y'], found['z']], -1)
    in_view, _ = share_near(points[seen_by_a_camera(points, calibration)], centers)
    assert in_view > 0.5 and node.fault == ''


def own_roof(points):
    """Points on the car that carries the lidar: it is not what is around it."""
    x, y, z = points.T
    return (x > -1.3) & (x < 3.6) & (np.abs(y) < 1.2) & (z > 0.3) & (z < 2.0)


def seen_by_a_camera(points, calibration):
    """Not the ego car's own roof, nor the ground beside it: 45 % of this sweep."""
    ego_at_lidar = np.array(calibration['ego2global'])
    seen = np.zeros(len(points), bool)
    for camera in calibration['cams'].values():
        ego_at_camera = np.array(camera['ego2global_cam'])
        matrix = np.linalg.inv(ego_at_camera @ np.array(camera['cam2ego'])) @ ego_at_lidar
        local = moved(points, matrix)
        pixels = (local @ np.array(camera['K']).T)[:, :2] / local[:, 2:]
        seen |= (local[:, 2] > 1) & ((pixels >= 0) & (pixels < [1600, 900])).all(-1)
    return seen


def share_near(points, centers):
    """Shares of the points and of all voxels that lie in or next to an occupied voxel."""
    grid = VoxelGrid()
    lower, shape = np.array(grid.lower), np.array(grid.shape)
    occupied = np.zeros(shape + 2, bool)
    occupied[tuple((np.round((centers - lower) / grid.resolution - 0.5).astype(int) + 1).T)] = True
    near = np.zeros(shape, bool)
    x, y, z = shape
    for dx, dy, dz in np.ndindex(3, 3, 3):
        near |= occupied[dx : dx + x, dy : dy + y, dz : dz + z]
    index = np.floor((points - lower) / grid.resolution).astype(int)
    index = index[((index >= 0) & (index < shape)).all(-1)]
    return near[tuple(index.T)].mean(), near.mean()
