"""Instants of nuScenes-format sets: keyframes' stamps, poses of one instant, units, encodings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nuscenes_edits import convert, edit, files_of, rows_of

from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.sets import BagSettings
from gausstr_training.nuscenes.tables import read_scenes


@pytest.mark.parametrize('shift', [-30_000, 30_000])
def test_a_keyframe_has_the_stamp_of_its_lidar_row(tree: Path, shift: int) -> None:
    """nuscenes-devkit 180, CVPR2023-Occupancy 38; field_reports D5: labels 0.32 m off at 30 ms."""
    edit(
        tree,
        'sample',
        lambda rows: [{**row, 'timestamp': row['timestamp'] + shift} for row in rows],
    )
    sweeps = [row['timestamp'] * 1000 for row in files_of(tree, 'LIDAR_TOP')]
    (scene,) = read_scenes(tree / 'v1.0-mini')
    assert [sample.stamp for sample in scene.samples] == sweeps
    frames = BagDataset([convert(tree)], BagSettings(keyframes_only=True))
    assert [frame.stamp for frame in frames] == sweeps


def test_a_keyframe_without_a_sweep_keeps_its_own_stamp_and_is_named(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = files_of(tree, 'LIDAR_TOP')[0]['token']
    edit(tree, 'sample_data', lambda rows: [r for r in rows if r['token'] != gone])
    convert(tree)
    assert 'has no sweep of LIDAR_TOP' in capsys.readouterr().err


def twin(tree: Path, changed: Callable[[dict], dict]) -> None:
    """Let a second camera fire in the microsecond of the first; its pose is changed a little."""
    first, second = files_of(tree, 'CAM_FRONT')[0], files_of(tree, 'CAM_BACK')[0]
    poses = {row['token']: row for row in rows_of(tree, 'ego_pose')}
    pose = {**changed(poses[first['ego_pose_token']]), 'token': second['ego_pose_token']}
    edit(tree, 'ego_pose', lambda rows: [pose if r['token'] == pose['token'] else r for r in rows])
    same = {'timestamp': first['timestamp']}
    edit(
        tree,
        'sample_data',
        lambda rows: [{**r, **same} if r['token'] == second['token'] else r for r in rows],
    )


def moved(tree: Path, offset: float) -> None:
    """All of the drive at UTM coordinates."""
    edit(
        tree,
        'ego_pose',
        lambda rows: [
            {**r, 'translation': [v + offset for v in r['translation'][:2]] + r['translation'][2:]}
            for r in rows
        ],
    )


def turned(row: dict, angle: float) -> dict:
    w, x, y, z = row['rotation']
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    return {**row, 'rotation': [c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w]}


def shifted(row: dict, metres: float) -> dict:
    x, y, z = row['translation']
    return {**row, 'translation': [x + metres, y, z]}


@pytest.mark.parametrize(
    'changed',
    [
        lambda row: {**row, 'rotation': [-value for value in row['rotation']]},
        lambda row: {**row, 'rotation': [round(value, 6) for value in row['rotation']]},
        lambda row: {**row, 'rotation': [1.0004 * value for value in row['rotation']]},
        lambda row: shifted(row, 5e-4),
        lambda row: {**row, 'translation': [round(value, 4) for value in row['translation']]},
    ],
    ids=['sign', 'rounded', 'norm', 'half a millimetre', 'four decimals'],
)
def test_two_sensors_of_one_instant_may_write_one_pose_in_two_ways(
    tree: Path, changed: Callable[[dict], dict]
) -> None:
    """tier4_perception_dataset PR 306, lyft devkit 73; field_reports D9."""
    moved(tree, 4.2e6)
    twin(tree, changed)
    assert convert(tree).is_dir()


@pytest.mark.parametrize(
    'changed',
    [lambda row: shifted(row, 2e-3), lambda row: turned(row, 1e-3)],
    ids=['place', 'turn'],
)
def test_two_poses_of_one_instant_that_differ_are_refused(
    tree: Path, changed: Callable[[dict], dict]
) -> None:
    twin(tree, changed)
    with pytest.raises(SystemExit, match='expected one ego pose per instant'):
        convert(tree)


def test_two_calibrations_that_are_one_pass(tree: Path) -> None:
    """field_reports D9, a sibling: a rig written again for every log, with other signs."""
    mount = rows_of(tree, 'calibrated_sensor')[0]
    again = {**mount, 'token': 'again', 'rotation': [-value for value in mount['rotation']]}
    edit(tree, 'calibrated_sensor', lambda rows: [*rows, again])
    edit(
        tree,
        'sample_data',
        lambda rows: [
            {**r, 'calibrated_sensor_token': 'again'}
            if r['calibrated_sensor_token'] == mount['token'] and not r['is_key_frame']
            else r
            for r in rows
        ],
    )
    assert convert(tree).is_dir()


@pytest.mark.parametrize('table', ['sample', 'sample_data', 'scene', 'ego_pose', 'sensor'])
def test_a_byte_order_mark_is_no_part_of_a_table(tree: Path, table: str) -> None:
    """field_reports D13."""
    path = tree / 'v1.0-mini' / f'{table}.json'
    expected = read_scenes(path.parent)
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert read_scenes(path.parent) == expected
    path.write_bytes(path.read_text('utf-8-sig').encode('utf-16'))
    with pytest.raises(ValueError, match=rf'{table}\.json: expected UTF-8, got UTF-16'):
        read_scenes(path.parent)


@pytest.mark.parametrize(
    ('per', 'since', 'message'),
    [
        (1000, 0, r'timestamp to be microseconds since 1970, not milliseconds, got 15\d+'),
        (1_000_000, 0, r'keyframes of scene-0001 .* are they milliseconds or seconds'),
        (1000, 1_532_402_927_000_000, r'keyframes of scene-0001 would be 500 of them apart'),
    ],
    ids=['milliseconds', 'seconds', 'milliseconds since the start'],
)
@pytest.mark.parametrize('tables', [('sample', 'sample_data'), ('sample',)])
def test_stamps_in_other_units_are_refused(
    tree: Path, tables: tuple[str, ...], per: int, since: int, message: str
) -> None:
    """field_reports D13: images of 1970, without a word."""
    for table in tables:
        edit(
            tree,
            table,
            lambda rows: [{**r, 'timestamp': (r['timestamp'] - since) // per} for r in rows],
        )
    with pytest.raises(SystemExit, match=message):
        convert(tree)
