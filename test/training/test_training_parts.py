"""Recipes, schedules, moments, temporal masks, immediate gradients, segments: by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import small_training
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_training.engine.schedules import learning_rate
from gausstr_training.full.immediate import immediately
from gausstr_training.full.job import FullJob, Sources
from gausstr_training.losses.paper import (
    directions_of_moments,
    feature_moments,
    principal_directions,
)
from gausstr_training.losses.released import Counts, Targets, head_losses
from gausstr_training.losses.temporal import seen_from
from gausstr_training.recipes import CompactRecipe, StageRecipe, read_recipe, shipped


def test_every_shipped_recipe_reads_and_says_what_it_is() -> None:
    recipes = [read_recipe(name) for name in shipped()]
    assert {'compact', 'talk2dino', 'featup', 'maskclip', 'depth-only'} <= set(shipped())
    assert all(recipe.about for recipe in recipes)
    assert isinstance(read_recipe('compact'), CompactRecipe)


def test_ablations_differ_in_what_they_name() -> None:
    base, many = read_recipe('talk2dino'), read_recipe('talk2dino-queries-400')
    assert (base.model.queries, many.model.queries) == (300, 400)
    assert many.stage == base.stage and many.features == base.features
    assert read_recipe('depth-only').feature_weight == 0
    assert read_recipe('talk2dino-temporal').temporal_weight > 0


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('base: talk2dino\nquerys: 3', 'unknown querys; known are'),
        ('base: talk2dino\nmodel: {queries: many}', "model: queries must be int, got 'many'"),
        ('base: talk2dino\nstage: {steps: 5}', 'expected steps or epochs > 0, not both'),
        ('base: nothing', 'recipe must be one of'),
        ('kind: full', 'features, stage must be given'),
        ('kind: other', 'kind must be one of compact, full'),
        ('- 1', 'must be a mapping'),
        ('base: self.yaml', 'bases above each other'),
        ('base: talk2dino\ninput_size: [3]', 'input_size must be a list of 2'),
        ('base: talk2dino\nprecision: fp8', 'precision must be one of'),
        ('a: [', 'cannot be read'),
    ],
)
def test_broken_recipe_is_named(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / 'self.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=told) as caught:
        read_recipe(str(path))
    assert 'self.yaml' in str(caught.value) or 'nothing' in text


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text('base: talk2dino\nstage: {learning_rate: 1e-3}')
    assert read_recipe(str(path)).stage.learning_rate == 1e-3


def test_step_schedule_of_the_released_configs() -> None:
    """24 epochs, a tenth from epoch 16 on, 200 steps of warm-up from a thousandth."""
    stage = read_recipe('talk2dino').stage
    steps = stage.steps_over(28130)
    assert steps == 24 * 28130 // 8
    assert learning_rate(stage, 0, steps) == pytest.approx(2e-7)
    assert learning_rate(stage, 199, steps) == pytest.approx(2e-4)
    assert learning_rate(stage, steps * 16 // 24 - 2, steps) == pytest.approx(2e-4)
    assert learning_rate(stage, steps * 16 // 24 + 2, steps) == pytest.approx(2e-5)


@given(warmup=st.integers(1, 30), step=st.integers(0, 200))
def test_cosine_never_leaves_its_range(warmup: int, step: int) -> None:
    stage = StageRecipe(learning_rate=1.0, steps=200, warmup=warmup)
    assert 0 <= learning_rate(stage, step, 200) <= 1


def test_moments_of_parts_give_the_basis_of_the_whole() -> None:
    features = torch.randn(4, 6, 3, 5) * torch.arange(1, 7)[:, None, None] + 2
    moments = sum(feature_moments(part) for part in features.split(2))
    rows = features.movedim(1, -1).flatten(0, -2).double()
    whole = principal_directions(rows, torch.ones(len(rows)).double(), 3)
    found = directions_of_moments(moments, 3)
    torch.testing.assert_close(found @ found.T, whole @ whole.T, rtol=1e-9, atol=1e-9)


def test_parts_of_a_batch_add_up_to_its_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 3, 6, 8, generator=generator)
    depth = 1 + 60 * torch.rand(4, 6, 8, generator=generator)
    seen = torch.rand(4, 6, 8, generator=generator) < 0.7
    labels = torch.randint(0, 3, (4, 6, 8), generator=generator)
    targets = Targets(torch.randn(4, 5, 2, 2, generator=generator), depth * 1.1, labels, seen)
    basis, segment = torch.randn(5, 3, generator=generator), torch.nn.Linear(3, 3)
    whole = head_losses(features, depth, targets, basis, 51.2, segment)
    counts = Counts.of(targets, 51.2)
    parts = [
        head_losses(
            features[a:b], depth[a:b], targets.part(a, b), basis, 51.2, segment, counts
        )
        for a, b in ((0, 1), (1, 4))
    ]  # fmt: skip
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def test_immediate_gradient_is_the_ordinary_one() -> None:
    x, y = torch.randn(5, requires_grad=True), torch.randn(5)

    def function(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * a * b).sum()

    (ordinary,) = torch.autograd.grad(3 * function(x, y), x)
    (found,) = torch.autograd.grad(3 * immediately(function, x, y), x)
    torch.testing.assert_close(found, ordinary)
    with torch.no_grad():
        assert not immediately(function, x, y).requires_grad


def camera(forward: float, names: tuple[str, ...] = ('front',)) -> CameraRig:
    """Looks along the ego's x from so many metres ahead; 10x20 pixels, 90 degrees wide."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[0, 3] = forward
    intrinsics = torch.tensor([[10.0, 0, 10], [0, 10, 5], [0, 0, 1]])
    return CameraRig(names, intrinsics[None], pose[None], ((10, 20),))


@settings(max_examples=20, deadline=None)
@given(forward=st.floats(-2, 2))
def test_a_standing_wall_is_seen_from_before(forward: float) -> None:
    """The wall stands 20 m ahead of the first camera; the other has moved towards or from it."""
    own, moved = torch.full((1, 10, 20), 20.0), torch.full((1, 10, 20), 20.0 - forward)
    seen = seen_from(moved, camera(forward), own, camera(0.0), 51.2)
    assert seen[0, 3:7, 4:16].all()
    elsewhere = seen_from(moved * 0.5, camera(forward), own, camera(0.0), 51.2)
    assert not elsewhere.any(), 'something in front of the wall was not there before'


def test_what_no_camera_saw_does_not_count() -> None:
    """Two metres back, a camera of the same width sees more at its sides."""
    near, far = torch.full((1, 10, 20), 4.0), torch.full((1, 10, 20), 6.0)
    seen = seen_from(far, camera(-2.0), near, camera(0.0), 51.2)
    assert not seen[0, :, 0].any() and seen[0, 5, 10]
    sky = torch.full((1, 10, 20), 80.0)
    assert seen_from(sky, camera(1.0), sky, camera(0.0), 51.2)[0, 5, 10]


class PaintedTargets:
    """Targets with segments, made up from the frame's own pixels."""

    input_size, feature_dim, gives_segments = (28, 56), 8, True

    def __call__(self, frame) -> Targets:
        images = torch.stack([image[:28, :56] for image in frame.images]).float() / 255
        features = images.permute(0, 3, 1, 2)[:, :, ::7, ::7].repeat(1, 3, 1, 1)[:, :8]
        features = features + torch.linspace(0, 1, 8)[:, None, None]
        return Targets(features, 5 + 10 * images[..., 0], (images[..., 1] > 0.5).long() + 1)


def test_segmentation_head_learns_in_a_basis_that_stays(tmp_path: Path) -> None:
    sources = small_training.bags_only(tmp_path)
    path = small_training.write_recipe(tmp_path / 'small.yaml', model={'segments': 3})
    recipe = read_recipe(str(path))
    job = FullJob(
        recipe, Sources((sources,)), torch.device('cpu'), targets=PaintedTargets()
    )  # fmt: skip
    stage = job.stages['splatting']()
    (piece, *_) = stage.pieces(0)
    loss, parts = stage.loss(piece)
    loss.backward()
    assert parts['segments/0'] > 0
    assert all(head.segment[0].weight.grad.abs().sum() > 0 for head in job.model.heads)
    kept = stage.extras()['segment_basis']
    again = job.stages['splatting']()
    again.restore(stage.extras())
    again.pieces(1)
    assert torch.equal(again.extras()['segment_basis'], kept)
    assert math.isfinite(loss.item())
