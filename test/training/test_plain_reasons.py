"""Commands say what they found and what they expected, in words (field_reports N11, N13, D13)."""

from __future__ import annotations

import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from counted_work import counting
from evaluations import write_weights

from gausstr_core.process.reasons import reason, told
from gausstr_core.weights import catalogue, read_card
from gausstr_training import evaluate, make_targets, nuscenes_to_rosbag, synthesize, train
from gausstr_training.evaluation.reports.runs import read_run
from gausstr_training.processes import ranks
from gausstr_training.processes.workers import run_jobs
from gausstr_training.streets.reader import read_street
from gausstr_training.targets import cluster

COMMANDS: dict[str, Callable[[], None]] = {
    'gausstr-synthesize': synthesize.main,
    'gausstr-evaluate': evaluate.main,
    'gausstr-make-targets': make_targets.main,
    'gausstr-nuscenes-to-rosbag': nuscenes_to_rosbag.main,
    'gausstr-train': train.main,
    'gausstr-fetch': catalogue.main,
}


def said(monkeypatch: pytest.MonkeyPatch, *command: object) -> str:
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    with pytest.raises(SystemExit) as caught:
        COMMANDS[str(command[0])]()
    text = str(caught.value)
    assert 'Errno' not in text and 'Error(' not in text and text.startswith(str(command[0]))
    return text


@pytest.mark.parametrize(
    ('command', 'option'),
    [
        (('gausstr-synthesize', '--seed', 1), '--output'),
        (('gausstr-nuscenes-to-rosbag', '--output', 'out'), 'root'),
        (('gausstr-nuscenes-to-rosbag', 'root'), '--output'),
        (('gausstr-fetch', 'clip'), '--check'),
        (('gausstr-evaluate',), 'streets'),
        *(
            (('gausstr-evaluate', 'streets'), option)
            for option in ('--occ3d', '--predictions', '--validation', '--report', '--folder')
        ),
        *(
            (('gausstr-train', '--data', 'a', *more), option)
            for option, more in (
                ('--output', ()),
                ('--folder', ('--output', 'b')),
                ('--targets', ('--output', 'b')),
            )
        ),
        (('gausstr-make-targets', '--teacher', 'compact', '--data', 'a'), '--cache'),
    ],
)
def test_a_file_where_a_folder_is_wanted_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...], option: str
) -> None:
    file = tmp_path / 'file'
    file.write_text('x')
    monkeypatch.chdir(tmp_path)
    typed = (option, file) if option.startswith('--') else (file,)
    assert f'{option}: expected a folder, {file} is a file' in said(monkeypatch, *command, *typed)
    assert file.read_text() == 'x'


@pytest.mark.parametrize(
    ('command', 'option'),
    [
        (('gausstr-evaluate', 'streets'), '--weights'),
        (('gausstr-evaluate', 'streets'), '--json'),
        (('gausstr-evaluate', '--calibrate', 'streets'), '--output'),
        (('gausstr-train', '--data', 'a', '--output', 'b'), '--start'),
        (('gausstr-make-targets', '--teacher', 'compact', '--data', 'a', '--cache', 'b'),
         '--weights'),
    ],
)  # fmt: skip
def test_a_folder_where_a_file_is_wanted_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = said(monkeypatch, *command, option, tmp_path)
    assert f'{option}: expected a file, {tmp_path} is a folder' in text


def test_what_the_system_refuses_is_said_without_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').write_text('x')
    below = tmp_path / 'file' / 'below'
    text = said(monkeypatch, 'gausstr-synthesize', '--seed', 1, '--output', below)
    assert text.endswith(f'--output: expected a folder, {tmp_path / "file"} is a file')
    text = said(monkeypatch, 'gausstr-evaluate', 'streets', '--json', below)
    assert text.endswith(f'--json: expected a folder, {tmp_path / "file"} is a file')
    assert told(FileNotFoundError(2, 'No such file or directory', 'a')) == (
        'a: no such file or directory'
    )
    assert told(OSError(18, 'Invalid link', 'a', None, 'b')) == 'a -> b: invalid link'
    assert told(ValueError('as it was')) == 'as it was'
    assert told(EOFError()) == reason(EOFError()) == 'EOFError'
    assert reason(KeyError('seed')) == 'seed is missing'


def test_streets_without_voxels_are_named_before_anything_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streets: Path
) -> None:
    folder = tmp_path / 'streets'
    shutil.copytree(streets, folder)
    about = folder / 'street_000501' / 'street.json'
    about.write_text(json.dumps({**json.loads(about.read_text()), 'voxels': False}))
    weights = write_weights(tmp_path / 'tiny.safetensors', validation=900)
    text = said(monkeypatch, 'gausstr-evaluate', folder, '--preset', 'tiny', '--weights', weights)
    assert f'{folder / "street_000501"} has no voxel truth' in text
    assert '--no-voxels, as were 1 of these 2 streets' in text


def test_weights_that_are_missing_are_missed_before_their_card(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f'no file of weights at {tmp_path / "no.safetensors"}'):
        read_card(tmp_path / 'no.safetensors')


def test_a_byte_order_mark_is_no_part_of_json(tmp_path: Path, streets: Path) -> None:
    """field_reports D13: of cards, streets and reports; tables and checksums have tests too."""
    weights = write_weights(tmp_path / 'tiny.safetensors')
    street = Path(shutil.copytree(streets / 'street_000500', tmp_path / 'street'))
    report = {
        'format': 'gausstr-report-1', 'kind': 'occ3d', 'overall': {}, 'classes': {}, 'frames': [],
        'settings': {}, 'versions': {},
    }  # fmt: skip
    (tmp_path / 'scores.json').write_text(json.dumps(report))
    marked = weights.with_suffix('.json'), street / 'street.json', tmp_path / 'scores.json'
    for path in marked:
        path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert read_card(weights)['training_seeds'] == [0, 99]
    assert read_street(street).seed == 500
    assert read_run(tmp_path, 'run').kind == 'occ3d'


def test_the_bar_of_one_street_counts_frames_and_ctrl_c_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """field_reports N13: the bar counted streets, and "go on" started over."""
    options = ['--seed', '1', '--frames', '3', '--size', '32x16', '--no-voxels', '--output']
    synthesize.main([*options, str(tmp_path / 'whole')])
    err = capsys.readouterr().err
    assert '3/3' in err and 'frame/s' in err and 'street/s' not in err

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthesize, 'write_drive', interrupt)
    with pytest.raises(SystemExit, match='it starts again at the first frame'):
        synthesize.main([*options, str(tmp_path / 'cut')])
    with pytest.raises(SystemExit, match='that were not complete start again at the first frame'):
        synthesize.main(['--streets', '2', *options, str(tmp_path / 'many')])


@pytest.mark.parametrize('workers', [1, 2])
def test_checks_are_counted_from_all_workers(workers: int) -> None:
    counts: list[int] = []
    results = run_jobs(counting, [3, 4, 5], workers, counts.append)
    assert sorted(result for _, result in results) == [3, 4, 5]
    assert sum(counts) == 12


def test_a_long_tmpdir_of_ray_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ray 7945; field_reports D13: Ray's words name a socket that nobody has chosen."""
    long = str(tmp_path / ('x' * 100))

    def init(**_: object) -> None:
        raise OSError(
            'validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: ' + long
        )

    monkeypatch.setenv('RAY_TMPDIR', long)
    fake = types.SimpleNamespace(init=init, shutdown=lambda: None)
    with pytest.raises(ValueError, match=rf'sockets below {long}, .* set RAY_TMPDIR to a short'):
        cluster._connect(fake, cluster.LOCAL, 1, 1)


def test_processes_that_do_not_meet_say_where_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """field_reports D13: torchrun where the name of the machine does not resolve."""
    for name, value in {'WORLD_SIZE': '2', 'RANK': '0', 'MASTER_ADDR': 'nohost.invalid'}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('MASTER_PORT', '29511')

    def unresolved(backend: str) -> None:
        raise RuntimeError('Unable to resolve hostname to a (local) address')

    monkeypatch.setattr(torch.distributed, 'init_process_group', unresolved)
    expected = r'do not meet at nohost\.invalid:29511: Unable to resolve .*--master-addr 127\.0'
    with pytest.raises(ValueError, match=expected), ranks.joined('cpu'):
        pass
