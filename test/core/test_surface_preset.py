"""Preset surface: networks of one's own, from images to a map, on small files."""

from __future__ import annotations

from pathlib import Path

import foundation_files as files
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.foundation.depth.lidar_depth import depth_from_cloud
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.presets import assemble
from gausstr_core.surface_preset import MODEL_THRESHOLD, NetworkOptions
from gausstr_core.transformer.surface_gaussians import SurfaceGaussians
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.rules import CalibratedRule

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('open_clip')

SIZE = (90, 160)
GRID = VoxelGrid((-16, -16, -1), (16, 16, 5.4), 0.4)
INPUT = {'maskclip': (64, 96), 'talk2dino': (56, 84)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_tiny_surface(tmp_path_factory.mktemp('published'))


def rig() -> CameraRig:
    forward = torch.tensor([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[[120.0, 0, 80], [0, 120, 45], [0, 0, 1]]])
    return CameraRig(('front',), intrinsics, forward[None], (SIZE,))


def images() -> list[np.ndarray]:
    return [np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)]


def pipeline(folder: Path, features: str = 'maskclip', depth: str = 'none', **options):
    networks = NetworkOptions(features, INPUT[features], options.pop('depth_size', None))
    return OccupancyPipeline.from_preset(
        'surface', grid=GRID, folder=folder, depth=depth, networks=networks, **options
    )


@pytest.mark.parametrize('features', ['maskclip', 'talk2dino'])
@pytest.mark.parametrize('depth', ['metric3d-small', 'depth-anything'])
def test_from_images_to_labels_without_a_checkpoint(folder: Path, features: str, depth: str):
    made = pipeline(folder, features, depth, depth_size=(56, 84))
    made.grid = VoxelGrid()  # what random weights see lies 28 m away
    words = made.load_vocabulary()
    result = made.run(images(), rig(), words)
    assert isinstance(made.model.transformer, SurfaceGaussians)
    assert not list(made.model.transformer.parameters())
    occupied = result.occupancy.labels >= 0
    assert occupied.any() and (result.occupancy.labels < len(words)).all()
    assert result.rig.image_sizes == (INPUT[features],)
    assert result.maps.features.shape[2:] == tuple(
        side // {'maskclip': 16, 'talk2dino': 14}[features] for side in INPUT[features]
    )


def test_a_cloud_becomes_surfaces_where_it_is(folder: Path):
    """A wall 8 m ahead, as a lidar sees it: what is occupied lies there."""
    y, z = np.mgrid[-6:6:0.1, 0:4:0.1].reshape(2, -1)
    cloud = torch.tensor(np.stack([np.full_like(y, 8.0), y, z], 1), dtype=torch.float32)
    made = pipeline(folder)
    depth = depth_from_cloud(cloud, rig())
    result = made.run(images(), rig(), made.load_vocabulary(), list(depth))
    ahead = result.gaussians.means[:, 0]
    assert len(ahead) > 100 and (ahead - 8).abs().max() < 0.2
    columns = (result.occupancy.labels >= 0).nonzero()[:, 0] * 0.4 - 16
    assert columns.min() > 6.8 and columns.max() < 8.8


@pytest.mark.parametrize(('features', 'temperature'), [('maskclip', 0.01), ('talk2dino', 0.07)])
def test_words_are_compared_as_their_authors_do(folder: Path, features: str, temperature: float):
    """A softmax over plain cosines, by hand; the closest prompt of a category counts."""
    made = pipeline(folder, features)
    categories = [Category('car', ('car', 'sedan')), Category('road'), Category('sky', role='sky')]
    words = made.build_vocabulary(categories)
    seen = torch.randn(5, words.dimension, generator=torch.Generator().manual_seed(1))
    unit = F.normalize(seen, dim=-1)

    def vectors(*prompts: str) -> torch.Tensor:
        rows = made.encoder.encode(prompts)
        return torch.cat([rows, F.normalize(rows.mean(0, keepdim=True), dim=-1)])

    cosines = torch.stack(
        [(unit @ vectors(*c.prompts).T).amax(-1) for c in categories], -1
    )  # fmt: skip
    torch.testing.assert_close(words.scores(seen), cosines, atol=1e-5, rtol=1e-4)
    expected = (cosines / temperature).softmax(-1)
    torch.testing.assert_close(words.probabilities(seen), expected, atol=1e-4, rtol=1e-3)


def test_the_temperature_of_words_may_be_set(folder: Path):
    made = pipeline(folder, word_temperature=0.5)
    words = made.build_vocabulary([Category('car'), Category('road')])
    seen = torch.randn(4, words.dimension, generator=torch.Generator().manual_seed(2))
    expected = (words.scores(seen) / 0.5).softmax(-1)
    torch.testing.assert_close(words.probabilities(seen), expected)
    assert made.load_vocabulary().temperature == 0.5


def test_words_of_another_space_are_refused(folder: Path):
    made = pipeline(folder)
    with pytest.raises(ValueError, match='have 384 channels, the features of the model 32'):
        made.run(images(), rig(), Vocabulary.from_yaml(), [np.full(SIZE, 8.0)])
    other = pipeline(folder)
    other.encoder.id = 'clip-vit-l-14'  # as many channels, another space
    words = other.build_vocabulary([Category('car')])
    with pytest.raises(ValueError, match=r'in the space of clip-vit-l-14.*in that of clip-vit-b'):
        made.run(images(), rig(), words, [np.full(SIZE, 8.0)])


def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path):
    for options, message in (
        (NetworkOptions('sonar'), 'features must be one of maskclip, talk2dino'),
        (NetworkOptions(engine='tensorrt'), 'engine must be one of torch, onnxruntime'),
        (NetworkOptions(input_size=(225, 400)), r'multiples of 16 .*maskclip.*near it is \[224'),
        (NetworkOptions('talk2dino', (224, 400)), r'multiples of 14 .*talk2dino.*\[224, 406\]'),
    ):
        with pytest.raises(ValueError, match=message):
            assemble('surface', folder=folder, depth='none', networks=options)
    with pytest.raises(ValueError, match='depth_size must be two multiples of 14'):
        assemble(
            'surface', folder=folder, depth='depth-anything',
            networks=NetworkOptions(depth_size=(50, 70)),
        )  # fmt: skip
    with pytest.raises(ValueError, match='has no checkpoint, got weights mine'):
        assemble('surface', 'mine.safetensors', folder)
    with pytest.raises(ValueError, match=r"choice of preset 'surface'.*'compact' are its own"):
        assemble('compact', networks=NetworkOptions('maskclip'))
    with pytest.raises(ValueError, match=r'input_size=\(180, 320\)'):
        assemble('compact', networks=NetworkOptions(input_size=(180, 320)))
    with pytest.raises(ValueError, match=r'metric3d_vit_small\.onnx .*151 MB.*place it at'):
        files.write_clip(tmp_path)
        assemble('surface', folder=tmp_path)


def test_thresholds_go_by_where_depth_comes_from(folder: Path):
    """Measured surfaces are those of compact, whose card has what was fitted on them."""
    made, compact = pipeline(folder), assemble('compact')
    assert made.rule_for('model').threshold_at(0.4) == MODEL_THRESHOLD
    for source in ('topic', 'lidar'):
        expected = compact.measured_rules[source]
        assert made.rule_for(source).threshold_at(0.4) == expected.threshold_at(0.4)
        assert made.rule_for(source).blur == expected.blur
    released = pipeline(folder, rule='released')
    assert not isinstance(released.rule_for('lidar'), CalibratedRule)


@pytest.mark.weights
@pytest.mark.parametrize(('features', 'depth'), [('maskclip', None), ('talk2dino', 'none')])
def test_published_networks_map_an_image(features: str, depth: str | None):
    made = OccupancyPipeline.from_preset(
        'surface', grid=GRID, depth=depth, networks=NetworkOptions(features)
    )
    measured = [np.full(SIZE, 8.0, np.float32)] if depth else None
    result = made.run(images(), rig(), made.load_vocabulary(), measured)
    assert torch.isfinite(result.maps.features).all() and (result.maps.depth > 0).all()
    assert (result.occupancy.labels >= 0).any()


@pytest.mark.weights
@pytest.mark.parametrize('preset', ['talk2dino', 'featup'])
def test_published_presets_map_an_image(preset: str):
    made = OccupancyPipeline.from_preset(preset, grid=GRID)
    result = made.run(images(), rig(), made.load_vocabulary())
    assert torch.isfinite(result.occupancy.density).all()
