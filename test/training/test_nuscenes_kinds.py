"""Sets in the format of nuScenes as others write them: names, stamps, poses, files that lack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import Bag
from gausstr_training import evaluate
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.sets import BagSettings
from gausstr_training.nuscenes.tables import find_tables, read_scenes
from gausstr_training.nuscenes_to_rosbag import main

CAMERAS = (
    'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_FRONT_LEFT', 'CAM_BACK', 'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
)  # fmt: skip
ARGOVERSE = dict(
    zip(
        (*CAMERAS, 'LIDAR_TOP'),
        ('ring_front_center', 'ring_front_right', 'ring_front_left', 'ring_rear_left',
         'ring_side_left', 'ring_side_right', 'lidar'),
        strict=True,
    )
)  # fmt: skip
WIDE = {'CAM_FRONT_LEFT': 'CAM_FRONT_LEFT_WIDE', 'LIDAR_TOP': 'LIDAR_CONCAT'}


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of three keyframes, with the labels of Occ3D."""
    from nuscenes_drives import street_drive
    from nuscenes_tree import write_tree

    root = tmp_path_factory.mktemp('nuscenes') / 'tree'
    return write_tree(root, 'v1.0-mini', [street_drive(1, 'scene-0001', 3, labels=True)])


@pytest.fixture
def tree(source: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(source, tmp_path / 'tree'))


def edit(tree: Path, table: str, changed: Callable[[list[dict]], list[dict] | None]) -> None:
    path = tree / 'v1.0-mini' / f'{table}.json'
    rows = json.loads(path.read_text())
    found = changed(rows)
    path.write_text(json.dumps(rows if found is None else found))


def rows_of(tree: Path, table: str) -> list[dict]:
    return json.loads((tree / 'v1.0-mini' / f'{table}.json').read_text())


def files_of(tree: Path, channel: str, *, keyframe: bool = True) -> list[dict]:
    """Rows of sample_data, by stamp."""
    found = [
        row
        for row in rows_of(tree, 'sample_data')
        if f'/{channel}/' in row['filename'] and row['is_key_frame'] == keyframe
    ]
    return sorted(found, key=lambda row: row['timestamp'])


def rename(tree: Path, names: dict[str, str]) -> None:
    def changed(rows: list[dict]) -> None:
        for row in rows:
            row['channel'] = names.get(row['channel'], row['channel'])

    edit(tree, 'sensor', changed)


def convert(tree: Path, *options: str) -> Path:
    output = tree.parent / 'bags'
    main([str(tree), '--output', str(output), '--workers', '1', *options])
    return output / 'scene-0001'


def counts(bag: Path) -> dict[str, int]:
    with Bag(bag) as opened:
        found: dict[str, int] = {}
        for message in opened.messages(None):
            found[message.topic] = found.get(message.topic, 0) + 1
        return found


@pytest.mark.parametrize('names', [{}, WIDE, ARGOVERSE, {'CAM_BACK': 'Camera7'}])
def test_every_sensor_that_is_a_camera_is_converted_whatever_its_name(
    tree: Path, capsys: pytest.CaptureFixture[str], names: dict[str, str]
) -> None:
    """tier4_perception_dataset PR 250; field_reports D3."""
    rename(tree, names)
    bag = convert(tree)
    found = counts(bag)
    for camera in CAMERAS:
        name = names.get(camera, camera)
        assert found[f'/{name}/image_raw/compressed'] == found[f'/{name}/camera_info'] == 6
    assert found['/lidar_top/points'] == 6
    assert 'files left out: 1 of RADAR_FRONT (radar)' in capsys.readouterr().err
    frames = BagDataset([bag], BagSettings(keyframes_only=True, points=True))
    assert len(frames) == 3 and not frames.lost
    assert set(frames.bags[0].cameras) == {names.get(camera, camera) for camera in CAMERAS}
    assert frames[0].points is not None


def add_lidar(tree: Path, *channels: str) -> None:
    """Further lidars, each with the calibration and the files of LIDAR_TOP."""
    for channel in channels:
        sensor = next(r for r in rows_of(tree, 'sensor') if r['channel'] == 'LIDAR_TOP')
        mount = next(
            r for r in rows_of(tree, 'calibrated_sensor') if r['sensor_token'] == sensor['token']
        )
        new, own = {'token': f's{channel}', 'channel': channel}, {'token': f'c{channel}'}
        edit(tree, 'sensor', lambda rows, new=new, old=sensor: [*rows, {**old, **new}])
        mounted = {**mount, **own, 'sensor_token': new['token']}
        edit(tree, 'calibrated_sensor', lambda rows, row=mounted: [*rows, row])
        more = [
            {**row, 'token': f'{channel}{row["token"]}', 'calibrated_sensor_token': own['token']}
            for row in rows_of(tree, 'sample_data')
            if row['calibrated_sensor_token'] == mount['token']
        ]
        edit(tree, 'sample_data', lambda rows, more=more: rows + more)


def test_one_of_several_lidars_can_be_chosen(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """field_reports D3: the others are named; where no usual one is there, one must be chosen."""
    add_lidar(tree, 'LIDAR_LEFT', 'LIDAR_CONCAT')
    assert 'LIDAR_TOP' in read_scenes(tree / 'v1.0-mini')[0].sensors
    bag = convert(tree, '--lidar', 'LIDAR_LEFT')
    err = capsys.readouterr().err
    assert '6 of LIDAR_TOP (lidar)' in err and '6 of LIDAR_CONCAT (lidar)' in err
    with Bag(bag) as opened:
        message = next(iter(opened.messages(['/lidar_top/points'])))
        assert decode(message).header.frame_id == 'LIDAR_LEFT'
    with pytest.raises(SystemExit, match=r'expected a lidar LIDAR_X, found LIDAR_CONCAT, .*TOP'):
        convert(tree, '--lidar', 'LIDAR_X')
    rename(tree, {'LIDAR_TOP': 'LIDAR_A', 'LIDAR_CONCAT': 'LIDAR_B'})
    with pytest.raises(SystemExit, match='LIDAR_A, LIDAR_B, LIDAR_LEFT; choose one with --lidar'):
        convert(tree)


@pytest.mark.parametrize('gone', ['all', 'rows', 'modality'])
def test_a_scene_without_a_camera_is_an_error(tree: Path, gone: str) -> None:
    """field_reports D3: at 3a9861b a bag without cameras was "converted"."""
    if gone == 'modality':
        edit(tree, 'sensor', lambda rows: [{**row, 'modality': 'other'} for row in rows])
    else:
        edit(
            tree,
            'sample_data',
            lambda rows: [] if gone == 'all' else [r for r in rows if 'CAM' not in r['filename']],
        )
    with pytest.raises(SystemExit, match=r'scene-0001|nothing of') as caught:
        convert(tree)
    if gone != 'all':
        assert 'expected images of a sensor that sensor.json calls a camera' in str(caught.value)
    assert not (tree.parent / 'bags' / 'scene-0001').exists()


def test_a_channel_that_no_topic_can_have_is_named(tree: Path) -> None:
    rename(tree, {'CAM_FRONT': 'front camera'})
    with pytest.raises(SystemExit, match=r"sensor\.json: expected channel .* got 'front camera'"):
        convert(tree)


def without_image(tree: Path) -> None:
    gone = files_of(tree, 'CAM_BACK_LEFT')[1]['token']
    edit(tree, 'sample_data', lambda rows: [r for r in rows if r['token'] != gone])


def stamped_zero(tree: Path) -> None:
    wrong = files_of(tree, 'CAM_BACK_LEFT')[1]['token']
    edit(
        tree,
        'sample_data',
        lambda rows: [{**r, 'timestamp': 0} if r['token'] == wrong else r for r in rows],
    )


def no_keyframe(tree: Path) -> None:
    plain = files_of(tree, 'CAM_BACK_LEFT')[1]['token']
    edit(
        tree,
        'sample_data',
        lambda rows: [
            {**r, 'is_key_frame': r['token'] != plain and r['is_key_frame']} for r in rows
        ],
    )


@pytest.mark.parametrize('spoil', [without_image, stamped_zero, no_keyframe])
def test_a_keyframe_without_an_image_is_named_and_stops_the_evaluation(
    tree: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
) -> None:
    """BEVDepth 126, carla 6772; field_reports D4: the scores were of 2 of 3 keyframes, rc 0."""
    token = rows_of(tree, 'sample')[1]['token']
    spoil(tree)
    bag = convert(tree)
    assert f'keyframe {token} at ' in (err := capsys.readouterr().err)
    assert '1 keyframe(s) are incomplete' in err and 'no image of CAM_BACK_LEFT' in err
    scores = tree.parent / 'scores.json'
    arguments = [
        'gausstr-evaluate', '--preset', 'tiny', '--weights', 'untrained', '--bags', bag, '--occ3d',
        tree / 'gts', '--predictions', tree.parent / 'predictions', '--json', scores,
    ]  # fmt: skip
    monkeypatch.setattr('sys.argv', list(map(str, arguments)))
    with pytest.raises(SystemExit) as caught:
        evaluate.main()
    expected = f'scene-0001/{token}: no image of CAM_BACK_LEFT'
    assert expected in str(caught.value) and '--allow-missing' in str(caught.value)
    assert not scores.exists() and not (tree.parent / 'predictions').exists()
    monkeypatch.setattr('sys.argv', [*map(str, arguments), '--allow-missing'])
    evaluate.main()
    said = capsys.readouterr()
    assert expected in said.err and '2 frames, percent; 1 keyframes have none' in said.out
    found = json.loads(scores.read_text())
    assert found['frames'] == 2
    assert found['missing'] == {f'scene-0001/{token}': 'no image of CAM_BACK_LEFT'}


def test_keyframes_without_poses_or_that_the_bag_does_not_name_are_missing_too(
    tree: Path, tmp_path: Path
) -> None:
    """field_reports D4: before the first pose, and labelled but in no bag."""
    from gausstr_training.evaluation.predicting import Keyframes

    bag = convert(tree)
    keyframes = Keyframes([bag])
    assert not keyframes.missing(tree / 'gts')
    shutil.copytree(next((tree / 'gts' / 'scene-0001').iterdir()), tree / 'gts/scene-0001/more')
    (tree / 'gts' / 'scene-0002' / 'x').mkdir(parents=True)  # of a scene that is not asked for
    assert keyframes.missing(tree / 'gts') == {'scene-0001/more': 'its bag does not name it'}
    frames = BagDataset([bag], BagSettings(keyframes_only=True, pose_gap=1e-3), cache=tmp_path)
    assert len(frames) + len(frames.lost) == 3


def test_a_bag_of_which_no_keyframe_is_left_says_why(tree: Path) -> None:
    """field_reports D4: every keyframe lacks one camera, which has other images."""
    gone = {row['token'] for row in files_of(tree, 'CAM_BACK_LEFT')}
    edit(tree, 'sample_data', lambda rows: [r for r in rows if r['token'] not in gone])
    bag = convert(tree)
    with pytest.raises(ValueError, match=r'3 x keyframe .* with no image of CAM_BACK_LEFT'):
        BagDataset([bag], BagSettings(keyframes_only=True))


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


@pytest.mark.parametrize('name', ['annotation', 'train_data', 'v1.02-train', 'tables', '.'])
def test_any_folder_that_holds_the_tables_is_found(tree: Path, name: str) -> None:
    """nuscenes-devkit 799, lyft; field_reports D8."""
    tables = tree / 'v1.0-mini'
    if name == '.':
        for path in tables.iterdir():
            shutil.move(path, tree)
        tables.rmdir()
    else:
        tables.rename(tree / name)
    assert find_tables(tree, None) == tree / name
    assert find_tables(tree, name) == tree / name
    assert len(read_scenes(find_tables(tree, None))) == 1


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
