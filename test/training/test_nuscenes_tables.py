"""The tables of nuScenes: read row by row, linked, and named where they are broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gausstr_training.nuscenes.json_table import read_rows
from gausstr_training.nuscenes.tables import find_tables, read_scenes

TEXT = st.text(st.characters(codec='utf-8'))
NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TABLES = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=4)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def tables(nuscenes_tree: Path, tmp_path: Path) -> Path:
    """A copy of the tables that may be spoilt; sensor files are not looked at."""
    return Path(shutil.copytree(nuscenes_tree / 'v1.0-mini', tmp_path / 'v1.0-mini'))


def change(tables: Path, name: str, changed) -> None:
    path = tables / f'{name}.json'
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(changed(rows) or rows))


@QUICK
@given(rows=TABLES, indent=st.sampled_from([None, 0, 2]), plain=st.booleans())
def test_rows_are_those_of_the_file(tmp_path, rows, indent, plain):
    path = tmp_path / 'table.json'
    text = json.dumps(rows, indent=indent, ensure_ascii=plain)
    path.write_text(f' \n{text}\n', encoding='utf-8')
    assert [row.values for row in read_rows(path)] == rows


@QUICK
@given(rows=TABLES, data=st.data())
def test_a_file_that_is_cut_short_is_refused(tmp_path, rows, data):
    text = json.dumps(rows, indent=0)
    path = tmp_path / 'table.json'
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(ValueError, match=r'table\.json'):
        list(read_rows(path))


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'{"token": "a"}', 'expected a list'),
        (b'[1, 2]', 'row 0 to be an object'),
        (b'[{"a": 1} {"a": 2}]', 'row 1 is not readable JSON'),
        (b'[{"a": 1}, ]', 'row 1 is not readable JSON'),
        (b'[{"a": 1}] x', 'row 1 is not readable JSON'),
        (b'[{"a": 1}, {"b" 2}]', 'row 1 is not readable JSON'),
        (b'[{"a": ' + b'[' * 1000 + b'}]', 'row 0 is not readable JSON'),
        (b'[{"a": "\xff"}]', 'row 0 is not readable JSON'),
        (b'[{"a": NaN}]', 'row 0 is not readable JSON'),
        (b'', 'expected a list'),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, expected):
    path = tmp_path / 'sensor.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'sensor\.json.*{expected}'):
        list(read_rows(path))


def test_scenes_are_sorted_and_linked(tables):
    change(tables, 'scene', lambda rows: rows[::-1])
    change(tables, 'sample_data', lambda rows: rows[::-1])
    first, second = read_scenes(tables)
    assert (first.name, second.name) == ('scene-0001', 'scene-0002')
    assert list(first.sensors) == [
        'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_FRONT_LEFT', 'CAM_BACK', 'CAM_BACK_LEFT',
        'CAM_BACK_RIGHT', 'LIDAR_TOP',
    ]  # fmt: skip
    assert len(first.recordings) == 2 * 2 * 7  # samples, keyframe and sweep, sensors; no radar
    stamps = [recording.stamp for recording in first.recordings]
    assert stamps == sorted(stamps)
    assert [sample.stamp for sample in first.samples] == [
        recording.stamp
        for recording in first.recordings
        if recording.keyframe and recording.channel == 'LIDAR_TOP'
    ]
    assert all(sample.boxes for sample in first.samples)
    assert read_scenes(tables, ['scene-0002']) == [second]


def test_without_annotations_scenes_have_no_boxes(tables):
    """v1.0-test has the tables, but nothing in them."""
    for name in ('sample_annotation', 'instance'):
        (tables / f'{name}.json').write_text('[]')
    assert not any(sample.boxes for scene in read_scenes(tables) for sample in scene.samples)


@pytest.mark.parametrize(
    'name',
    ['scene', 'sample', 'sensor', 'calibrated_sensor', 'sample_data', 'ego_pose', 'category',
     'instance', 'sample_annotation'],
)  # fmt: skip
def test_a_missing_or_truncated_table_is_named(tables, name):
    path = tables / f'{name}.json'
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match=rf'{name}\.json is missing'):
        read_scenes(tables)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf'{name}\.json: (row|expected)'):
        read_scenes(tables)


@pytest.mark.parametrize(
    ('table', 'field', 'value', 'expected'),
    [
        ('scene', 'name', '../scene', 'letters, digits'),
        ('scene', 'name', None, 'text'),
        ('sample', 'timestamp', '1532402927', 'a whole number'),
        ('sample', 'timestamp', 1_532_402_927_000_000_000, 'microseconds'),
        ('sample_data', 'timestamp', -1, 'a whole number'),
        ('sample_data', 'timestamp', True, 'a whole number'),
        ('sample_data', 'filename', '/etc/passwd', 'below the root'),
        ('sample_data', 'filename', 'samples/../../x.jpg', 'below the root'),
        ('sample_data', 'is_key_frame', 1, 'true or false'),
        ('sample_data', 'width', 0, 'pixels'),
        ('sample_data', 'calibrated_sensor_token', 'gone', r'a row of calibrated_sensor\.json'),
        ('sample_data', 'ego_pose_token', 'gone', r'a row of ego_pose\.json'),
        ('ego_pose', 'rotation', [1.0, 0.0, 0.0], '4 finite numbers'),
        ('ego_pose', 'rotation', [1.0, 1.0, 0.0, 0.0], 'a unit quaternion'),
        ('ego_pose', 'translation', ['0', 0.0, 0.0], '3 finite numbers'),
        ('calibrated_sensor', 'camera_intrinsic', [], '3 x 3'),
        ('calibrated_sensor', 'camera_intrinsic', [[1, 0, 0], [0, 1, 0], [0, 0]], '3 finite'),
        ('calibrated_sensor', 'camera_intrinsic', [[0, 0, 0], [0, 1, 0], [0, 0, 1]], 'focal'),
        ('calibrated_sensor', 'camera_intrinsic', [[1, 2, 0], [0, 1, 0], [0, 0, 1]], 'fx 0 cx'),
        ('calibrated_sensor', 'sensor_token', 'gone', r'a row of sensor\.json'),
        ('sample_annotation', 'instance_token', 'gone', r'a row of instance\.json'),
        ('sample_annotation', 'size', [1.0, 2.0], '3 finite numbers'),
        ('instance', 'category_token', 'gone', r'a row of category\.json'),
    ],
)
def test_a_broken_field_is_named_with_its_table_and_row(tables, table, field, value, expected):
    broken = []

    def spoil(rows):
        rows[1][field] = value  # row 0 of sample_data is the radar's, which is not wanted
        broken.append(rows[1]['token'])

    change(tables, table, spoil)
    pattern = rf"{table}\.json: row '{broken[0]}': expected {field} to be .*{expected}.*got"
    with pytest.raises(ValueError, match=pattern):
        read_scenes(tables)


def test_a_field_that_is_not_there_is_named(tables):
    change(tables, 'ego_pose', lambda rows: rows[1].pop('rotation') and None)
    with pytest.raises(ValueError, match=r'ego_pose\.json.*rotation .*got nothing'):
        read_scenes(tables)


def test_two_calibrations_of_a_sensor_in_one_scene_are_refused(tables):
    def recalibrate(rows):
        row = next(row for row in rows if row['camera_intrinsic'])
        rows.append({**row, 'token': 'other', 'translation': [0.0, 0.0, 9.0]})
        return rows

    change(tables, 'calibrated_sensor', recalibrate)

    def use(rows):
        rows[1]['calibrated_sensor_token'] = 'other'

    change(tables, 'sample_data', use)
    with pytest.raises(ValueError, match='one calibration of CAM_FRONT in scene-0001'):
        read_scenes(tables)


def test_a_scene_without_data_and_names_that_are_not_there(tables):
    with pytest.raises(ValueError, match=r'no scene scene-0009; it has scene-0001, scene-0002'):
        read_scenes(tables, ['scene-0001', 'scene-0009'])
    change(tables, 'sample_data', lambda rows: [rows[-1]])
    with pytest.raises(ValueError, match=r'sample_data\.json has nothing of scene-0001'):
        read_scenes(tables, ['scene-0001'])
    change(tables, 'scene', lambda rows: [rows[0], {**rows[1], 'name': 'scene-0001'}])
    with pytest.raises(ValueError, match='two scenes are called scene-0001'):
        read_scenes(tables)


def test_the_version_is_found_or_asked_for(tables):
    root = tables.parent
    assert find_tables(root, None) == find_tables(root, 'v1.0-mini') == tables
    with pytest.raises(ValueError, match=r'expected a folder v1\.0-test, found v1\.0-mini'):
        find_tables(root, 'v1.0-test')
    (root / 'v1.0-trainval').mkdir()
    with pytest.raises(ValueError, match=r'v1\.0-mini, v1\.0-trainval; choose one with --version'):
        find_tables(root, None)
    with pytest.raises(ValueError, match='found none'):
        find_tables(root / 'elsewhere', None)
