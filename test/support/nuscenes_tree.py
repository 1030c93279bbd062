"""Writes a small valid nuScenes tree: the 13 tables, samples/ and sweeps/.

What was driven comes from `nuscenes_drives`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gausstr_training.streets.bag import quaternion_xyzw

RADAR = 'RADAR_FRONT'  # in the tables, as in every nuScenes tree, without files


@dataclass
class Shot:
    """One file of one sensor."""

    channel: str
    stamp: int  # microseconds
    ego: np.ndarray  # [4, 4] global from ego
    sample: int  # index of the keyframe it belongs to
    keyframe: bool
    data: bytes
    size: tuple[int, int] = (0, 0)  # height, width


@dataclass
class BoxTruth:
    """An annotated object."""

    instance: str
    category: str
    pose: np.ndarray  # [4, 4] global from box
    size: tuple[float, float, float]  # width, length, height


@dataclass
class Drive:
    """What becomes a scene."""

    name: str
    rig: dict[str, tuple[np.ndarray, np.ndarray | None]]  # ego from sensor, intrinsics
    shots: list[Shot] = field(default_factory=list)
    samples: list[tuple[int, list[BoxTruth]]] = field(default_factory=list)  # stamp in us, boxes
    labels: list[dict[str, np.ndarray]] = field(default_factory=list)  # Occ3D's, per sample
    description: str = 'Rain, parked cars'


def token(*parts: object) -> str:
    """32 hexadecimal digits, as nuScenes has them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def write_tree(root: Path, version: str, drives: list[Drive]) -> Path:
    """Write the tree and return its root; labels go to gts/<scene>/<token>/labels.npz."""
    tables: dict[str, list[dict]] = {
        name: []
        for name in (
            'attribute', 'calibrated_sensor', 'category', 'ego_pose', 'instance', 'log', 'map',
            'sample', 'sample_annotation', 'sample_data', 'scene', 'sensor', 'visibility',
        )
    }  # fmt: skip
    for drive in drives:
        _add_scene(tables, drive)
        _add_rig(tables, drive)
        _add_boxes(tables, drive)
        for shot in drive.shots:
            name = _add_shot(tables, drive, shot)
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(shot.data)
        for number, arrays in enumerate(drive.labels):
            folder = root / 'gts' / drive.name / token(drive.name, number)
            folder.mkdir(parents=True)
            np.savez_compressed(folder / 'labels.npz', **arrays)
    folder = root / version
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        # nuScenes' own files are indented like this and end without a line break
        unique = list({row['token']: row for row in rows}.values())
        (folder / f'{name}.json').write_text(json.dumps(unique, indent=0))
    return root


def _add_scene(tables: dict, drive: Drive) -> None:
    scene, log = token(drive.name), token(drive.name, 'log')
    tokens = [token(drive.name, number) for number in range(len(drive.samples))]
    tables['log'].append(
        {'token': log, 'logfile': 'n000-2018', 'vehicle': 'n000', 'date_captured': '2018-07-24',
         'location': 'singapore-onenorth'}
    )  # fmt: skip
    tables['map'].append(
        {'token': token('map'), 'category': 'semantic_prior', 'filename': 'maps/none.png',
         'log_tokens': [log]}
    )  # fmt: skip
    tables['scene'].append(
        {'token': scene, 'log_token': log, 'nbr_samples': len(tokens), 'name': drive.name,
         'first_sample_token': tokens[0], 'last_sample_token': tokens[-1],
         'description': drive.description}
    )  # fmt: skip
    tables['sample'] += [
        {'token': own, 'timestamp': stamp, 'scene_token': scene, 'prev': before, 'next': after}
        for own, (stamp, _), before, after in zip(
            tokens, drive.samples, ['', *tokens[:-1]], [*tokens[1:], ''], strict=True
        )
    ]


def _add_rig(tables: dict, drive: Drive) -> None:
    for channel, (pose, intrinsics) in {**drive.rig, RADAR: (np.eye(4), None)}.items():
        modality = 'camera' if intrinsics is not None else channel.split('_')[0].lower()
        tables['sensor'].append(
            {'token': token(channel), 'channel': channel, 'modality': modality}
        )
        tables['calibrated_sensor'].append(
            {'token': token(drive.name, channel), 'sensor_token': token(channel), **_pose(pose),
             'camera_intrinsic': [] if intrinsics is None else intrinsics.tolist()}
        )  # fmt: skip
    radar = Shot(RADAR, drive.samples[0][0], np.eye(4), 0, True, b'')
    _add_shot(tables, drive, radar)


def _add_shot(tables: dict, drive: Drive, shot: Shot) -> str:
    kind = 'samples' if shot.keyframe else 'sweeps'
    ending = 'jpg' if any(shot.size) else 'pcd.bin'
    name = f'{kind}/{shot.channel}/{drive.name}__{shot.channel}__{shot.stamp}.{ending}'
    own = token(name)
    tables['ego_pose'].append({'token': own, 'timestamp': shot.stamp, **_pose(shot.ego)})
    tables['sample_data'].append(
        {'token': own, 'sample_token': token(drive.name, shot.sample), 'ego_pose_token': own,
         'calibrated_sensor_token': token(drive.name, shot.channel), 'timestamp': shot.stamp,
         'fileformat': ending.split('.')[0], 'is_key_frame': shot.keyframe,
         'height': shot.size[0], 'width': shot.size[1], 'filename': name, 'prev': '', 'next': ''}
    )  # fmt: skip
    return name


def _add_boxes(tables: dict, drive: Drive) -> None:
    tables['attribute'].append(
        {'token': token('moving'), 'name': 'vehicle.moving', 'description': ''}
    )
    tables['visibility'].append({'token': '4', 'level': 'v80-100', 'description': ''})
    for number, (_, boxes) in enumerate(drive.samples):
        for box in boxes:
            category, instance = token(box.category), token(drive.name, box.instance)
            tables['category'].append({'token': category, 'name': box.category, 'description': ''})
            tables['instance'].append({'token': instance, 'category_token': category})
            tables['sample_annotation'].append(
                {'token': token(drive.name, number, box.instance),
                 'sample_token': token(drive.name, number), 'instance_token': instance,
                 'visibility_token': '4', 'attribute_tokens': [], **_pose(box.pose),
                 'size': list(box.size), 'prev': '', 'next': '', 'num_lidar_pts': 1,
                 'num_radar_pts': 0}
            )  # fmt: skip


def _pose(matrix: np.ndarray) -> dict[str, list[float]]:
    x, y, z, w = quaternion_xyzw(matrix)
    return {'translation': matrix[:3, 3].tolist(), 'rotation': [w, x, y, z]}
