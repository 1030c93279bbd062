"""The transformer through its door: geometry of the start, refinement, gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians, matrix_from_quaternion
from gausstr_core.foundation.compact import HINT_SCALE, geometry_hints
from gausstr_core.transformer.build import COMPACT_PRESETS, build
from gausstr_core.transformer.reference_points import QueryGrid, anchor_points, horizon_rows
from gausstr_core.transformer.surface import THICKNESS, sample_depth

HEIGHT, WIDTH, CAMERA_HEIGHT = 48, 80, 1.5


def looking(yaw: float, pitch: float = 0.0) -> torch.Tensor:
    """ego_from_camera of a camera 1.5 m above the ground; positive pitch looks down."""
    c, s = torch.cos(torch.tensor(yaw)), torch.sin(torch.tensor(yaw))
    cp, sp = torch.cos(torch.tensor(pitch)), torch.sin(torch.tensor(pitch))
    forward = torch.stack([c * cp, s * cp, -sp])
    right = torch.stack([s, -c, torch.zeros(())])
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    pose[:3, 3] = torch.tensor([1.0, 0.2, CAMERA_HEIGHT])
    return pose


def rig_of(*poses: torch.Tensor) -> CameraRig:
    k = torch.tensor([[60.0, 0, WIDTH / 2], [0, 60.0, HEIGHT / 2], [0, 0, 1]])
    n = len(poses)
    names = tuple(f'camera{i}' for i in range(n))
    return CameraRig(names, k.repeat(n, 1, 1), torch.stack(poses), ((HEIGHT, WIDTH),) * n)


def ground_maps(rig: CameraRig, feature_dim: int = 384) -> FoundationMaps:
    """Depth of flat ground below the horizon, 60 m above it; random features."""
    inverse = geometry_hints(rig, HEIGHT, WIDTH)[:, 2] / HINT_SCALE
    torch.manual_seed(1)
    features = torch.randn(len(rig), feature_dim, HEIGHT // 4, WIDTH // 4)
    return FoundationMaps(features, 1 / inverse.clamp_min(1 / 60))


@pytest.fixture(scope='module')
def scene() -> tuple[FoundationMaps, CameraRig]:
    rig = rig_of(looking(0.0, 0.1), looking(1.2, 0.05))
    return ground_maps(rig), rig


def untrained_gaussians(maps: FoundationMaps, rig: CameraRig) -> Gaussians:
    with torch.no_grad():
        return build('tiny').transformer(maps, rig)


def test_hint_is_the_depth_of_the_ground() -> None:
    """A point on the ground at 10 m projects to a pixel whose hint is its inverse depth."""
    rig = rig_of(looking(0.3, 0.2))
    pixels, depth = rig.project(torch.tensor([[8.0, 2.5, 0.0]]))
    column, row = (pixels[0, 0] - 0.5).round().long().tolist()
    hint = geometry_hints(rig, HEIGHT, WIDTH)[0, 2, row, column] / HINT_SCALE
    assert hint.item() == pytest.approx(1 / depth.item(), rel=0.05)


def test_untrained_gaussians_lie_in_the_ground(
    scene: tuple[FoundationMaps, CameraRig],
) -> None:
    """On a plane the start is exact: means in it, thin along its normal."""
    maps, rig = scene
    gaussians = untrained_gaussians(maps, rig)
    near = gaussians.means[:, :2].norm(dim=-1) < 15
    assert near.sum() > 20
    assert gaussians.means[near, 2].abs().max() < 0.02
    normal = matrix_from_quaternion(gaussians.rotations[near])[:, :, 2]
    assert normal[:, 2].abs().min() > 0.99
    torch.testing.assert_close(
        gaussians.scales[near, 2], torch.full_like(gaussians.scales[near, 2], THICKNESS)
    )
    assert (gaussians.scales[:, 0] >= gaussians.scales[:, 1] - 1e-6).all()


def test_spread_grows_with_distance(scene: tuple[FoundationMaps, CameraRig]) -> None:
    maps, rig = scene
    gaussians = untrained_gaussians(maps, rig)
    on_ground = gaussians.means[:, 2].abs() < 0.05
    distance = (gaussians.means - rig.ego_from_camera[0, :3, 3])[:, :2].norm(dim=-1)
    near, far = on_ground & (distance < 5), on_ground & (distance > 15)
    assert gaussians.scales[far, 0].mean() > 2 * gaussians.scales[near, 0].mean()


def test_anchors_cover_the_image_and_crowd_the_horizon() -> None:
    rig = rig_of(looking(0.0, 0.0), looking(0.0, 0.15))
    query_grid = QueryGrid(rows=6, columns=8, sub=2)
    points, spacing = anchor_points(rig, query_grid)
    assert points.shape == (2, 48, 4, 2)
    torch.testing.assert_close(spacing.prod(-1).sum((1, 2)), torch.ones(2))  # areas fill it
    horizon = horizon_rows(rig)
    assert horizon[0].item() == pytest.approx(0.5)
    assert horizon[1] < horizon[0]  # looking down lifts the horizon
    rows, heights = points[0, :, :, 1].flatten(), spacing[0, :, :, 1].flatten()
    assert heights[(rows - 0.5).abs().argmin()] < 0.6 * heights[rows.argmax()]


def test_depth_at_an_edge_is_near_or_far_never_between() -> None:
    depth = torch.full((1, 20, 20), 5.0)
    depth[:, :, 10:] = 20.0
    points = torch.rand(1, 500, 2, generator=torch.Generator().manual_seed(0))
    z, _ = sample_depth(depth, points)
    assert torch.minimum((z - 5).abs(), (z - 20).abs()).max() < 1e-4


def test_deterministic_and_ordered_by_view(scene: tuple[FoundationMaps, CameraRig]) -> None:
    maps, rig = scene
    first, again = untrained_gaussians(maps, rig), untrained_gaussians(maps, rig)
    for field in dataclasses.fields(Gaussians):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    query_grid = build('tiny').transformer.query_grid
    per_view = query_grid.queries * query_grid.anchors
    alone = untrained_gaussians(
        FoundationMaps(maps.features[1:], maps.depth[1:]), rig.select((rig.names[1],))
    )
    torch.testing.assert_close(first.means[per_view:], alone.means)


def test_views_exchange_information_through_self_attention(
    scene: tuple[FoundationMaps, CameraRig],
) -> None:
    """The paper attends across all Gaussians of the scene, the released code per camera."""
    maps, rig = scene
    model = build('tiny').transformer
    torch.manual_seed(0)
    for head in model.heads:
        torch.nn.init.normal_(head.step.weight, std=0.1)
    other = FoundationMaps(maps.features.clone(), maps.depth)
    other.features[1] = -other.features[1]
    with torch.no_grad():
        a, b = model(maps, rig).means, model(other, rig).means
    first_view = slice(0, len(a) // 2)
    assert (a[first_view] - b[first_view]).abs().max() > 1e-5


def test_every_parameter_learns(scene: tuple[FoundationMaps, CameraRig]) -> None:
    maps, rig = scene
    model = build('tiny').transformer
    torch.manual_seed(0)
    for last in [*(head.step for head in model.heads), model.feature_head[-1]]:
        torch.nn.init.normal_(last.weight, std=0.05)
    loss = torch.zeros(())
    for gaussians in model.forward_layers(maps, rig):
        for field in dataclasses.fields(Gaussians):
            value = getattr(gaussians, field.name)
            loss = loss + (value * torch.randn_like(value)).sum()
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_steps_are_bounded(scene: tuple[FoundationMaps, CameraRig]) -> None:
    """Whatever the weights, a layer moves a Gaussian by half an anchor, e^0.2 in depth at most."""
    maps, rig = scene
    model = build('tiny').transformer
    start = untrained_gaussians(maps, rig)
    torch.manual_seed(0)
    for head in model.heads:
        torch.nn.init.normal_(head.step.weight, std=100.0)
    with torch.no_grad():
        moved = model(maps, rig)
    camera = rig.ego_from_camera[:, :3, 3].repeat_interleave(len(start) // 2, 0)
    ratio = (moved.means - camera).norm(dim=-1) / (start.means - camera).norm(dim=-1)
    assert torch.isfinite(moved.means).all()
    assert ratio.max() < torch.e ** (0.2 * len(model.heads)) * 1.3


@pytest.mark.parametrize('preset', sorted(COMPACT_PRESETS))
def test_building_leaves_the_global_generator_alone(preset: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(preset)
    assert torch.equal(torch.rand(3), expected)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r'compact.*huge'):
        build('huge')


def test_measured_places_stay(scene: tuple[FoundationMaps, CameraRig]) -> None:
    maps, rig = scene
    model = build('tiny').transformer
    start = untrained_gaussians(maps, rig)
    torch.manual_seed(0)
    for head in model.heads:
        torch.nn.init.normal_(head.step.weight, std=1.0)
    with torch.no_grad():
        free, held = model(maps, rig), model(maps, rig, measured=True)
    assert (free.means - start.means).abs().max() > 0.1
    torch.testing.assert_close(held.means, start.means)
    assert (held.scales - start.scales).abs().max() > 0.1
