"""gausstr-evaluate on two small streets with a tiny model, and the contest behind it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from evaluations import THRESHOLDS, write_weights

from gausstr_core.contracts import FoundationMaps
from gausstr_core.encoded_images import EncodedImages
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.transformer.build import build
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training import evaluate
from gausstr_training.compact.batch import thinned
from gausstr_training.evaluation.methods import HELDOUT, METHODS, Contest
from gausstr_training.evaluation.tally import SCORED, Tally
from gausstr_training.streets.classes import SKY
from gausstr_training.streets.reader import StreetFrame, read_street


@pytest.fixture(scope='module')
def frame(streets: Path) -> StreetFrame:
    return read_street(streets / 'street_000500')[0]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of tiny weights with a card."""
    return write_weights(tmp_path / 'tiny.safetensors')


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(
        sys, 'argv', ['gausstr-evaluate', '--preset', 'tiny', *map(str, arguments)]
    )
    evaluate.main()


def test_scores_are_printed_and_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    streets: Path,
    weights: Path,
) -> None:
    path = tmp_path / 'scores.json'
    command(monkeypatch, streets / 'street_000500', '--weights', weights, '--json', path)
    scores = json.loads(path.read_text())
    assert set(scores['per_class']) == set(SCORED) == set(scores['unmasked']['per_class'])
    assert set(scores['baselines']) == {'lift', 'lift_strong', 'untrained'}
    for part in (scores, scores['unmasked'], *scores['baselines'].values()):
        assert 0 <= part['iou'] <= 100 and 0 <= part['miou'] <= 100
    assert scores['thresholds'] == THRESHOLDS
    assert (scores['streets'], scores['frames'], scores['weights']) == (
        [500],
        1,
        'tiny.safetensors',
    )
    assert set(HELDOUT) <= set(scores)
    calibration = scores['calibration']
    assert calibration['temperature'] == 1.0 and calibration['voxels'] > 100
    assert 0 <= calibration['ece'] <= 1 and 0 < calibration['confidence'] < 1
    assert scores['heldout_vocabulary']['iou'] <= 100
    printed = capsys.readouterr().out
    assert 'construction vehicle' in printed and 'lift_strong' in printed
    assert f'{100 * calibration["ece"]:.1f}' in printed.split('ECE')[1].splitlines()[0]


def test_calibration_writes_thresholds_that_evaluation_finds_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, streets: Path
) -> None:
    chosen, path = tmp_path / 'thresholds.json', tmp_path / 'scores.json'
    other = streets / 'street_000501'
    options = ['--weights', 'untrained']
    command(monkeypatch, *options, '--calibrate', other, '--output', chosen)
    found = json.loads(chosen.read_text())
    assert found['validation_seeds'] == [501, 501]
    assert set(found['thresholds']) == set(METHODS)
    command(
        monkeypatch, *options, streets / 'street_000500', '--validation', other, '--json', path
    )
    scores = json.loads(path.read_text())
    assert scores['thresholds'] == found['thresholds']
    assert scores['calibration']['temperature'] == found['class_temperature'] != 1.0


def test_refusals_name_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, streets: Path, weights: Path
) -> None:
    one = streets / 'street_000500'
    cases = [
        ([streets, '--weights', weights], 'street 501: thresholds were chosen on'),
        ([one, '--weights', 'untrained'], 'states no threshold for gaussians'),
        ([one, '--weights', 'untrained', '--validation', streets], 'street 500 is given both'),
        ([tmp_path / 'nowhere', '--weights', weights], 'expected a street'),
        (['--weights', weights], 'expected at least one street'),
        (['--calibrate', one, '--weights', weights], '--output'),
        ([one, '--weights', tmp_path / 'no.safetensors'], 'no.safetensors'),
        ([one, '--update-card'], '--update-card needs --weights FILE'),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit) as caught:
            command(monkeypatch, *arguments)
        assert message in str(caught.value)
    card = json.loads(weights.with_suffix('.json').read_text()) | {'training_seeds': [0, 500]}
    weights.with_suffix('.json').write_text(json.dumps(card))
    for arguments in ([one], ['--calibrate', one, '--output', tmp_path / 'x.json']):
        with pytest.raises(SystemExit, match='street 500: the weights were trained on'):
            command(monkeypatch, *arguments, '--weights', weights)


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_a_device_scores_as_the_cpu_does(
    device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, streets: Path, weights: Path
) -> None:
    """Truth and mask go to where the guesses are; what is counted comes back."""
    found = []
    for where, more in ((tmp_path / 'here', []), (tmp_path / 'there', ['--device', device])):
        arguments = [streets / 'street_000500', '--weights', weights, '--report', where]
        command(monkeypatch, *arguments, *more)
        found.append(json.loads((where / 'scores.json').read_text()))
    here, there = found
    assert there['settings']['device'] == device
    assert [f['origin'] for f in there['frames']] == [f['origin'] for f in here['frames']]
    # on another device a voxel at a threshold may fall on the other side
    assert there['overall'] == pytest.approx(here['overall'], abs=0.0 if device == 'cpu' else 0.5)
    for name in METHODS[1:]:
        one, two = (scores['scores']['baselines'][name]['iou'] for scores in (here, there))
        assert two == pytest.approx(one, abs=0.5)


def test_the_contest_scores_what_the_pipeline_publishes(frame: StreetFrame) -> None:
    pipeline = OccupancyPipeline.from_preset('tiny', weights='untrained')
    pipeline.rule = CalibratedRule(occupied_threshold=0.4)
    published = pipeline.run(list(frame.images), frame.rig, Vocabulary.from_yaml()).occupancy
    encoded = pipeline.encode(list(frame.images), frame.rig)
    guesses = Contest(pipeline, build('tiny').transformer).guesses(encoded)
    assert set(guesses) == {*METHODS, *HELDOUT}
    ours = guesses['gaussians']
    occupied = ours.density > 0.4
    assert torch.equal(occupied, published.labels >= 0)
    assert torch.equal(ours.labels[occupied], published.labels[occupied])


def test_true_depth_and_classes_score_high(frame: StreetFrame) -> None:
    height, width = 126, 224
    rig = frame.rig.resized(height, width)
    semantics = thinned(torch.from_numpy(frame.semantics), height, width).long()
    depth = thinned(torch.from_numpy(frame.depth), height, width)
    depth = torch.where(semantics == SKY, 200.0, depth)
    centroids = TextEncoder.default().centroids()
    features = centroids[thinned(semantics, 63, 112)].permute(0, 3, 1, 2)
    pipeline = OccupancyPipeline.from_preset('tiny', weights='untrained')
    contest = Contest(pipeline, build('tiny').transformer)
    guesses = contest.guesses(EncodedImages(FoundationMaps(features, depth), None, rig))
    assert frame.voxels is not None and frame.camera_mask is not None
    truth, mask = torch.from_numpy(frame.voxels), torch.from_numpy(frame.camera_mask)
    scores = {}
    for name in ('lift', 'lift_strong', 'untrained'):
        tally = Tally([0.3])
        tally.add(guesses[name], truth, mask)
        scores[name] = tally.scores(0.3)
    assert scores['lift'].iou > 45 and scores['lift'].miou > 30
    assert scores['lift_strong'].iou > 50
    # 144 Gaussians cover little, but what they cover is right
    assert scores['untrained'].iou > 5
