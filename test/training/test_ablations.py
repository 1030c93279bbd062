"""Variants are trained and scored alike, and their reports can be laid beside others."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from report_page import ReportPage

from gausstr_core.weights import shipped_weights
from gausstr_training import evaluate, synthesize
from gausstr_training.compact import ablations
from gausstr_training.evaluation.reports.runs import read_run

VARIANTS = ['temporal', 'gaussians-140']


@pytest.fixture(scope='module')
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small streets: train, validation, test, and elsewhere."""
    folder = tmp_path_factory.mktemp('pieces')
    small = ['--size', '112x64', '--frames', '2']
    synthesize.main(['--seed', '1', '--no-voxels', '--output', str(folder / 'train'), *small])
    for seed, name in ((2, 'validation'), (3, 'test'), (4, 'elsewhere')):
        synthesize.main(['--seed', str(seed), '--output', str(folder / name), *small])
    return folder


def run(monkeypatch: pytest.MonkeyPatch, output: Path, *more: object) -> None:
    shared = ['--weights', shipped_weights('compact'), '--steps', 1, '--output', output]
    monkeypatch.setattr(sys, 'argv', ['ablations', *map(str, (*shared, *more))])
    ablations.main()


@pytest.mark.slow
def test_variants_train_here_and_are_scored_there(
    pieces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, only = tmp_path / 'out', ['--only', *VARIANTS]
    run(monkeypatch, output, *only, '--data', pieces / 'train')
    weights = sorted(output.glob('*/transformer.pt'))
    before = [path.stat().st_mtime_ns for path in weights]
    assert len(weights) == 2 and not list(output.rglob('scores.json'))
    streets = ['--validation', pieces / 'validation', '--test', pieces / 'test']
    run(monkeypatch, output, *only, *streets)  # without the training streets
    assert [path.stat().st_mtime_ns for path in weights] == before
    runs = {name: read_run(output / name, name) for name in VARIANTS}
    start = {name: found.overall['IoU before training'] for name, found in runs.items()}
    assert start['gaussians-140'] < start['temporal']  # which starts as `ours` does
    for found in runs.values():
        assert found.overall['IoU'] != found.overall['IoU before training']  # it was trained
        assert [frame.name for frame in found.frames] == [
            f'street_000003/00000{n}' for n in (0, 1)
        ]
        assert (found.settings['steps'], found.settings['trained_on']) == (1, 'cpu')
    assert len(ReportPage(output / 'temporal' / 'index.html').pictures()) > 6

    page = ReportPage(output / 'index.html')
    assert page.tables['overall'][0][1:] == VARIANTS
    assert page.rows('overall')['IoU'][0] == f'{runs["temporal"].overall["IoU"]:.1f}'
    assert page.rows('overall')['IoU before training'][1].startswith(
        f'{start["gaussians-140"]:.1f} '
    )
    assert page.rows('settings')['about'] == [f.settings['about'] for f in runs.values()]
    assert not page.sources and 'The commonest mistakes' not in page.text
    printed = capsys.readouterr().out.splitlines()
    for name, found in runs.items():
        (line,) = (line for line in printed if line.startswith(f'| {name} |'))
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        assert cells[1:] == page.rows('methods')[name]
        titles = ('IoU before training', 'mIoU before training', 'IoU', 'mIoU')
        assert cells[1:5] == [f'{found.overall[title]:.1f}' for title in titles]
        assert cells[5:] == ['1', str(found.settings['seconds_a_step']), 'cpu']
    assert printed[-1] == f'side by side: {output / "index.html"}'

    compared(monkeypatch, pieces, output, tmp_path)

    shutil.rmtree(output / 'gaussians-140')  # training must not begin where scoring would fail
    elsewhere = ['--validation', pieces / 'validation', '--test', pieces / 'elsewhere']
    with pytest.raises(SystemExit, match=r'out/temporal cannot be compared: .*street_000003/0'):
        run(monkeypatch, output, *only, *elsewhere)
    assert not (output / 'gaussians-140').exists()


def compared(monkeypatch: pytest.MonkeyPatch, pieces: Path, output: Path, tmp_path: Path) -> None:
    """gausstr-evaluate takes what the ablations wrote, and scores a start as they do."""
    arguments = [
        *('gausstr-evaluate', pieces / 'test', '--validation', pieces / 'validation'),
        *('--report', tmp_path / 'shipped', '--compare', output / 'temporal'),
        output / 'gaussians-140',
    ]
    monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
    evaluate.main()
    overall = ReportPage(tmp_path / 'shipped' / 'index.html')
    assert overall.tables['overall'][0][1:] == ['shipped', *VARIANTS]
    found = [json.loads((f / 'scores.json').read_text()) for f in
             (tmp_path / 'shipped', output / 'temporal')]  # fmt: skip
    # both see with the network that ships, so what is lifted from it is the same
    assert found[0]['overall']['IoU of the strong lift'] == pytest.approx(
        found[1]['overall']['IoU of the strong lift'], abs=0.01
    )


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (['--test', 'test'], '--test needs --validation'),
        (['--test', 'test', '--validation', 'test'], 'street 3 is given both to score'),
        (['--test', 'test', '--validation', 'validation', '--device', 'gpu'], "cuda, got 'gpu'"),
    ],
)
def test_refusals_come_before_the_training(
    options: list[str],
    told: str,
    pieces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = [pieces / item if (pieces / item).exists() else item for item in options]
    with pytest.raises(SystemExit, match=told):
        run(monkeypatch, tmp_path, '--data', pieces / 'train', *places)
    assert not list(tmp_path.iterdir())
