"""The published presets from raw images to a map, on small files in the official formats."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import foundation_files as files
import numpy as np
import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.presets import assemble
from gausstr_core.transformer.checkpoints.checkpoint import (
    TrainedOn,
    load_any,
    load_official,
    save,
)
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.released import released_voxels
from gausstr_core.voxels.released_labels import released_labels
from gausstr_core.voxels.rules import CalibratedRule, ReleasedRule
from gausstr_core.voxels.visibility import viewed_and_observed, with_neighbours

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('open_clip')

SIZE = (90, 160)
GRID = VoxelGrid((-16, -16, -1), (16, 16, 5.4), 0.4)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_tiny(tmp_path_factory.mktemp('published'))


def rig() -> CameraRig:
    forward = torch.tensor([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    backward = torch.tensor([[0.0, 0, -1, -1], [1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]]).repeat(2, 1, 1)
    return CameraRig(('front', 'back'), intrinsics, torch.stack([forward, backward]), (SIZE,) * 2)


def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(2)]


def pipeline(folder: Path, preset: str = 'talk2dino', **options) -> OccupancyPipeline:
    made = OccupancyPipeline.from_preset(preset, grid=GRID, folder=folder, **options)
    # the networks take any size; theirs would take minutes
    stride = 14 if preset == 'talk2dino' else 16
    made.model.foundation.input_size = (4 * stride, 6 * stride)
    return made


@pytest.mark.parametrize('preset', ['talk2dino', 'featup'])
def test_from_images_to_labels(folder: Path, preset: str) -> None:
    """The map is what the released steps, one by one, make of the model's Gaussians."""
    made = pipeline(folder, preset)
    words = made.load_vocabulary()
    result = made.run(images(), rig(), words)
    occupancy = result.occupancy
    occupied = occupancy.labels >= 0
    assert occupied.any() and (occupancy.labels < len(words)).all()
    assert ((occupancy.confidence > 0) == occupied).all() and occupancy.confidence.max() <= 1
    assert result.probabilities.shape == (len(result.gaussians), len(words))
    torch.testing.assert_close(result.probabilities.sum(-1), torch.ones(len(result.gaussians)))

    name = 'gausstr_talk2dino_e20_miou12.27' if preset == 'talk2dino' else None
    path = folder / 'gausstr' / f'{name or "gausstr_featup_e24_miou11.70"}.pth'
    checkpoint = load_official(path)
    maps, small = made.foundation_maps(images(), rig())
    viewed, _ = viewed_and_observed(maps.depth, small, GRID)
    with torch.no_grad():
        gaussians = checkpoint.model()(maps, small)
        shares = (gaussians.features @ checkpoint.prototypes.T).softmax(-1)
    rule = made.rule
    assert isinstance(rule, ReleasedRule)
    density, features, _ = released_voxels(
        gaussians.means, gaussians.opacities, shares, gaussians.covariances, GRID,
        opacity_threshold=rule.opacity_threshold, covariance_threshold=rule.covariance_threshold,
        backend='reference',
    )  # fmt: skip
    labels, _ = released_labels(
        density, features, words.prompt_owners,
        labels=[*range(15), 17], backend='reference',
    )  # fmt: skip
    labels[~with_neighbours(viewed)] = 17
    assert ((labels != 17) == occupied).float().mean() > 0.999
    both = (labels != 17) & occupied
    assert (labels[both] == occupancy.labels[both]).float().mean() > 0.999


def test_two_runs_give_the_same_bits(folder: Path) -> None:
    made = pipeline(folder)
    first, again = (made.run(images(), rig(), made.load_vocabulary()).occupancy for _ in range(2))
    assert torch.equal(first.labels, again.labels) and torch.equal(first.density, again.density)


def test_a_converted_checkpoint_gives_the_same_map(folder: Path, tmp_path: Path) -> None:
    official = folder / 'gausstr' / 'gausstr_talk2dino_e20_miou12.27.pth'
    save(load_official(official), tmp_path / 'ours.safetensors')
    plain, converted = pipeline(folder), pipeline(folder, weights=tmp_path / 'ours.safetensors')
    first = plain.run(images(), rig(), plain.load_vocabulary()).occupancy
    second = converted.run(images(), rig(), converted.load_vocabulary()).occupancy
    assert torch.equal(first.labels, second.labels)


def trained_on(folder: Path, target: Path, **values) -> Path:
    """The official featup checkpoint as gausstr-train would write it."""
    official = load_official(folder / 'gausstr' / 'gausstr_featup_e24_miou11.70.pth')
    about = {'features': 'maskclip', 'input_size': (64, 96), 'depth': 'metric3d'} | values
    save(replace(official, trained_on=TrainedOn(**about)), target)
    return target


def test_weights_bring_the_networks_they_were_trained_on(folder: Path, tmp_path: Path) -> None:
    """Weights of maskclip were read as those of featup, and at another size of image."""
    path = trained_on(folder, tmp_path / 'mine.safetensors')
    assert load_any(path).trained_on == TrainedOn('maskclip', (64, 96), 'metric3d')
    foundation = assemble('featup', path, folder).model.foundation
    assert foundation.input_size == (64, 96)
    plain = assemble('featup', folder=folder).model.foundation
    assert plain.input_size != (64, 96)
    assert foundation.features.name != plain.features.name
    with pytest.raises(ValueError, match=r"mine.* was trained on maskclip, .* 'talk2dino'"):
        assemble('talk2dino', path, folder)


def test_weights_say_which_depth_they_were_trained_on(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = trained_on(folder, tmp_path / 'mine.safetensors', depth='depth-pro')
    with pytest.raises(ValueError, match='depth-pro'):  # the folder has no such files
        assemble('featup', path, folder)
    assemble('featup', path, folder, depth='metric3d')
    assert 'trained on depth of depth-pro, not metric3d' in caplog.text
    caplog.clear()
    assemble('featup', path, folder, depth='none')
    assert not caplog.text


@pytest.mark.parametrize(
    'values', [{'input_size': (64,)}, {'input_size': (0, 96)}, {'depth': 3}, {'features': None}]
)
def test_what_weights_say_is_checked(folder: Path, tmp_path: Path, values: dict) -> None:
    with pytest.raises(ValueError, match='must be'):
        trained_on(folder, tmp_path / 'mine.safetensors', **values)


def test_any_words_with_either_rule(folder: Path) -> None:
    """Words that the checkpoint does not bring go through CLIP; nothing is labelled sky."""
    for rule in ('released', 'calibrated'):
        made = pipeline(folder, rule=rule)
        assert isinstance(made.rule, ReleasedRule if rule == 'released' else CalibratedRule)
        categories = [
            Category('fire hydrant'),
            Category('lawn', ('grass', 'meadow'), None, 'ground'),
        ]
        words = made.build_vocabulary(categories)
        assert words.remarks == () and words.columns == 3
        labels = made.run(images(), rig(), words).occupancy.labels
        assert set(labels.unique().tolist()) <= {-1, 0, 1}


def test_the_released_words_need_no_text_tower(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / 'files', ignore=shutil.ignore_patterns('vitb_mlp*'))
    made = pipeline(tmp_path / 'files')
    made.run(images(), rig(), made.load_vocabulary())
    with pytest.raises(ValueError, match=r'vitb_mlp_infonce\.pth is not in'):
        made.build_vocabulary([Category('fire hydrant')])


def test_prototypes_of_the_checkpoint_are_its_words(folder: Path) -> None:
    assembly = assemble('talk2dino', folder=folder)
    stored = load_official(folder / 'gausstr' / 'gausstr_talk2dino_e20_miou12.27.pth').prototypes
    assert torch.equal(assembly.encoder.encode(['barrier', 'Sky']), stored[[0, 20]])


def test_measured_depth_needs_no_depth_network(folder: Path) -> None:
    made = pipeline(folder, depth='none')
    with pytest.raises(ValueError, match='expected measured depth'):
        made.run(images(), rig(), made.load_vocabulary())
    plane = np.full(SIZE, 8.0, np.float32)
    plane[:, :80] = np.nan
    result = made.run(images(), rig(), made.load_vocabulary(), depth=[plane, plane])
    # the right half of the front view lies on the right, y < 0, that of the back on the left
    x, y, _ = result.gaussians.means.unbind(-1)
    assert len(x) > 5 and (y * x.sign() < 0.2).all()
    nothing = np.full(SIZE, np.nan, np.float32)
    result = made.run(images(), rig(), made.load_vocabulary(), depth=[nothing, nothing])
    assert len(result.gaussians) == 0 and not result.occupancy.observed.any()


def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'place it at .*gausstr_talk2dino_e20'):
        assemble('talk2dino', folder=tmp_path)
    wrong = folder / 'gausstr' / 'gausstr_featup_e24_miou11.70.pth'
    with pytest.raises(ValueError, match=r'featup_e24.* 32 channels, those of DINOv2.* have 24'):
        assemble('talk2dino', wrong, folder)
    with pytest.raises(ValueError, match='preset must be one of compact, tiny, talk2dino, featup'):
        assemble('gaussformer')
    with pytest.raises(ValueError, match='the rule must be one of calibrated, released'):
        assemble('compact', rule='mean')
    with pytest.raises(ValueError, match="'compact' sees depth itself"):
        assemble('compact', depth='metric3d')
    made = pipeline(folder)
    with pytest.raises(ValueError, match='have 384 channels, the features of the model 24'):
        made.run(images(), rig(), Vocabulary.from_yaml())


def test_running_without_a_checkpoint_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assembly = assemble('featup', 'untrained', folder)
    assert 'the map will mean nothing' in caplog.text
    assert assembly.model.transformer.config.feature_dim == 32
