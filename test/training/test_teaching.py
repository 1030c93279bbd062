"""Teaching the compact presets on bags with stored targets, streets mixed in."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bag_files import messages_of, write_bag, write_bag_of_drive
from foundation_files import write_clip, write_talk2dino
from safetensors.torch import load_file

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.transformer.build import build
from gausstr_core.vocabulary.clip_text import talk2dino_encoder
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import SHIPPED_VOCABULARY, read_categories
from gausstr_core.weights import save_weights
from gausstr_training import make_targets, synthesize, train
from gausstr_training.benchmarks.depth_errors import depth_error
from gausstr_training.compact.augmentation import mirrored, zoomed
from gausstr_training.compact.batch import Batch, join, thinned
from gausstr_training.compact.distillation import Distillation
from gausstr_training.compact.draws import Sample
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.mixture import Mixture
from gausstr_training.compact.recorded import (
    RecordedFrames,
    Recordings,
    teacher_folder,
    vocabulary_of,
)
from gausstr_training.compact.stages import CompactStage, FoundationStage, JointStage
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.losses.carving import EMPTY, carve
from gausstr_training.losses.paper import log_depth_loss
from gausstr_training.recipes import CompactRecipe, read_recipe
from gausstr_training.streets.classes import CLASSES

SIZE = ('--size', '112x64')
RUN = ('--recipe', 'tiny-own')


@pytest.fixture(scope='module', autouse=True)
def _index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GAUSSTR_CACHE', str(tmp_path_factory.mktemp('index')))
        yield


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Own bags, their targets, streets, and weights to start from."""
    root = tmp_path_factory.mktemp('teaching')
    draw = ('--streets', '2', '--no-voxels', *SIZE)
    own = ('--style', 'thermal', '--output', str(root / 'own'))
    synthesize.main(['--seed', '50', *draw, *own])
    synthesize.main(['--seed', '10000', *draw, '--output', str(root / 'streets')])
    data = ('--data', str(root / 'own'), '--cache', str(root / 'targets'))
    make_targets.main(['--teacher', 'renderer', *data])
    save_weights(build('tiny'), root / 'tiny.safetensors', 'tiny')
    card = {'training_seeds': [9000, 9100], 'thresholds': {'gaussians': 0.8}}
    (root / 'tiny.json').write_text(json.dumps(card))
    return root


def arguments(place: Path, output: Path, **changed: str | None) -> list[str]:
    """Of a run; `changed` replaces options, None leaves one out."""
    options: dict[str, str | None] = {
        'data': str(place / 'own'),
        'targets': str(place / 'targets'),
        'start': str(place / 'tiny.safetensors'),
        'streets': str(place / 'streets'),
        'output': str(output),
    }
    options |= changed
    given = [(f'--{name}', value) for name, value in options.items() if value is not None]
    return [*RUN, *(text for pair in given for text in pair)]


@pytest.fixture(scope='module')
def finished(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('run')
    train.main(arguments(place, output))
    return output


def test_it_ends_in_weights_that_the_pipeline_takes(place: Path, finished: Path) -> None:
    weights = finished / 'tiny.safetensors'
    before, after = (load_file(folder / 'tiny.safetensors') for folder in (place, finished))
    assert not all(torch.equal(before[name], value) for name, value in after.items())
    assert OccupancyPipeline.from_preset('tiny', weights=weights).rule is not None
    card = json.loads((finished / 'tiny.json').read_text())
    assert card['data']['bags'] == card['data']['frames'] == 2
    assert card['data']['streets'] == 2 and card['data']['teacher'].startswith('renderer-')
    # of the weights it began with: what they were trained on, and thresholds until calibrated
    assert card['training_seeds'] == [9000, 10001]
    assert card['thresholds'] == {'gaussians': 0.8}


def test_batch_norms_keep_the_statistics_they_came_with(place: Path, finished: Path) -> None:
    before, after = (load_file(folder / 'tiny.safetensors') for folder in (place, finished))
    means = [name for name in before if name.endswith('running_mean')]
    assert means and all(torch.equal(before[name], after[name]) for name in means)


@pytest.mark.parametrize('kind', [FoundationStage, JointStage])
def test_an_interrupted_run_ends_in_the_same_weights(
    kind: type[CompactStage], place: Path, finished: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    original = kind.pieces

    def interrupted(self: CompactStage, step: int) -> object:
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(kind, 'pieces', interrupted)
    with pytest.raises(SystemExit, match='run it again'):
        train.main(arguments(place, tmp_path))
    assert not (tmp_path / 'tiny.safetensors').exists()
    monkeypatch.undo()
    train.main(arguments(place, tmp_path))
    expected, got = (load_file(folder / 'tiny.safetensors') for folder in (finished, tmp_path))
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_a_run_does_not_go_on_from_other_weights(place: Path, finished: Path) -> None:
    other = finished / 'other.safetensors'
    shutil.copy(finished / 'tiny.safetensors', other)
    shutil.copy(place / 'tiny.json', finished / 'other.json')
    with pytest.raises(SystemExit, match='start'):
        train.main(arguments(place, finished, start=str(other)))


def test_it_teaches_without_streets_and_says_what_may_be_lost(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.main(arguments(place, tmp_path, streets=None))
    assert 'forgotten' in capsys.readouterr().err
    assert json.loads((tmp_path / 'tiny.json').read_text())['data']['streets'] == 0


@pytest.mark.parametrize(
    ('changed', 'fault'),
    [
        ({'start': None}, r'goes on from weights: --start tiny'),
        ({'targets': None}, r'--targets must be given'),
        ({'targets': 'own'}, r'holds no targets: make them with gausstr-make-targets'),
        ({'data': 'streets'}, r'2 of 2 frames have no targets in .*street_010000'),
    ],
)
def test_what_is_missing_is_named(
    changed: dict[str, str | None], fault: str, place: Path, tmp_path: Path
) -> None:
    placed = {
        name: value if value is None else str(place / value) for name, value in changed.items()
    }
    with pytest.raises(SystemExit, match=fault):
        train.main(arguments(place, tmp_path / 'run', **placed))
    assert not (tmp_path / 'run').exists()


def test_targets_of_another_rig_are_named(place: Path, tmp_path: Path) -> None:
    """The bags of the same names, recorded with another lens."""
    draw = ('--seed', '50', '--streets', '2', '--no-voxels', *SIZE)
    synthesize.main([*draw, '--output', str(tmp_path / 'own')])
    with pytest.raises(SystemExit, match=r'street_000050.*targets of another rig or recording'):
        train.main(arguments(place, tmp_path / 'run', data=str(tmp_path / 'own')))
    assert not (tmp_path / 'run').exists()


def test_damaged_targets_are_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / 'targets', tmp_path / 'targets')
    path = next((tmp_path / 'targets').rglob('*.targets'))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SystemExit, match=rf'{path.name} is damaged.*again'):
        train.main(arguments(place, tmp_path / 'run', targets=str(tmp_path / 'targets')))


def test_targets_of_several_teachers_want_a_choice(place: Path, tmp_path: Path) -> None:
    for name in ('one-1', 'two-2'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'teacher.json').write_text(json.dumps({'teacher': name}))
    with pytest.raises(ValueError, match=r'holds targets of one-1, two-2: give the folder of one'):
        teacher_folder(tmp_path)
    assert teacher_folder(tmp_path / 'one-1') == tmp_path / 'one-1'


def test_bags_of_other_cameras_are_named(tmp_path: Path) -> None:
    write_bag_of_drive(tmp_path / 'six', 1)
    five = [m for m in messages_of(tmp_path / 'six') if not m.topic.startswith('/CAM_BACK/')]
    write_bag(tmp_path / 'some', five)
    recordings = Recordings((tmp_path / 'six', tmp_path / 'some'), tmp_path)
    with pytest.raises(ValueError, match=r'some has the cameras .*teach one rig at a time'):
        RecordedFrames(recordings, 48, 80)


def test_words_of_another_space_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'mine-1 have 512 channels.*another space'):
        vocabulary_of({'teacher': 'mine-1', 'words': 'minilm', 'feature_dim': 512}, None)


def test_features_of_another_space_are_classes_by_their_own_words(tmp_path: Path) -> None:
    """Talk2DINO's files at tiny width: each class's own word names its class."""
    write_clip(tmp_path)
    write_talk2dino(tmp_path)
    prompts = [category.prompts[0] for category in read_categories(SHIPPED_VOCABULARY)]
    features = talk2dino_encoder(tmp_path).encode(prompts)
    card = {'teacher': 'talk2dino-1', 'words': 'talk2dino', 'feature_dim': features.shape[1]}
    likely = vocabulary_of(card, tmp_path).probabilities(features)
    assert likely.argmax(-1).tolist() == list(range(len(CLASSES)))


def test_a_mixture_draws_each_kind_by_its_share(place: Path) -> None:
    own, streets = (FrameStore([place / name], 48, 80) for name in ('own', 'streets'))
    mixture = Mixture(own, streets, 0.25)
    images = {
        frame.images.sum().item(): name
        for name, store in (('own', own), ('streets', streets))
        for frame in (store[index] for index in range(len(store)))
    }
    found = [images[mixture.frame(at, 0).images.sum().item()] for at in range(16)]
    assert Counter(found) == {'own': 4, 'streets': 12}
    for start in range(0, 16, 4):  # in every stretch
        assert found[start : start + 4].count('own') == 1
    own_at = [at for at in range(16) if found[at] == 'own']
    first, second = (mixture.frame(at, 0).images for at in own_at[:2])
    assert not torch.equal(first, second)  # each own frame once in an epoch of its own


@pytest.fixture
def sample(place: Path) -> Sample:
    frame = FrameStore([place / 'streets'], 48, 80)[0]
    teacher = RendererTeacher(TextEncoder.default())
    return Sample(frame, teacher.draw(len(frame.rig), torch.Generator().manual_seed(0)))


def test_a_teacher_that_is_sure_teaches_as_the_renderer_does(sample: Sample) -> None:
    """Shares of one class each are the plain twin's class maps: losses and gradients."""
    model, recipe = build('tiny'), read_recipe('tiny-own')
    assert isinstance(recipe, CompactRecipe)
    batch = sample.batch
    shares = batch.shares(12, 20, len(CLASSES))
    soft = replace(batch, likely=(255 * shares).to(torch.uint8))
    teacher, weights = RendererTeacher(TextEncoder.default()), torch.linspace(1, 2, len(CLASSES))
    judge = Distillation(teacher, weights, recipe, model.foundation.max_depth)
    found = []
    for one in (batch, soft):
        model.zero_grad()
        maps = model.foundation.train()(one.images, one.rig)
        loss, _ = judge(maps, replace(sample, batch=one), everywhere=False)
        loss.backward()
        found.append((loss.detach(), model.foundation.feature_head.weight.grad.clone()))
    torch.testing.assert_close(*(loss for loss, _ in found))
    torch.testing.assert_close(*(gradient for _, gradient in found), rtol=1e-3, atol=1e-6)


def test_a_teacher_that_is_not_sure_asks_for_a_mix_of_words(sample: Sample) -> None:
    likely = torch.zeros(6, len(CLASSES), 12, 20, dtype=torch.uint8)
    likely[:, 3], likely[:, 5] = 204, 51
    batch = replace(sample.batch, likely=likely)
    teacher = RendererTeacher(TextEncoder.default())
    found = teacher.painted(batch, sample.words, 12, 20)
    wanted = 0.8 * sample.words[:, 3] + 0.2 * sample.words[:, 5]
    torch.testing.assert_close(found, wanted[:, :, None, None].expand_as(found))


def test_shares_go_through_mirror_window_and_joining_as_classes_do(sample: Sample) -> None:
    sure = sample.batch
    shares = sure.shares(12, 20, len(CLASSES))
    batch = replace(sure, likely=(255 * shares).to(torch.uint8))
    for change in (mirrored, lambda b: zoomed(b, 1.4, torch.Generator().manual_seed(3))):
        changed = change(batch)
        assert changed.likely is not None
        same = changed.likely.argmax(1) == thinned(changed.semantics, 12, 20)
        assert same.float().mean() > 0.9
    both = join([sure, batch])
    assert both.likely is not None
    assert torch.equal(both.likely[:6], both.likely[6:])
    assert join([sure, sure]).likely is None


def test_depth_errors_count_what_lies_in_the_map() -> None:
    truth = torch.full((1, 4, 4), 10.0)
    truth[0, :2], truth[0, 3, 3] = 0.0, 60.0  # sky, and beyond the map
    depth = torch.full((1, 2, 2), 11.0)  # a pixel stands for the one at its centre
    total, count = depth_error(depth, truth)
    assert count == 1 and total == pytest.approx(math.log(1.1), rel=1e-5)


def test_depth_that_is_unknown_teaches_nothing() -> None:
    truth = torch.tensor([[[10.0, torch.nan, 0.0]]])
    predicted = torch.full((1, 1, 3), 20.0, requires_grad=True)
    loss, weight = log_depth_loss(predicted, truth, far=80.0, limit=51.2)
    loss.backward()
    assert loss.isfinite() and predicted.grad is not None
    assert predicted.grad[0, 0, 1] == 0 and (predicted.grad[0, 0, [0, 2]] != 0).all()
    assert weight == pytest.approx(1.3)  # the sky counts 0.3


def test_rays_of_unknown_depth_neither_fill_nor_empty() -> None:
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    rig = CameraRig(
        ('front',),
        torch.tensor([[[20.0, 0, 20], [0, 20, 12], [0, 0, 1]]]),
        pose[None],
        ((24, 40),),
    )
    semantics = torch.zeros(1, 24, 40, dtype=torch.uint8)
    nothing = torch.full((1, 24, 40), torch.nan)
    carving = carve(nothing, semantics, torch.ones(16), rig, VoxelGrid())
    assert (carving.named == EMPTY).all()
    assert carving.emptied.sum() < 20  # what lies at the lens


def test_views_of_unknown_depth_survive_the_augmentation(place: Path) -> None:
    frame = FrameStore([place / 'streets'], 48, 80)[0]
    depth = frame.depth.clone()
    depth[:, :10] = torch.nan
    batch = Batch(frame.images, depth, frame.semantics, frame.rig)
    found = zoomed(batch, 1.4, torch.Generator().manual_seed(1))
    assert found.depth.isnan().any() and not found.depth.isnan().all()
    assert not torch.isnan(found.depth[:, 40:]).any()
