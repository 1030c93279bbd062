"""Sets in nuScenes' format that are not nuScenes: distorted, as PNG, with blank stand-ins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from nuscenes_drives import street_drive
from nuscenes_tree import write_tree

from gausstr_core.camera.lens import Lens
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.sets import BagSettings
from gausstr_training.nuscenes.receipt import source_of
from gausstr_training.nuscenes.tables import read_scenes
from gausstr_training.nuscenes_to_rosbag import main

FIVE = [-0.32, 0.11, 0.001, -0.0005, -0.02]
EIGHT = [0.3, 0.02, 0.001, -0.0005, 0.001, 0.5, 0.1, 0.005]
FOURTEEN = [*EIGHT, 2e-3, -1e-3, 1.5e-3, 5e-4, 0.02, -0.03]


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drive = street_drive(1, 'scene-0001', samples=2)
    return write_tree(tmp_path_factory.mktemp('whole') / 'tree', 'v1.0-mini', [drive])


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(whole, tmp_path / 'tree'))


def edit(tree: Path, table: str, change: Any) -> None:
    """Call `change` with each row of a table."""
    path = tree / 'v1.0-mini' / f'{table}.json'
    rows = json.loads(path.read_text())
    for row in rows:
        change(row)
    path.write_text(json.dumps(rows))


def distort(coefficients: Any) -> Any:
    """Of the cameras; T4 has an empty list for the others."""

    def change(row: dict) -> None:
        row['camera_distortion'] = coefficients if row['camera_intrinsic'] else []

    return change


def convert(tree: Path) -> Path:
    output = tree.parent / 'bags'
    main([str(tree), '--output', str(output), '--workers', '1'])
    return output


def frames_of(bags: Path, **others: Any) -> BagDataset:
    return BagDataset([bags], BagSettings(keyframes_only=True), **others)


def image_rows(row: dict) -> bool:
    return 'CAM' in row['filename']


@pytest.mark.parametrize(
    ('coefficients', 'model', 'length'),
    [
        (FIVE, 'plumb_bob', 5), (FIVE[:4], 'plumb_bob', 5), (EIGHT, 'rational_polynomial', 8),
        (FOURTEEN[:12], 'rational_polynomial', 12), (FOURTEEN, 'rational_polynomial', 14),
        ([0.0] * 5, 'plumb_bob', 5), ([], 'plumb_bob', 5), (None, 'plumb_bob', 5),
    ],
)  # fmt: skip
def test_distortion_reaches_the_training(tree: Path, coefficients, model: str, length: int):
    """field_reports D1: t4-devkit PR 207, tier4_perception_dataset PR 156; zeros were written."""
    edit(tree, 'calibrated_sensor', distort(coefficients))
    frames = frames_of(convert(tree))
    (bag,) = frames.bags
    given = coefficients or []
    for calibrations in bag.calibrations:
        for calibration in calibrations:
            assert calibration.model == model and len(calibration.d) == length
            assert calibration.d == (*given, *[0.0] * (length - len(given)))
            matrix = np.array(calibration.k).reshape(3, 3)
            matrix[:2, 2] += 0.5
            size = calibration.height, calibration.width
            assert calibration.lens() == Lens.build(model, given, matrix, size)
    focal = bag.calibrations[0][0].k[0]
    zoomed = frames[0].rig.intrinsics[0, 0, 0] != pytest.approx(focal, rel=1e-4)
    assert zoomed == any(given)


@pytest.mark.parametrize(
    'coefficients',
    [[0.1], [0.1] * 3, [0.1] * 6, [0.1] * 7, [0.1] * 13, [0.1] * 15, 'none', 0.1, {'k1': 0.1},
     [None] * 5, [0.1, 0.1, 0.1, 'a']],
)  # fmt: skip
def test_other_distortions_are_refused_by_name(tree: Path, coefficients):
    edit(tree, 'calibrated_sensor', distort(coefficients))
    expected = r'calibrated_sensor\.json: row .*camera_distortion to be .*(coefficients|numbers)'
    with pytest.raises(SystemExit, match=expected):
        convert(tree)


def test_bags_of_nuscenes_itself_are_known_again(tree: Path):
    """No bag is made again because distortion and invalid rows are read now."""
    (plain,) = read_scenes(tree / 'v1.0-mini')
    edit(tree, 'calibrated_sensor', distort([0.0] * 5))
    (zeros,) = read_scenes(tree / 'v1.0-mini')
    edit(tree, 'calibrated_sensor', distort(FIVE))
    (bent,) = read_scenes(tree / 'v1.0-mini')
    digests = [source_of(scene, keyframes_only=False) for scene in (plain, zeros, bent)]
    assert digests[0] == digests[1] != digests[2]
    assert 'distortion' not in repr(plain) and 'invalid' not in repr(plain)


@pytest.mark.parametrize('ending', ['.png', '.jpg'])
def test_png_images_are_taken_as_they_are(tree: Path, ending: str):
    """field_reports D12: carla 9060. The bytes say what they are, not the name."""
    expected = {}

    def change(row: dict) -> None:
        if image_rows(row):
            path = tree / row['filename']
            pixels = cv2.imread(str(path))
            row['filename'] = str(Path(row['filename']).with_suffix(ending))
            (tree / row['filename']).write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
            expected.setdefault(Path(row['filename']).parts[1], []).append(pixels[..., ::-1])

    edit(tree, 'sample_data', change)
    frame = frames_of(convert(tree))[0]
    for name, image in zip(frame.rig.names, frame.images, strict=True):
        assert any(np.array_equal(image.numpy(), pixels) for pixels in expected[name])


def test_a_cut_png_is_refused_by_name(tree: Path):
    paths = []

    def change(row: dict) -> None:
        if image_rows(row):
            path = tree / row['filename']
            data = cv2.imencode('.png', cv2.imread(str(path)))[1].tobytes()
            path.write_bytes(data if paths else data[: len(data) // 2] + bytes(len(data)))
            paths.append(path)

    edit(tree, 'sample_data', change)
    with pytest.raises(SystemExit, match=rf'{paths[0].name}: .*cut short.*truncated PNG'):
        convert(tree)


def test_blank_stand_ins_are_left_out_and_counted(tree: Path, capsys: pytest.CaptureFixture):
    """field_reports D6: tier4_perception_dataset PR 296, 306; black images reached training."""
    chosen = []

    def change(row: dict) -> None:
        row['is_valid'] = True
        if 'CAM_FRONT__' in row['filename'] and row['is_key_frame'] and not chosen:
            row['is_valid'] = False
            chosen.append(row)
            (tree / row['filename']).unlink()  # nothing of it is needed
        elif 'LIDAR' in row['filename'] and not row['is_key_frame'] and len(chosen) == 1:
            row['is_valid'] = False
            chosen.append(row)

    edit(tree, 'sample_data', change)
    bags = convert(tree)
    shown = capsys.readouterr().err
    assert '1 of CAM_FRONT with is_valid: false' in shown
    assert '1 of LIDAR_TOP with is_valid: false' in shown
    frames = frames_of(bags)
    assert len(frames) == 1
    assert frames.skipped['scene-0001', 'keyframe without a set'] == 1
    (bag,) = frames.bags
    assert chosen[0]['timestamp'] * 1000 not in bag.image_stamps


def test_a_scene_of_stand_ins_only_says_so(tree: Path):
    edit(tree, 'sample_data', lambda row: row.update(is_valid=False))
    with pytest.raises(SystemExit, match=r'scene-0001: .*CAM_FRONT with is_valid: false'):
        convert(tree)


def test_a_mark_that_is_no_truth_value_is_refused_by_name(tree: Path):
    edit(tree, 'sample_data', lambda row: row.update(is_valid='no'))
    with pytest.raises(SystemExit, match=r"expected is_valid to be true or false, got 'no'"):
        convert(tree)
