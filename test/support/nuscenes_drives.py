"""Drives for a nuScenes tree: synthetic streets, and the real keyframe that lies in ../shared."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from nuscenes_tree import BoxTruth, Drive, Shot

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.evaluation.occ3d import label_files as occ3d
from gausstr_training.streets.bag import encode_jpeg
from gausstr_training.streets.classes import CLASSES, FREE
from gausstr_training.streets.rendering.render import Stage, View, render_view
from gausstr_training.streets.rig import StreetRig, sample_rig
from gausstr_training.streets.scene.layout import sample_world
from gausstr_training.streets.truth import voxel_truth

START = 1_532_402_927_000_000  # us
PERIOD, SWEEP = 500_000, 250_000  # us between keyframes, and from one to the sweeps after it
LIDAR_DELAY = 20_000  # us
REACH = 50.0  # metres: objects nearer than that are annotated
EGO_FROM_LIDAR = np.array(
    [[0.0, 1.0, 0.0, 0.94], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.84], [0.0, 0.0, 0.0, 1.0]]
)
CATEGORIES = {
    'car': 'vehicle.car', 'truck': 'vehicle.truck', 'bus': 'vehicle.bus.rigid',
    'trailer': 'vehicle.trailer', 'construction vehicle': 'vehicle.construction',
    'motorcycle': 'vehicle.motorcycle', 'bicycle': 'vehicle.bicycle',
    'pedestrian': 'human.pedestrian.adult', 'traffic cone': 'movable_object.trafficcone',
    'barrier': 'movable_object.barrier',
}  # fmt: skip
OCC3D = {
    'road': 'driveable_surface', 'building': 'manmade', 'pole': 'manmade',
    'construction vehicle': 'construction_vehicle', 'traffic cone': 'traffic_cone',
}  # fmt: skip


def street_drive(
    seed: int,
    name: str,
    samples: int = 2,
    size: tuple[int, int] = (36, 64),
    *,
    labels: bool = False,
) -> Drive:
    """A synthetic street: `samples` keyframes 0.5 s apart, each followed by a sweep."""
    random = np.random.default_rng(seed)
    rig = sample_rig(random, size[1], size[0])
    stage = Stage(sample_world(random, samples * PERIOD / 1e6))
    mounted = zip(rig.base_from_camera, _as_ros(rig.intrinsics), strict=True)
    drive = Drive(name, dict(zip(NUSCENES_CAMERAS, mounted, strict=True)))
    drive.rig['LIDAR_TOP'] = (EGO_FROM_LIDAR, None)
    for number in range(samples):
        begin = START + number * PERIOD
        stamp = begin + LIDAR_DELAY
        views = _add_cycle(drive, stage, rig, begin, number, keyframe=True)
        _add_cycle(drive, stage, rig, begin + SWEEP, number, keyframe=False)
        drive.samples.append((stamp, _boxes(stage, stamp)))
        if labels:
            drive.labels.append(_labels(stage, rig, views, begin))
    return drive


def _as_ros(intrinsics: np.ndarray) -> np.ndarray:
    """Streets count pixels from the corner of the first one, nuScenes from its centre."""
    shifted = intrinsics.copy()
    shifted[:, :2, 2] -= 0.5
    return shifted


def _seconds(stamp: int) -> float:
    return (stamp - START) / 1e6


def _add_cycle(
    drive: Drive, stage: Stage, rig: StreetRig, begin: int, number: int, *, keyframe: bool
) -> list[View]:
    stamps = [begin + int(delay) // 1000 for delay in rig.delays]
    views = []
    for camera, stamp in enumerate(stamps):
        view = render_view(stage, rig, camera, _seconds(stamp))
        ego = stage.world.ego_pose(_seconds(stamp))
        jpeg = encode_jpeg(view.image).tobytes()
        shape = (rig.height, rig.width)
        drive.shots.append(
            Shot(NUSCENES_CAMERAS[camera], stamp, ego, number, keyframe, jpeg, shape)
        )
        views.append(view)
    stamp = begin + LIDAR_DELAY
    ego = stage.world.ego_pose(_seconds(stamp))
    points = _sweep(stage, rig, views, stamps, ego @ EGO_FROM_LIDAR)
    drive.shots.append(Shot('LIDAR_TOP', stamp, ego, number, keyframe, points.tobytes()))
    return views


def _sweep(
    stage: Stage,
    rig: StreetRig,
    views: list[View],
    stamps: list[int],
    world_from_lidar: np.ndarray,
) -> np.ndarray:
    """The surfaces that the cameras see as lidar points [N, 5] float32."""
    clouds = []
    for camera, view in enumerate(views):
        row, column = np.nonzero(view.depth)
        pixels = np.stack([column + 0.5, row + 0.5, np.ones(len(row))])
        rays = np.linalg.inv(rig.intrinsics[camera]) @ pixels
        local = np.concatenate([rays * view.depth[row, column], np.ones((1, len(row)))])
        pose = stage.world.ego_pose(_seconds(stamps[camera])) @ rig.base_from_camera[camera]
        seen = (np.linalg.inv(world_from_lidar) @ pose @ local)[:3]
        clouds.append(np.stack([*seen, view.image[row, column].mean(-1), row % 32]))
    return np.concatenate(clouds, axis=1).T.astype(np.float32)


def _boxes(stage: Stage, stamp: int) -> list[BoxTruth]:
    world, geometry = stage.world, stage.geometry
    poses = stage.poses(_seconds(stamp))
    here = world.ego_pose(_seconds(stamp))[:3, 3]
    boxes = []
    for number, body in enumerate(world.bodies, start=1):
        category = CATEGORIES.get(CLASSES[body.parts[0].label])
        if category is None or np.linalg.norm(poses[number, :3, 3] - here) > REACH:
            continue
        own = geometry.vertices[geometry.body_of_vertex == number]
        low, high = own.min(0), own.max(0)
        middle = np.eye(4)
        middle[:3, 3] = (low + high) / 2
        length, width, height = (high - low).tolist()
        size = (width, length, height)
        boxes.append(BoxTruth(f'body {number}', category, poses[number] @ middle, size))
    return boxes


def _labels(stage: Stage, rig: StreetRig, views: list[View], begin: int) -> dict:
    """The truth in the ego frame of the lidar's stamp, in Occ3D's classes."""
    at = _seconds(begin + LIDAR_DELAY)
    ego_from_world = np.linalg.inv(stage.world.ego_pose(at))
    poses = [
        ego_from_world @ stage.world.ego_pose(_seconds(begin + int(delay) // 1000)) @ mount
        for delay, mount in zip(rig.delays, rig.base_from_camera, strict=True)
    ]
    depth = np.stack([view.depth for view in views])
    truth = voxel_truth(stage, at, depth, rig.intrinsics, np.stack(poses))
    names = [OCC3D.get(name, name) for name in CLASSES[:-1]]
    table = np.full(FREE + 1, occ3d.FREE, np.uint8)
    table[: len(names)] = [occ3d.CLASSES.index(name) for name in names]
    mask = truth['camera_mask'].astype(np.uint8)
    return {'semantics': table[truth['voxels']], 'mask_camera': mask, 'mask_lidar': mask}


def real_drive(folder: Path, name: str = 'scene-0061') -> Drive:
    """The keyframe in ../shared/data/nuscenes_frame; its README says what is in it."""
    about = json.loads((folder / 'calib.json').read_text())
    ego, lidar = np.array(about['ego2global']), np.array(about['lidar2ego'])
    stamp = round(about['meta']['timestamp'] * 1e6)
    drive = Drive(name, {'LIDAR_TOP': (lidar, None)})
    for channel, camera in about['cams'].items():
        drive.rig[channel] = (np.array(camera['cam2ego']), np.array(camera['K']))
        here = np.array(camera['ego2global_cam'])
        # when it fired is not recorded: what the car moved since, at 9 m/s
        moved = (here[:3, 3] - ego[:3, 3]) @ ego[:3, 0]
        data = (folder / f'{channel}.jpg').read_bytes()
        size = cv2.imread(str(folder / f'{channel}.jpg')).shape[:2]
        at = stamp + round(moved / 9.0 * 1e6)
        drive.shots.append(Shot(channel, at, here, 0, True, data, size))
    points = np.fromfile(folder / 'lidar.bin', np.float32).reshape(-1, 5)
    lidar_from_ego = np.linalg.inv(lidar)
    points[:, :3] = points[:, :3] @ lidar_from_ego[:3, :3].T + lidar_from_ego[:3, 3]
    drive.shots.append(Shot('LIDAR_TOP', stamp, ego, 0, True, points.tobytes()))
    boxes = json.loads((folder / 'boxes.json').read_text())
    truths = [_real_box(number, box, ego) for number, box in enumerate(boxes)]
    drive.samples.append((stamp, truths))
    return drive


def _real_box(number: int, box: dict, ego: np.ndarray) -> BoxTruth:
    pose = np.eye(4)
    cos, sin = np.cos(box['yaw_ego']), np.sin(box['yaw_ego'])
    pose[:2, :2] = [[cos, -sin], [sin, cos]]
    pose[:3, 3] = box['center_ego']
    length, width, height = box['lwh']
    category = CATEGORIES.get(box['name'].replace('_', ' '), 'movable_object.debris')
    return BoxTruth(f'box {number}', category, ego @ pose, (width, length, height))
