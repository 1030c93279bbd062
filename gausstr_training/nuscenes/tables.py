"""Reads scenes from the tables of nuScenes (https://www.nuscenes.org/nuscenes#data-format).

Tables are read one after the other, and only rows of the wanted scenes and sensors are kept.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np

from gausstr_core.camera.lens import Lens
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.nuscenes.json_table import Row, read_rows
from gausstr_training.nuscenes.scene import (
    CHANNELS,
    Box,
    Pose,
    Recording,
    Sample,
    Scene,
    Sensor,
)

VERSIONS = 'v1.0-*'
_LAST_STAMP = 2**31 * 1_000_000  # microseconds: a ROS stamp has 31 bits of seconds
DISTORTIONS = (4, 5, 8, 12, 14)  # how many coefficients OpenCV and T4 know
_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')
_V = TypeVar('_V')
_Found = tuple[Sensor, Recording]


class _Instant(NamedTuple):
    scene: str  # token
    stamp: int


def find_tables(root: Path, version: str | None) -> Path:
    """The folder of the tables below the root of the data set.

    Raises:
        ValueError: it is not there, or several are and no version was given.
    """
    found = sorted(path.name for path in root.glob(VERSIONS) if path.is_dir())
    if version is None and len(found) == 1:
        return root / found[0]
    if version in found:
        return root / version
    expected = f'a folder {version}' if version else f'one folder {VERSIONS} with tables'
    hint = '; choose one with --version' if not version and found else ''
    raise ValueError(
        f'{root}: expected {expected}, found {", ".join(found) if found else "none"}{hint}'
    )


def read_scenes(folder: Path, names: Sequence[str] | None = None) -> list[Scene]:
    """The scenes of the given names, or all, ordered by name.

    Raises:
        ValueError: a table is missing or broken, a row refers to one that is not there, or there
            is no scene of a name; the message names the file and the row.
    """
    rows = _scenes(folder, names)
    instants = _samples(folder, rows)
    invalid: defaultdict[str, Counter[str]] = defaultdict(Counter)
    recordings = _recordings(folder, instants, _sensors(folder), invalid)
    boxes = _boxes(folder, instants)
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for token, (scene, stamp) in instants.items():
        samples[scene].append(Sample(token, stamp, tuple(boxes.get(token, ()))))
    return sorted(
        (
            _scene(row, samples[token], recordings[token], invalid[token])
            for token, row in rows.items()
        ),
        key=lambda scene: scene.name,
    )


def _scenes(folder: Path, names: Sequence[str] | None) -> dict[str, Row]:
    """Rows by token."""
    path = folder / 'scene.json'
    found: dict[str, Row] = {}
    for row in read_rows(path):
        if not _NAME.fullmatch(row.text('name')):  # it becomes the name of a folder
            row.refuse('name', 'letters, digits, dots, dashes and underscores')
        found[row.text('token')] = row
    known = sorted(row.text('name') for row in found.values())
    twice = [name for name, other in pairwise(known) if name == other]
    if twice:
        raise ValueError(f'{path}: two scenes are called {twice[0]}')
    wanted = set(known if names is None else names)
    if not known or wanted - set(known):
        some = ', '.join(known[:5]) + (', ...' if len(known) > 5 else '')
        missing = ', '.join(sorted(wanted - set(known))) or 'at all'
        raise ValueError(f'{path} has no scene {missing}; it has {some or "none"}')
    return {token: row for token, row in found.items() if row.text('name') in wanted}


def _samples(folder: Path, scenes: Mapping[str, Row]) -> dict[str, _Instant]:
    return {
        row.text('token'): _Instant(row.text('scene_token'), _stamp(row))
        for row in read_rows(folder / 'sample.json')
        if row.text('scene_token') in scenes
    }


def _sensors(folder: Path) -> dict[str, Sensor | None]:
    """By token of `calibrated_sensor`; None for those of other channels."""
    channels = {
        row.text('token'): row.text('channel') for row in read_rows(folder / 'sensor.json')
    }
    found: dict[str, Sensor | None] = {}
    for row in read_rows(folder / 'calibrated_sensor.json'):
        channel = _linked(row, 'sensor_token', channels, 'sensor.json')
        sensor = None
        if channel in CHANNELS:
            camera = channel in NUSCENES_CAMERAS
            intrinsics, bent = (_intrinsics(row), _distortion(row)) if camera else (None, ())
            sensor = Sensor(channel, _pose(row), intrinsics, bent)
        found[row.text('token')] = sensor
    return found


def _recordings(
    folder: Path,
    samples: Mapping[str, _Instant],
    sensors: Mapping[str, Sensor | None],
    invalid: Mapping[str, Counter[str]],
) -> dict[str, list[_Found]]:
    """By token of the scene, in the order of the table; those that are no data are counted."""
    found: list[tuple[Row, Sensor, Callable[[Pose], Recording]]] = []
    for row in read_rows(folder / 'sample_data.json'):
        sample = row.text('sample_token')
        if sample not in samples:
            continue
        sensor = _linked(row, 'calibrated_sensor_token', sensors, 'calibrated_sensor.json')
        if sensor is None:
            continue
        if 'is_valid' in row.values and not row.flag('is_valid'):  # T4: a blank stand-in
            invalid[samples[sample].scene][sensor.channel] += 1
            continue
        size = _size(row) if sensor.intrinsics else (0, 0)
        keyframe = row.flag('is_key_frame')
        without_pose = partial(
            Recording, sensor.channel, _stamp(row), _file(row), keyframe, sample, size
        )  # fmt: skip
        link = {key: row.text(key) for key in ('token', 'ego_pose_token')}
        found.append((Row(row.path, link), sensor, without_pose))
    needed = {row.text('ego_pose_token') for row, *_ in found}
    poses = {
        row.text('token'): _pose(row)
        for row in read_rows(folder / 'ego_pose.json')
        if row.text('token') in needed
    }
    by_scene: defaultdict[str, list[_Found]] = defaultdict(list)
    for row, sensor, complete in found:
        recording = complete(_linked(row, 'ego_pose_token', poses, 'ego_pose.json'))
        by_scene[samples[recording.sample].scene].append((sensor, recording))
    return by_scene


def _boxes(folder: Path, samples: Mapping[str, _Instant]) -> dict[str, list[Box]]:
    """By token of the sample, in the order of the table."""
    categories = _column(folder / 'category.json', 'name')
    instances = {
        row.text('token'): _linked(row, 'category_token', categories, 'category.json')
        for row in read_rows(folder / 'instance.json')
    }
    found: defaultdict[str, list[Box]] = defaultdict(list)
    for row in read_rows(folder / 'sample_annotation.json'):
        sample = row.text('sample_token')
        if sample in samples:
            category = _linked(row, 'instance_token', instances, 'instance.json')
            box = Box(row.text('instance_token'), category, _pose(row), row.vector('size', 3))
            found[sample].append(box)
    return found


def _scene(row: Row, samples: list[Sample], found: list[_Found], invalid: Counter[str]) -> Scene:
    name = row.text('name')
    sensors: dict[str, Sensor] = {}
    for sensor, _ in found:
        if sensors.setdefault(sensor.channel, sensor) != sensor:
            raise ValueError(
                f'{row.path.with_name("sample_data.json")}: expected one calibration of '
                f'{sensor.channel} in {name}, found two'
            )
    if not found:
        raise ValueError(
            f'{row.path.with_name("sample_data.json")} has nothing of {name} from '
            f'{", ".join(CHANNELS)}'
            + (f', but {invalid.total()} rows with is_valid: false' if invalid else '')
        )
    recordings = sorted((recording for _, recording in found), key=lambda r: (r.stamp, r.channel))
    return Scene(
        name, row.text('description'), row.path.parent.name,
        {channel: sensors[channel] for channel in CHANNELS if channel in sensors},
        tuple(recordings), tuple(sorted(samples, key=lambda sample: sample.stamp)), dict(invalid),
    )  # fmt: skip


def _column(path: Path, name: str) -> dict[str, str]:
    """A field by token."""
    return {row.text('token'): row.text(name) for row in read_rows(path)}


def _stamp(row: Row) -> int:
    stamp = row.count('timestamp')
    if stamp >= _LAST_STAMP:
        row.refuse('timestamp', 'microseconds since 1970')
    return stamp * 1000


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


def _size(row: Row) -> tuple[int, int]:
    size = (row.count('height'), row.count('width'))
    if 0 in size:
        row.refuse('height' if size[0] == 0 else 'width', 'pixels of an image')
    return size


def _file(row: Row) -> str:
    name = row.text('filename')
    path = PurePosixPath(name)
    if not name or path.is_absolute() or '..' in path.parts:
        row.refuse('filename', 'a path below the root of the data set')
    return name


def _pose(row: Row) -> Pose:
    return Pose(row.vector('translation', 3), row.quaternion('rotation'))


def _linked(row: Row, name: str, rows: Mapping[str, _V], table: str) -> _V:
    token = row.text(name)
    if token not in rows:
        row.refuse(name, f'a row of {table}')
    return rows[token]
