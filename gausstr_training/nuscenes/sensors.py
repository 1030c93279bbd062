"""The sensors of a set in nuScenes' format: which are wanted, and how they are calibrated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gausstr_core.camera.lens import Lens
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.nuscenes.json_table import Row, linked, read_rows
from gausstr_training.nuscenes.scene import (
    LIDARS,
    Pose,
    Sensor,
)

DISTORTIONS = (4, 5, 8, 12, 14)  # how many coefficients OpenCV and T4 know
_CHANNEL = re.compile(r'[A-Za-z](_?[A-Za-z0-9])*_?')  # it becomes part of a topic


def _channels(folder: Path, lidar: str | None) -> tuple[dict[str, tuple[str, str]], str | None]:
    """Channel and modality by token of `sensor`, and the lidar whose sweeps are wanted."""
    path = folder / 'sensor.json'
    found = {
        row.text('token'): (row.text('channel'), row.text('modality').lower())
        for row in read_rows(path)
    }
    lidars = sorted({channel for channel, modality in found.values() if modality == 'lidar'})
    known = ', '.join(lidars) or 'none'
    if lidar is not None and lidar not in lidars:
        raise ValueError(f'{path}: expected a lidar {lidar}, found {known}')
    usual = [name for name in LIDARS if name in lidars]
    if lidar is None and len(lidars) > 1 and not usual:
        raise ValueError(f'{path}: expected one lidar, found {known}; choose one with --lidar')
    return found, lidar or next(iter([*usual, *lidars]), None)


def read_sensors(folder: Path, lidar: str | None) -> dict[str, Sensor | str]:
    """By token of `calibrated_sensor`; of those that no bag has only what they are."""
    channels, lidar = _channels(folder, lidar)
    found: dict[str, Sensor | str] = {}
    for row in read_rows(folder / 'calibrated_sensor.json'):
        channel, modality = linked(row, 'sensor_token', channels, 'sensor.json')
        if modality != 'camera' and channel != lidar:
            found[row.text('token')] = f'{channel} ({modality})'
            continue
        if not _CHANNEL.fullmatch(channel):
            raise ValueError(
                f'{folder / "sensor.json"}: expected channel to be letters, digits and single '
                f'underscores, which a ROS topic may have, got {channel!r}'
            )
        camera = modality == 'camera'
        intrinsics, bent = (_intrinsics(row), _distortion(row)) if camera else (None, ())
        found[row.text('token')] = Sensor(channel, pose_of(row), intrinsics, bent)
    return found


def same_calibration(first: Sensor, second: Sensor) -> bool:
    """Whether two calibrations are one."""
    if not first.pose.agrees(second.pose) or first.camera != second.camera:
        return False
    if first.distortion != second.distortion:
        return False
    return not first.camera or np.allclose(first.intrinsics, second.intrinsics, 1e-9, 1e-6)


def channel_order(sensors: Mapping[str, Sensor]) -> Callable[[str], tuple[bool, int, str]]:
    """What channels are ordered by: nuScenes' cameras in its order, others by name, the lidar."""
    order = {name: index for index, name in enumerate(NUSCENES_CAMERAS)}
    return lambda name: (not sensors[name].camera, order.get(name, len(order)), name)


def _intrinsics(row: Row) -> tuple[tuple[float, ...], ...]:
    matrix = row.matrix('camera_intrinsic')
    try:
        Lens.build('', (), np.array(matrix), (1, 1))
    except ValueError:
        row.refuse('camera_intrinsic', 'fx 0 cx, 0 fy cy, 0 0 1 with focal lengths > 0')
    return matrix


def _distortion(row: Row) -> tuple[float, ...]:
    """What sets in nuScenes' format (T4) add, whose images are not undistorted."""
    name = 'camera_distortion'
    value = row.values.get(name)
    if value is None or value == []:
        return ()
    if not isinstance(value, list) or len(value) not in DISTORTIONS:
        counts = ', '.join(map(str, DISTORTIONS))
        row.refuse(name, f'a list of 0, {counts} coefficients in the order of OpenCV')
    return row.vector(name, len(value))


def pose_of(row: Row) -> Pose:
    """Of a row with `translation` and `rotation`."""
    return Pose(row.vector('translation', 3), row.quaternion('rotation'))
