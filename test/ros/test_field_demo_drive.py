"""A folder that is no drive: what was found and what was expected (field_reports N11)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from gausstr_ros.demo.command import main
from gausstr_ros.demo.drive import Drive

pytestmark = pytest.mark.ros


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """As gausstr-synthesize writes it, as far as the demo reads it."""
    folder = tmp_path / 'drive'
    (folder / 'truth').mkdir(parents=True)
    about = {'seed': 7, 'classes': ['car'], 'cameras': ['CAM_FRONT']}
    (folder / 'street.json').write_text(json.dumps(about))
    arrays = {
        'image_stamps': np.arange(1), 'camera_names': np.array(['CAM_FRONT']),
        'voxels': np.zeros((2, 2, 2), np.uint8), 'camera_mask': np.ones((2, 2, 2), bool),
    }  # fmt: skip
    for frame in range(4):
        np.savez(folder / 'truth' / f'{frame:06d}.npz', **arrays)
    return folder


def about(folder: Path, text: str) -> None:
    (folder / 'street.json').write_text(text)


def frame(folder: Path, **arrays: np.ndarray) -> None:
    np.savez(folder / 'truth' / '000002.npz', **arrays)


def broken(folder: Path, content: bytes) -> None:
    (folder / 'truth' / '000002.npz').write_bytes(content)


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (lambda d: shutil.rmtree(d), 'expected the folder of a drive, there is none at .*drive$'),
    (
        lambda d: (d / 'street.json').unlink(),
        r'is no drive of gausstr-synthesize: street\.json is',
    ),
    (lambda d: about(d, 'x'), r'street\.json is not readable JSON: Expecting value'),
    (lambda d: about(d, '[]'), r'street\.json: expected seed of type int, got None'),
    (lambda d: about(d, '{"seed": 1}'), r'street\.json: expected classes of type list, got None'),
    (lambda d: frame(d, image_stamps=np.arange(1)), r'000002\.npz has no camera_names, voxels'),
    (
        lambda d: frame(d, image_stamps=np.arange(1), camera_names=np.array(['a'])),
        r'000002\.npz has no voxels, camera_mask: it was made with --no-voxels',
    ),
    (lambda d: broken(d, b'PK\x03\x04 cut'), r'000002\.npz is not a readable truth file: '),
    (lambda d: broken(d, b''), r'000002\.npz is not a readable truth file: '),
    (lambda d: broken(d, b'text'), r'000002\.npz is not a readable truth file: '),
    (lambda d: (d / 'truth' / '000003.npz').unlink(), 'expected at least 4 frames, got 3'),
]


@pytest.mark.parametrize(('spoil', 'expected'), SPOILT)
def test_what_a_drive_lacks_is_said_in_words(
    drive: Path, spoil: Callable[[Path], object], expected: str
) -> None:
    """At 3a9861b: KeyError('voxels is not a file in the archive'), BadZipFile, errno 2."""
    assert len(Drive.read(drive).frames) == 4
    spoil(drive)
    with pytest.raises(ValueError, match=expected) as caught:
        Drive.read(drive)
    assert 'Error(' not in str(caught.value) and 'Errno' not in str(caught.value)


def test_the_folder_of_the_bag_is_not_that_of_the_drive(drive: Path) -> None:
    (drive / 'bag').mkdir()
    with pytest.raises(ValueError, match=f'street.json is missing; did you mean {drive}'):
        Drive.read(drive / 'bag')


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--drive', 'file'], '--drive: expected a folder, .*file is a file'),
        (['--weights', '.'], '--weights: expected a file, . is a folder'),
        (['--weights', 'no.safetensors'], r'no file of weights at no\.safetensors'),
    ],
)
def test_the_demo_says_which_option_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('x')
    with pytest.raises(SystemExit, match=f'gausstr-demo: {expected}'):
        main([*arguments, '--output', 'out'])
