"""gausstr-evaluate --report: the page, scores.json, comparisons, and what is refused."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluations import write_label_trees, write_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from report_page import ReportPage

from gausstr_core.weights import shipped_weights
from gausstr_training import evaluate
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.reports import page as page_module
from gausstr_training.evaluation.reports.frame_log import FrameLog, Labels
from gausstr_training.evaluation.reports.mistakes import COLORS, FREE_COLOR, error_map, mistakes
from gausstr_training.evaluation.reports.runs import read_run
from gausstr_training.evaluation.tally import SCORED, confusion_of

FRAMES = ['street_000500/000000', 'street_000501/000000']
CAMERAS = {f'CAM_{name}' for name in ('FRONT_LEFT', 'FRONT', 'FRONT_RIGHT', 'BACK_LEFT', 'BACK',
                                      'BACK_RIGHT')}  # fmt: skip


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(
        sys, 'argv', ['gausstr-evaluate', '--preset', 'tiny', *map(str, arguments)]
    )
    evaluate.main()


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory, streets: Path) -> Path:
    """Folder `first`, a report with the shipped weights, what was printed, and tiny weights."""
    folder = tmp_path_factory.mktemp('reports')
    write_weights(folder / 'tiny.safetensors', validation=900)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(printed):
        options = ['--preset', 'compact', '--json', folder / 'flat.json']
        command(monkeypatch, streets, *options, '--report', folder / 'first')
    (folder / 'printed.txt').write_text(printed.getvalue())
    return folder


def scores_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / 'scores.json').read_text())


def fresh_copy(made: Path, tmp_path: Path, name: str = 'first') -> Path:
    """The report again, to be changed."""
    return Path(shutil.copytree(made / 'first', tmp_path / name))


def test_the_page_shows_what_is_printed_and_written(made: Path) -> None:
    folder = made / 'first'
    assert sorted(path.name for path in folder.iterdir()) == ['index.html', 'scores.json']
    page, found = ReportPage(folder / 'index.html'), scores_of(folder)
    printed = (made / 'printed.txt').read_text().splitlines()
    table = page.rows('methods')
    for name in ('IoU', 'mIoU', *SCORED, 'ECE'):
        line = next(line for line in printed if line.startswith(f'{name} '))
        assert [cell for cell in table[name] if cell] == line.removeprefix(name).split()
    assert len({cell for cells in table.values() for cell in cells}) > 30  # no row of zeros
    assert page.tables['overall'][0][1:] == ['first']
    assert page.rows('overall')['mIoU'] == [table['mIoU'][0]]
    assert printed[-1] == f'report: {folder / "index.html"}'
    flat, overall = json.loads((made / 'flat.json').read_text()), found['overall']
    assert found['scores'] == flat and overall['IoU'] == flat['iou']
    assert overall['IoU of the strong lift'] == flat['baselines']['lift_strong']['iou']
    used, weights = found['settings'], shipped_weights('compact')
    assert used['weights_sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert used['threshold'] == flat['thresholds']['gaussians']
    assert used['command'] in page.text and f'--report {folder}' in used['command']
    assert found['versions']['torch'] == torch.__version__


def test_the_bars_and_the_frames_add_up(made: Path) -> None:
    page, found = ReportPage(made / 'first' / 'index.html'), scores_of(made / 'first')
    rows, classes = page.rows('classes'), found['classes']
    voxels = [classes[name]['voxels'] for name in rows]
    assert set(rows) == set(SCORED) and voxels == sorted(voxels, reverse=True)
    assert sum(entry['share'] for entry in classes.values()) == pytest.approx(100, abs=0.01)
    for (name, cells), width in zip(rows.items(), page.widths, strict=True):
        iou = classes[name]['iou']
        assert iou == found['scores']['per_class'][name]
        assert width == pytest.approx(iou or 0, abs=0.006)
        assert cells[-1] == ('-' if iou is None else f'{iou:.1f}')
        assert cells[0] == f'{classes[name]["voxels"]:,}'
    assert [frame['name'] for frame in found['frames']] == FRAMES
    lowest, highest = sorted(frame['iou'] for frame in found['frames'])
    assert lowest <= found['overall']['IoU'] <= highest  # a ratio of sums
    assert page.rows('spread')['IoU, worst frame'] == [f'{lowest:.1f}']


def test_the_worst_frames_come_first_with_their_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, streets: Path
) -> None:
    found = scores_of(made / 'first')['frames']
    ranked = sorted(found, key=lambda frame: frame['iou'] + frame['miou'])
    page = ReportPage(made / 'first' / 'index.html')
    places = [page.text.index(frame['name']) for frame in ranked]
    assert places == sorted(places)
    assert f'IoU {ranked[0]["iou"]:.1f}, mIoU {ranked[0]["miou"]:.1f}' in page.text[places[0] :]
    pictures = page.pictures()
    assert set(pictures) == CAMERAS | {
        f'{what} of {name} from above'
        for name in FRAMES
        for what in ('prediction', 'truth', 'errors')
    }
    assert len(page.sources) == 18
    assert pictures['CAM_FRONT'].shape == (252, 448, 3) and pictures['CAM_FRONT'].std() > 10
    assert not page.tags & {'script', 'link', 'iframe', 'object'}
    options = ['--weights', made / 'tiny.safetensors', '--worst', 1, '--report', tmp_path]
    command(monkeypatch, streets, *options)
    page, found = ReportPage(tmp_path / 'index.html'), scores_of(tmp_path)['frames']
    ranked = sorted(found, key=lambda frame: frame['iou'] + frame['miou'])
    assert [name for name in FRAMES if name in page.text] == [ranked[0]['name']]
    assert len(page.sources) == 9 and len(found) == 2


def test_runs_stand_side_by_side_with_their_differences(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, streets: Path
) -> None:
    folder = tmp_path / 'small'
    options = ['--weights', made / 'tiny.safetensors', '--report', folder]
    command(monkeypatch, streets, *options, '--compare', made / 'first')
    page = ReportPage(folder / 'index.html')
    own, earlier = scores_of(folder), scores_of(made / 'first')
    assert own['overall']['IoU'] < earlier['overall']['IoU'] - 10
    assert page.tables['overall'][0][1:] == ['small', 'first']
    for title, cells in page.rows('overall').items():
        before, now = earlier['overall'][title], own['overall'][title]
        assert cells == [f'{now:.1f}', f'{before:.1f} {before - now:+.1f}']
    # two bars a class, the new run's above
    expected = [
        run['classes'][name]['iou'] or 0 for name in page.rows('classes') for run in (own, earlier)
    ]
    assert page.widths == pytest.approx(expected, abs=0.006)
    assert page.rows('settings')['preset'] == ['tiny', 'compact']
    assert page.rows('settings')['threshold'] == ['0.3', f'{earlier["settings"]["threshold"]}']
    assert page.rows('settings')['weights'] == ['tiny.safetensors', 'compact.safetensors']
    frame = earlier['frames'][0]
    assert f'first: IoU {frame["iou"]:.1f}, mIoU {frame["miou"]:.1f}' in page.text


def test_what_others_wrote_is_shown_as_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, streets: Path
) -> None:
    earlier = fresh_copy(made, tmp_path, '<b onclick=x>bold')
    content = scores_of(earlier)
    hostile = '"><script>alert(1)</script>'
    content['settings'] |= {hostile: hostile, 'weights': hostile}
    content['versions'] |= {'torch': hostile}
    content['overall'] |= {hostile: 12.5}
    (earlier / 'scores.json').write_text(json.dumps(content))
    folder = tmp_path / 'new'
    options = ['--weights', made / 'tiny.safetensors', '--report', folder, '--compare', earlier]
    command(monkeypatch, streets, *options)
    page = ReportPage(folder / 'index.html')
    assert page.tables['overall'][0][1:] == ['new', '<b onclick=x>bold']
    assert page.rows('overall')[hostile] == ['-', '12.5']
    assert page.rows('settings')['weights'][1] == hostile
    assert 'script' not in page.tags
    assert '<script' not in (folder / 'index.html').read_text()


def test_other_frames_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, streets: Path
) -> None:
    options = ['--weights', made / 'tiny.safetensors', '--report', tmp_path / 'new']
    first, one = made / 'first', streets / 'street_000500'

    def refused(*arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            command(monkeypatch, *arguments, *options)
        assert not list((tmp_path / 'new').glob('*'))
        return str(caught.value)

    with monkeypatch.context() as patch:
        patch.setattr(Contest, 'guesses', None)  # refused before hours are spent
        message = refused(one, '--compare', first)
    assert f'{first} cannot be compared: it scored 1 frames' in message and FRAMES[1] in message
    command(monkeypatch, one, *options[:2], '--report', tmp_path / 'less')
    message = refused(streets, '--compare', tmp_path / 'less')
    assert 'less cannot be compared: it did not score 1 frames' in message
    assert FRAMES[1] in message

    changed = Path(shutil.copytree(one, tmp_path / 'streets' / 'street_000500'))
    truth = changed / 'truth' / '000000.npz'
    arrays = dict(np.load(truth))
    arrays['voxels'][100, 100, 8] = 5
    np.savez_compressed(truth, **arrays)
    message = refused(changed, '--compare', tmp_path / 'less')
    assert f'its frame {FRAMES[0]} has another truth' in message


def test_reports_that_cannot_be_compared_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, streets: Path
) -> None:
    broken = fresh_copy(made, tmp_path, 'broken')
    good = scores_of(broken)
    texts = {
        'not JSON': ('{"format": ', 'cannot be read as a report'),
        'a list': ('[]', 'must be an object'),
        'NaN': (json.dumps({**good, 'overall': {'IoU': float('nan')}}), 'NaN is no number'),
        'deep': ('[' * 100_000, 'cannot be read as a report'),
        'format': (json.dumps({**good, 'format': 'x'}), "got 'x'"),
        'kind': (json.dumps({**good, 'kind': 'occ3d'}), 'expected a report on streets'),
        'classes': (json.dumps({**good, 'classes': {}}), 'with the classes road, sidewalk'),
        'text': (json.dumps({**good, 'overall': {'IoU': 'high'}}), 'IoU must be a percentage'),
        'too high': (json.dumps({**good, 'overall': {'IoU': 101}}), 'got 101'),
        'frames': (json.dumps({**good, 'frames': [{'name': 3}]}), 'name must be text'),
    }
    options = ['--weights', made / 'tiny.safetensors', '--report', tmp_path / 'new']
    for text, message in texts.values():
        (broken / 'scores.json').write_text(text)
        with pytest.raises(SystemExit) as caught:
            command(monkeypatch, streets, *options, '--compare', broken)
        assert str(broken / 'scores.json') in str(caught.value)
        assert message in str(caught.value)
    for arguments, message in (
        ([*options, '--compare', tmp_path / 'nowhere'], 'scores.json is missing'),
        ([*options, '--compare', made / 'first', made / 'first'], 'given twice'),
        (['--compare', made / 'first'], '--compare needs --report'),
    ):
        with pytest.raises(SystemExit, match=message):
            command(monkeypatch, streets, *arguments)
    assert not (tmp_path / 'new').exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_report_is_read_or_refused_by_name(made: Path, data: st.DataObject) -> None:
    content = copy.deepcopy(scores_of(made / 'first'))
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(place[key], (dict, list)) and place[key]
        if not deeper or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    changed = made / 'changed'
    changed.mkdir(exist_ok=True)
    (changed / 'scores.json').write_text(json.dumps(content))
    try:
        run = read_run(changed, 'changed')
    except ValueError as error:
        assert 'changed/scores.json' in str(error)
    else:
        known = [*run.overall.values(), *(entry.iou for entry in run.classes.values())]
        assert all(value is None or 0 <= value <= 100 for value in known)


def test_what_is_interrupted_leaves_the_report_that_was_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, streets: Path
) -> None:
    folder = fresh_copy(made, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def stopping(own: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, interrupted as it is called for the second time."""
        calls = itertools.count(1)

        def stopped(*arguments: Any, **named: Any) -> Any:
            if next(calls) == 2:
                raise KeyboardInterrupt
            return own(*arguments, **named)

        return stopped

    options = [streets, '--weights', made / 'tiny.safetensors', '--report']
    empty = tmp_path / 'empty'
    for owner, name, target in (
        (Contest, 'guesses', empty),
        (page_module, 'error_map', folder),
        (Path, 'write_text', folder),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stopping(getattr(owner, name)))
            with pytest.raises(SystemExit, match='interrupted'):
                command(monkeypatch, *options, target)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(empty.iterdir())


def test_label_files_are_reported_with_rays_and_without_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    truth, predictions = write_label_trees(tmp_path)
    options = ['--occ3d', truth, '--predictions', predictions, '--report']
    command(monkeypatch, *options, tmp_path / 'first', '--worst', 0)
    without = ReportPage(tmp_path / 'first' / 'index.html')
    assert 's1/a' not in without.text and not without.sources
    command(
        monkeypatch, *options, tmp_path / 'second', '--worst', 1, '--compare', tmp_path / 'first'
    )
    page, found = ReportPage(tmp_path / 'second' / 'index.html'), scores_of(tmp_path / 'second')
    assert found['kind'] == 'occ3d' and len(found['frames']) == 3
    rays = found['scores']['ray_iou']['mean']
    assert page.rows('overall')['RayIoU'] == [f'{rays:.1f}', f'{rays:.1f} +0.0']
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith('RayIoU mean'))
    assert page.rows('methods')['RayIoU mean'][0] == line.split()[-1]
    assert found['frames'][0]['name'] == 's1/a' and found['frames'][0]['iou'] == 0
    assert 's1/a' in page.text and 's1/b' not in page.text
    assert set(page.pictures()) == {
        f'{what} of s1/a from above' for what in ('prediction', 'truth', 'errors')
    }
    # nothing was predicted in that frame: every mistake is a voxel that was missed
    errors = page.pictures()['errors of s1/a from above'][..., ::-1].reshape(-1, 3)
    share = {name: (errors == color).all(1).mean() for name, color in COLORS.items()}
    assert share['missed'] > 0.3 and share['invented'] == share['wrong class'] == 0


def test_mistakes_worked_by_hand() -> None:
    free = 2
    truth = np.full((200, 200, 4), free, np.uint8)
    predicted, mask = truth.copy(), np.ones(truth.shape, bool)
    truth[0, 0, :3], predicted[0, 0, :3] = 0, (0, 1, 1)  # twice the wrong class, once right
    truth[0, 1, :2], predicted[0, 1, 2] = 1, 1  # missed twice, invented once
    predicted[0, 2, 0] = 1
    truth[0, 3], predicted[0, 3] = 0, 0
    truth[0, 4], mask[0, 4] = 1, False
    labels = Labels(predicted, truth, mask)
    picture = error_map(labels, free, 0.4)
    # the ego's back is down and its left is left: y grows to the left
    seen = [tuple(picture[-2, -2 - 4 * y].tolist()) for y in range(6)]
    kinds = [COLORS[k] for k in ('wrong class', 'missed', 'invented', 'right')]
    assert seen[:4] == kinds and seen[5] == FREE_COLOR and seen[4] not in (*kinds, FREE_COLOR)
    found = mistakes(confusion_of(predicted, truth, mask, 2), ('road', 'car'), 3)
    assert [(m.truth, m.predicted, m.voxels) for m in found] == [
        ('road', 'car', 2), ('car', 'free', 2), ('free', 'car', 2),
    ]  # fmt: skip
    assert found[0].share == pytest.approx(100 * 2 / 6)
    assert mistakes(confusion_of(truth, truth, mask, 2), ('road', 'car'), 3) == []


@settings(max_examples=40, deadline=None)
@given(right=st.lists(st.integers(0, 8), min_size=1, max_size=12), keep=st.integers(0, 4))
def test_only_the_worst_frames_are_kept(right: list[int], keep: int) -> None:
    log, asked = FrameLog(('road',), keep), []
    for index, count in enumerate(right):
        truth = np.zeros((2, 2, 2), np.uint8)
        predicted = (np.arange(8) >= count).astype(np.uint8).reshape(2, 2, 2)
        labels = Labels(predicted, truth, np.ones((2, 2, 2), bool))

        def images(name: str = f'{index}') -> dict[str, np.ndarray]:
            asked.append(name)
            return {'CAM': np.full((9, 16, 3), 7, np.uint8)}

        log.add(f'{index:02d}', 'same', labels, images)
        assert len(log.worst) <= keep
    kept = [round(frame.score.scores.iou * 8 / 100) for frame in log.worst]
    assert kept == sorted(right)[:keep]
    assert len(log.scores) == len(right) and int(log.confusion.sum()) == 8 * len(right)
    if keep == 0:
        assert not asked
