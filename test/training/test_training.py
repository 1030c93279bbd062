"""Training on two small streets: it learns, resumes exactly, and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from walks import Walk

from gausstr_core.camera.rig import CameraRig
from gausstr_core.transformer.build import build
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.weights import load_weights
from gausstr_training import synthesize, train
from gausstr_training.compact.augmentation import mirrored
from gausstr_training.compact.batch import Batch, thinned
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.stages import (
    CompactStage,
    FoundationStage,
    JointStage,
    TransformerStage,
)
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.engine.schedules import learning_rate
from gausstr_training.losses import paper
from gausstr_training.recipes import StageRecipe, read_recipe
from gausstr_training.streets.classes import CLASSES


@pytest.fixture(scope='module')
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('streets')
    synthesize.main(
        [
            *('--seed', '10000', '--streets', '2', '--frames', '1', '--no-voxels'),
            *('--size', '112x64', '--output', str(folder)),
        ]
    )
    return folder


@pytest.fixture(scope='module')
def walk() -> Walk:
    return Walk('A recorded frame to a loss')


@pytest.fixture(scope='module')
def finished(streets: Path, walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('run')
    with walk.noted():
        train.main(['--recipe', 'tiny', '--data', str(streets), '--output', str(output)])
    return output


def test_a_frame_walks_to_its_loss_as_docs_architecture_says(finished: Path, walk: Walk) -> None:
    walk.check()


def test_weights_and_card(finished: Path) -> None:
    model = build('tiny')
    before = model.transformer.query_embeddings.clone()
    load_weights(model, finished / 'tiny.safetensors', 'tiny')
    assert not torch.equal(model.transformer.query_embeddings, before)
    card = json.loads((finished / 'tiny.json').read_text())
    assert card['recipe'] == 'tiny'
    assert card['training_seeds'] == [10000, 10001]
    assert card['data'] == {
        'streets': 2, 'frames': 2, 'made_by': read_recipe('tiny').synthesize
    }  # fmt: skip
    assert list((finished / 'curves').glob('*/events.*'))
    assert not list(finished.rglob('*.partial'))


@pytest.mark.parametrize('stage', ['foundation', 'transformer', 'joint'])
def test_interrupted_run_ends_in_the_same_weights(
    stage: str, streets: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {'foundation': FoundationStage, 'transformer': TransformerStage, 'joint': JointStage}
    kind = kinds[stage]
    original = kind.pieces

    def interrupted(self: CompactStage, step: int) -> object:
        if step == 3:  # the checkpoint is of step 2
            raise KeyboardInterrupt
        return original(self, step)

    arguments = ['--recipe', 'tiny', '--data', str(streets), '--output', str(tmp_path)]
    monkeypatch.setattr(kind, 'pieces', interrupted)
    with pytest.raises(SystemExit, match='run it again'):
        train.main(arguments)
    assert not (tmp_path / 'tiny.safetensors').exists()
    monkeypatch.undo()
    train.main(arguments)
    expected = load_file(finished / 'tiny.safetensors')
    got = load_file(tmp_path / 'tiny.safetensors')
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name


def test_losses_fall(streets: Path) -> None:
    """A few steps on two streets must bring both stages down: gradients point the right way."""
    model = build('tiny')
    store = FrameStore([streets], *model.foundation.input_size)
    teacher = RendererTeacher(TextEncoder.default())
    for kind in (FoundationStage, TransformerStage, JointStage):
        stage = kind(model, store, teacher, read_recipe('tiny'))
        optimiser = torch.optim.AdamW(stage.module.parameters(), lr=3e-3)
        seen = []
        for step in range(24):
            loss, parts = stage.loss(stage.pieces(step)[0])
            assert all(value == value for value in parts.values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            seen.append(loss.item())
        assert sum(seen[-8:]) < 0.95 * sum(seen[:8]), kind.name


def test_no_voxel_truth_is_needed_or_kept(streets: Path) -> None:
    frame = FrameStore([streets], 48, 80)[0]
    assert set(vars(frame)) == {'images', 'depth', 'semantics', 'rig', 'likely'}
    assert frame.likely is None


def test_every_epoch_visits_every_frame_once(streets: Path) -> None:
    store = FrameStore([streets], 48, 80)
    for epoch in range(3):
        drawn = {store.frame(epoch * 2 + i, seed=4).images.data_ptr() for i in range(2)}
        assert len(drawn) == 2
    pictures = {store.view(position, seed=4).images.numpy().tobytes() for position in range(12)}
    assert len(pictures) == 12


def test_mirrored_rig_projects_mirrored_points(streets: Path) -> None:
    batch = FrameStore([streets], 48, 80)[0]
    flipped = mirrored(batch)
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 10
    pixels, depth = batch.rig.project(points)
    mirror_pixels, mirror_depth = flipped.rig.project(points * torch.tensor([1.0, -1.0, 1.0]))
    torch.testing.assert_close(mirror_depth, depth, rtol=1e-4, atol=1e-4)
    front = depth > 0.5
    torch.testing.assert_close(
        mirror_pixels[..., 1][front], pixels[..., 1][front], rtol=1e-3, atol=0.05
    )
    torch.testing.assert_close(
        mirror_pixels[..., 0][front], 80 - pixels[..., 0][front], rtol=1e-3, atol=0.05
    )
    assert torch.equal(mirrored(flipped).images, batch.images)


def test_teacher_paints_a_synonym_of_the_right_class() -> None:
    teacher = RendererTeacher(TextEncoder.default())
    words = teacher.draw(2, torch.Generator().manual_seed(0))
    semantics = torch.tensor([[[6, 16]], [[13, 6]]])
    painted = teacher.paint(semantics, words)
    assert painted.shape == (2, 384, 1, 2)
    scores = torch.einsum('nchw,kc->nkhw', teacher.centred(painted), teacher.centroids)
    assert scores.argmax(1).flatten().tolist() == [6, 16, 13, 6]
    assert CLASSES[6] == 'car'
    again = teacher.draw(2, torch.Generator().manual_seed(1))
    assert not torch.equal(words, again)


def test_thinning_takes_pixels_and_never_mixes() -> None:
    maps = torch.arange(24).reshape(1, 4, 6)
    assert thinned(maps, 2, 3).tolist() == [[[7, 9, 11], [19, 21, 23]]]


def test_schedule_warms_up_then_falls_to_zero() -> None:
    schedule = StageRecipe(steps=100, views=6, learning_rate=1.0, warmup=10)
    assert learning_rate(schedule, 0, 100) == pytest.approx(0.1)
    assert learning_rate(schedule, 10, 100) == pytest.approx(1.0)
    assert learning_rate(schedule, 55, 100) == pytest.approx(0.5)
    assert learning_rate(schedule, 100, 100) == pytest.approx(0.0, abs=1e-9)


def test_foreign_checkpoint_is_refused(streets: Path, tmp_path: Path) -> None:
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / '0-foundation-00000002.pt').write_bytes(b'not a checkpoint')
    with pytest.raises(SystemExit, match=r'foundation-00000002.pt cannot be read'):
        train.main(['--recipe', 'tiny', '--data', str(streets), '--output', str(tmp_path)])


def test_folder_without_streets_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=str(tmp_path)):
        train.main(['--recipe', 'tiny', '--data', str(tmp_path), '--output', str(tmp_path / 'r')])


def test_sky_should_lie_far_and_weighs_little() -> None:
    predicted = torch.tensor([[[10.0, 10.0]]])
    error, weight = paper.log_depth_loss(predicted, torch.tensor([[[20.0, 20.0]]]), 80.0, 51.2)
    assert (error / weight).item() == pytest.approx(torch.tensor(2.0).log().item())
    error, weight = paper.log_depth_loss(predicted, torch.tensor([[[20.0, 0.0]]]), 80.0, 51.2)
    logs = torch.tensor([2.0, 8.0]).log()
    expected = (logs[0] + paper.FAR_WEIGHT * logs[1]) / (1 + paper.FAR_WEIGHT)
    assert (error / weight).item() == pytest.approx(expected.item())


def test_workers_read_and_draw_the_same(streets: Path) -> None:
    here, there = (FrameStore([streets], 48, 80, workers) for workers in (0, 2))
    assert torch.equal(here[1].images, there[1].images)
    assert torch.equal(here[1].depth, there[1].depth)
    teacher, recipe = RendererTeacher(TextEncoder.default()), read_recipe('tiny')
    model = build('tiny')
    stages = [
        FoundationStage(model, store, teacher, recipe, workers)
        for store, workers in ((here, 0), (there, 2))
    ]
    for step in (0, 1, 5):  # in order, and after a jump
        (one,), (two,) = (stage.pieces(step) for stage in stages)
        assert torch.equal(one.batch.images, two.batch.images), step
        assert torch.equal(one.words, two.words), step


def test_batch_holds_whole_rigs(streets: Path) -> None:
    batch = FrameStore([streets], 48, 80).frame(0, 0)
    assert isinstance(batch, Batch) and isinstance(batch.rig, CameraRig)
    assert batch.images.shape == (6, 48, 80, 3)
    assert batch.rig.image_sizes == ((48, 80),) * 6
