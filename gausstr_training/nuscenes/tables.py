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
from statistics import median
from typing import NamedTuple

from gausstr_training.nuscenes.json_table import Row, linked, read_rows
from gausstr_training.nuscenes.scene import (
    Box,
    Pose,
    Recording,
    Sample,
    Scene,
    Sensor,
)
from gausstr_training.nuscenes.sensors import (
    channel_order,
    pose_of,
    read_sensors,
    same_calibration,
)

VERSIONS = 'v1.0-*'
_TABLES = ('scene.json', 'sample.json', 'sample_data.json')  # enough to tell their folder
_LAST_STAMP = 2**31 * 1_000_000  # microseconds: a ROS stamp has 31 bits of seconds
# dates of 2001 to 2038 in milliseconds; as microseconds, some days of January 1970
_MILLISECONDS = range(10**12, 2**31 * 1000)
_KEYFRAME_PERIOD = 10_000  # microseconds: closer keyframes are counted in another unit
_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')
_Sensors = Mapping[str, Sensor | str]


class _Instant(NamedTuple):
    scene: str  # token
    stamp: int


def find_tables(root: Path, version: str | None) -> Path:
    """The folder of the tables: the root of the data set or one in it, whatever its name.

    Raises:
        ValueError: it is not there, or several are and no version was given.
    """
    if version is None and _holds_tables(root):
        return root
    named = [path for path in root.glob(VERSIONS) if path.is_dir()]
    others = [path for path in root.glob('*') if _holds_tables(path)]
    found = sorted({path.name for path in (*named, *others)})
    if version is None and len(found) == 1:
        return root / found[0]
    if version in found or (version and _holds_tables(root / version)):
        return root / version
    expected = f'a folder {version}' if version else 'one folder with tables (scene.json, ...)'
    hint = '; choose one with --version' if not version and found else ''
    raise ValueError(
        f'{root}: expected {expected}, found {", ".join(found) if found else "none"}{hint}'
    )


def _holds_tables(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TABLES)


def read_scenes(
    folder: Path, names: Sequence[str] | None = None, lidar: str | None = None
) -> list[Scene]:
    """The scenes of the given names, or all, ordered by name.

    Args:
        folder: of the tables.
        names: of scenes; None: all.
        lidar: the channel whose sweeps are wanted; None: one of `LIDARS`, or the only one.

    Raises:
        ValueError: a table is missing or broken, a row refers to one that is not there, or there
            is no scene or lidar of a name; the message names the file and the row.
    """
    rows = _scenes(folder, names)
    instants = _samples(folder, rows)
    recordings = _recordings(folder, instants, read_sensors(folder, lidar))
    boxes = _boxes(folder, instants)
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for token, (scene, stamp) in instants.items():
        at = recordings[scene].sweeps.get(token, stamp)
        samples[scene].append(Sample(token, at, tuple(boxes.get(token, ()))))
    return sorted(
        (_scene(row, samples[token], recordings[token]) for token, row in rows.items()),
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
    found = {
        row.text('token'): _Instant(row.text('scene_token'), _stamp(row))
        for row in read_rows(folder / 'sample.json')
        if row.text('scene_token') in scenes
    }
    by_scene: defaultdict[str, list[int]] = defaultdict(list)
    for scene, stamp in found.values():
        by_scene[scene] += [stamp] if stamp else []  # 0 says nothing
    for scene, stamps in by_scene.items():
        _refuse_other_units(folder / 'sample.json', scenes[scene].text('name'), sorted(stamps))
    return found


def _refuse_other_units(path: Path, scene: str, stamps: list[int]) -> None:
    """Keyframes a few microseconds apart are counted in milliseconds or seconds."""
    apart = [after - before for before, after in pairwise(stamps)]
    if apart and median(apart) < _KEYFRAME_PERIOD * 1000:
        raise ValueError(
            f'{path}: expected timestamp to be microseconds, but the keyframes of {scene} would '
            f'be {median(apart) / 1000:g} of them apart: are they milliseconds or seconds?'
        )


class _Recordings(NamedTuple):
    """What the sensors of a scene recorded."""

    found: list[tuple[Sensor, Recording]]  # in the order of the table
    sweeps: dict[str, int]  # stamp in ns of the keyframe's sweep, by token of the sample
    left_out: Counter[str]


def _recordings(
    folder: Path, samples: Mapping[str, _Instant], sensors: _Sensors
) -> defaultdict[str, _Recordings]:
    """By token of the scene."""
    by_scene: defaultdict[str, _Recordings] = defaultdict(lambda: _Recordings([], {}, Counter()))
    found: list[tuple[Row, Sensor, Callable[[Pose], Recording]]] = []
    for row in read_rows(folder / 'sample_data.json'):
        sample = row.text('sample_token')
        if sample not in samples:
            continue
        sensor = linked(row, 'calibrated_sensor_token', sensors, 'calibrated_sensor.json')
        left_out = by_scene[samples[sample].scene].left_out
        if isinstance(sensor, str):
            left_out[sensor] += 1
            continue
        if row.count('timestamp') == 0:  # no time, in ROS
            left_out[f'{sensor.channel} stamped 0'] += 1
            continue
        if 'is_valid' in row.values and not row.flag('is_valid'):  # T4: a blank stand-in
            left_out[f'{sensor.channel} with is_valid: false'] += 1
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
        row.text('token'): pose_of(row)
        for row in read_rows(folder / 'ego_pose.json')
        if row.text('token') in needed
    }
    for row, sensor, complete in found:
        recording = complete(linked(row, 'ego_pose_token', poses, 'ego_pose.json'))
        of = by_scene[samples[recording.sample].scene]
        of.found.append((sensor, recording))
        if recording.keyframe and not sensor.camera:
            of.sweeps.setdefault(recording.sample, recording.stamp)
    return by_scene


def _boxes(folder: Path, samples: Mapping[str, _Instant]) -> dict[str, list[Box]]:
    """By token of the sample, in the order of the table."""
    categories = _column(folder / 'category.json', 'name')
    instances = {
        row.text('token'): linked(row, 'category_token', categories, 'category.json')
        for row in read_rows(folder / 'instance.json')
    }
    found: defaultdict[str, list[Box]] = defaultdict(list)
    for row in read_rows(folder / 'sample_annotation.json'):
        sample = row.text('sample_token')
        if sample in samples:
            category = linked(row, 'instance_token', instances, 'instance.json')
            box = Box(row.text('instance_token'), category, pose_of(row), row.vector('size', 3))
            found[sample].append(box)
    return found


def _scene(row: Row, samples: list[Sample], recorded: _Recordings) -> Scene:
    name, found = row.text('name'), recorded.found
    sensors: dict[str, Sensor] = {}
    for sensor, _ in found:
        if not same_calibration(sensors.setdefault(sensor.channel, sensor), sensor):
            raise ValueError(
                f'{row.path.with_name("sample_data.json")}: expected one calibration of '
                f'{sensor.channel} in {name}, found two'
            )
    if not found and not recorded.left_out:
        raise ValueError(f'{row.path.with_name("sample_data.json")} has nothing of {name}')
    recordings = sorted((recording for _, recording in found), key=lambda r: (r.stamp, r.channel))
    return Scene(
        name, row.text('description'), row.path.parent.absolute().name,
        {channel: sensors[channel] for channel in sorted(sensors, key=channel_order(sensors))},
        tuple(recordings), tuple(sorted(samples, key=lambda sample: sample.stamp)),
        recorded.left_out,
    )  # fmt: skip


def _column(path: Path, name: str) -> dict[str, str]:
    """A field by token."""
    return {row.text('token'): row.text(name) for row in read_rows(path)}


def _stamp(row: Row) -> int:
    stamp = row.count('timestamp')
    if stamp in _MILLISECONDS:
        row.refuse('timestamp', 'microseconds since 1970, not milliseconds')
    if stamp >= _LAST_STAMP:
        row.refuse('timestamp', 'microseconds since 1970')
    return stamp * 1000


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
