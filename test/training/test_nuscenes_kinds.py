"""Sets in the format of nuScenes as others write them: names, stamps, poses, files that lack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nuscenes_edits import convert, edit, files_of, rename, rows_of

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import Bag
from gausstr_training import evaluate
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.sets import BagSettings
from gausstr_training.nuscenes.tables import find_tables, read_scenes

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
    from gausstr_training.evaluation.occ3d.predicting import Keyframes

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
