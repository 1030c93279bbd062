"""gausstr-synthesize and the reader: the bag's content, resuming, and errors that name files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.streets.reader import read_street
from gausstr_training.synthesize import main

SMALL = ['--size', '64x36', '--no-voxels']


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('drive') / 'one'
    main(['--seed', '3', '--frames', '2', '--output', str(folder), *SMALL])
    return folder


@pytest.fixture
def copy(drive: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drive, tmp_path / 'copy'))


def test_the_bag_is_what_ros2_bag_play_needs(drive: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    topics: Counter[str] = Counter()
    stamps = []
    with Reader(drive / 'bag') as reader:
        for connection, stamp, raw in reader.messages():
            topics[connection.topic] += 1
            stamps.append(stamp)
            message = store.deserialize_cdr(raw, connection.msgtype)
            assert connection.digest == store.hash_rihs01(connection.msgtype)
            if connection.topic == '/tf_static':
                assert [t.child_frame_id for t in message.transforms] == list(NUSCENES_CAMERAS)
                profile = connection.ext.offered_qos_profiles[0]
                assert profile.durability.name == 'TRANSIENT_LOCAL'
            elif connection.topic == '/tf':
                (transform,) = message.transforms
                assert (transform.header.frame_id, transform.child_frame_id) == (
                    'odom',
                    'base_link',
                )
            elif connection.topic.endswith('camera_info'):
                assert (message.width, message.height) == (64, 36)
                assert message.distortion_model == 'plumb_bob'
                assert not message.d.any()
            else:
                assert message.format == 'jpeg'
                assert f'/{message.header.frame_id}/image_raw/compressed' == connection.topic
        images = [reader.message_count, reader.start_time, reader.end_time]
    assert stamps == sorted(stamps)
    for name in NUSCENES_CAMERAS:
        assert topics[f'/{name}/image_raw/compressed'] == topics[f'/{name}/camera_info'] == 2
    assert topics['/tf_static'] == 1
    assert topics['/tf'] >= 2 * 6 + 2
    assert images[0] == sum(topics.values())


def test_tf_covers_every_image(drive: Path) -> None:
    street = read_street(drive)
    with Reader(drive / 'bag') as reader:
        tf = [stamp for connection, stamp, _ in reader.messages() if connection.topic == '/tf']
    stamps = np.concatenate([street[0].image_stamps, street[1].image_stamps])
    assert min(tf) < stamps.min() and max(tf) > stamps.max()
    assert set(stamps.tolist()) <= set(tf)


def test_extrinsics_of_the_truth_are_those_of_the_bag(drive: Path) -> None:
    about = json.loads((drive / 'street.json').read_text())
    frame = read_street(drive)[0]
    newest = int(np.argmax(frame.image_stamps))
    expected = np.array(about['base_from_camera'][newest])
    assert frame.rig.ego_from_camera[newest].numpy() == pytest.approx(expected, abs=1e-5)


def test_a_second_run_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ['--seed', '0', '--streets', '2', '--output', str(tmp_path / 'many'), *SMALL]
    main(command)
    kept = tmp_path / 'many' / 'street_000000' / 'street.json'
    before = kept.stat().st_mtime_ns
    shutil.rmtree(tmp_path / 'many' / 'street_000001')
    main(command)
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / 'many' / 'street_000001' / 'street.json').is_file()
    assert '1 street(s)' in capsys.readouterr().out
    assert not list(tmp_path.rglob('*.part'))


def test_a_broken_street_is_named_and_overwritten_on_demand(copy: Path) -> None:
    command = ['--seed', '3', '--frames', '2', '--output', str(copy), *SMALL]
    (copy / 'street.json').unlink()
    with pytest.raises(SystemExit, match=r'street\.json is missing.*--overwrite'):
        main(command)
    main([*command, '--overwrite'])
    assert len(read_street(copy)) == 2


def test_a_street_of_other_settings_is_not_taken_for_done(copy: Path) -> None:
    with pytest.raises(SystemExit, match='expected seed 4, got 3'):
        main(['--seed', '4', '--frames', '2', '--output', str(copy), *SMALL])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--frames', '0'], '--frames: expected a whole number from 1 to 100000'),
        (['--seed', '-1'], '--seed: expected a whole number from 0 to'),
        (['--streets', '0'], '--streets: expected a whole number from 1 to'),
        (['--workers', '0'], '--workers: expected a whole number from 1 to'),
        (['--resolution', '0.3'], '--resolution: grid range along x must be a whole number of'),
        (['--resolution', '0'], '--resolution: expected a number from 0.05 to 3.2'),
        (['--size', '448'], '--size: expected WIDTHxHEIGHT like 448x252'),
        (['--size', '4x4'], 'from 16x16 to 4096x4096'),
    ],
)
def test_bad_options_are_named(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(['--seed', '0', '--output', str(tmp_path / 'x'), *arguments])
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'x').exists()


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(SystemExit, match='file'):
        main(['--seed', '0', '--output', str(tmp_path / 'file' / 'x'), *SMALL])


@pytest.mark.parametrize(
    ('victim', 'content', 'message'),
    [
        ('street.json', b'{"format": 1', 'street.json is not readable JSON'),
        ('street.json', b'{"format": 1}', 'street.json lacks seed'),
        ('truth/000001.npz', b'PK\x03\x04 torn', '000001.npz is not a readable truth file'),
        ('truth/000001.npz', None, '000001.npz is missing'),
        ('bag/metadata.yaml', None, 'metadata.yaml is missing'),
        ('bag/bag.mcap', b'', 'bag is not a readable bag'),
    ],
)
def test_the_reader_names_the_broken_file(
    copy: Path, victim: str, content: bytes | None, message: str
) -> None:
    path = copy / victim
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_street(copy)[1]


def test_an_array_of_a_wrong_shape_is_named(copy: Path) -> None:
    path = copy / 'truth' / '000000.npz'
    with np.load(path) as file:
        arrays = dict(file)
    arrays['depth'] = arrays['depth'][:5]
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match=r'000000\.npz: depth must have shape \(6, 36, 64\)'):
        read_street(copy)[0]


def test_truth_of_any_resolution_is_made_and_one_that_is_missing_named(tmp_path: Path) -> None:
    folder = tmp_path / 'one'
    command = ['--seed', '3', '--size', '64x36', '--output', str(folder), '--resolution']
    main([*command, '0.8', '1.6', '0.8'])
    street = read_street(folder)
    assert (street.resolutions, street.grid, street[0].voxels) == ((0.8, 1.6), None, None)
    voxels = read_street(folder, 1.6)[0].voxels
    assert voxels is not None and voxels.shape == (50, 50, 4)
    with pytest.raises(ValueError, match=r'one has no voxel truth at 0\.4 m, only: 0\.8, 1\.6 m'):
        read_street(folder, 0.4)
    main([*command, '0.8', '1.6'])  # complete already
    with pytest.raises(
        SystemExit, match=r'expected resolutions 0\.4 m, got 0\.8, 1\.6 m; --overwr'
    ):
        main([*command, '0.4'])


def test_resolutions_that_are_no_numbers_are_named(copy: Path) -> None:
    about = json.loads((copy / 'street.json').read_text())
    text = json.dumps({**about, 'voxels': True, 'resolutions': ['fine']})
    (copy / 'street.json').write_text(text)
    with pytest.raises(ValueError, match=r'street\.json: resolutions must be a list of metres'):
        read_street(copy)


def test_frames_count_from_zero(drive: Path) -> None:
    with pytest.raises(IndexError, match='2 frames, got index 2'):
        read_street(drive)[2]


def test_ctrl_c_to_the_parent_alone_ends_the_workers(tmp_path: Path) -> None:
    """As `timeout -s INT` sends it: nothing is half written, and nobody works on."""
    output = tmp_path / 'streets'
    options = ['--seed', '0', '--streets', '50', '--workers', '2', '--output', str(output), *SMALL]
    process = subprocess.Popen(
        [sys.executable, '-m', 'gausstr_training.synthesize', *options],
        stderr=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONPATH': ':'.join(sys.path)},
        # what a shell starts in the background, these tests for instance, ignores Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not list(output.glob('street_*')):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 'interrupted; run it again to go on' in said and 'Traceback' not in said
    assert len(list(output.iterdir())) < 50 and not list(output.glob('.*'))
