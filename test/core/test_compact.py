"""The compact network: shapes, calibration in, batch norms folded without a change."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.compact import ROWS, CompactNetwork, _Joint
from gausstr_core.foundation.interface import resize_images


def rig_of(focals: list[float], height: int = 48, width: int = 80) -> CameraRig:
    poses, matrices = [], []
    for focal in focals:
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        pose[2, 3] = 1.5
        poses.append(pose)
        matrices.append(torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]))
    n = len(focals)
    names = tuple(f'camera{i}' for i in range(n))
    return CameraRig(names, torch.stack(matrices), torch.stack(poses), ((height, width),) * n)


@pytest.fixture(scope='module')
def network() -> CompactNetwork:
    torch.manual_seed(0)
    network = CompactNetwork(feature_dim=24, input_size=(48, 80), width=16)
    torch.nn.init.normal_(network.depth_head.weight, std=0.05)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.running_mean)
    return network.eval()


@torch.no_grad()
def test_shapes_and_positive_depth(network: CompactNetwork) -> None:
    images = torch.randint(0, 256, (2, 48, 80, 3), dtype=torch.uint8)
    maps = network(images, rig_of([60.0, 90.0]))
    assert maps.features.shape == (2, 24, 12, 20)
    assert maps.depth.shape == (2, 48, 80)
    assert maps.depth.min() > 0 and maps.depth.max() <= network.max_depth


@torch.no_grad()
def test_sizes_that_16_does_not_divide(network: CompactNetwork) -> None:
    images = torch.randint(0, 256, (1, 45, 70, 3), dtype=torch.uint8)
    maps = network(images, rig_of([60.0], 45, 70))
    assert maps.features.shape == (1, 24, 12, 18)
    assert maps.depth.shape == (1, 45, 70)


@torch.no_grad()
def test_free_depth_scales_with_the_focal_length() -> None:
    """The same picture through a lens twice as long shows things twice as far."""
    torch.manual_seed(0)
    network = CompactNetwork(feature_dim=24, input_size=(48, 80), width=16).eval()
    network.depth_head.bias.copy_(torch.tensor([0.0, -20, 0, -20, 0, 0]))  # free only
    images = torch.full((1, 48, 80, 3), 127, dtype=torch.uint8)
    short = network(images, rig_of([60.0])).depth
    long = network(images, rig_of([120.0])).depth
    torch.testing.assert_close(long, 2 * short, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_ground_depth_follows_from_the_calibration() -> None:
    """All weight on the ground: 1.5 m high, 60 px focal length, 12 px below centre -> 7.5 m."""
    network = CompactNetwork(feature_dim=24, input_size=(48, 80), width=16).eval()
    network.depth_head.bias.copy_(torch.tensor([0.0, 30, 0, 0, 0, 0]))
    images = torch.full((1, 48, 80, 3), 127, dtype=torch.uint8)
    depth = network(images, rig_of([60.0])).depth
    rows = depth[0, [35, 36], 40]
    assert rows.mean().item() == pytest.approx(1.5 * 60 / 12, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize(('focal', 'height', 'pitch'), [(60, 1.5, 0), (90, 1.1, 8), (40, 2, -5)])
def test_what_stands_is_as_far_as_the_ground_at_its_foot(
    focal: float, height: float, pitch: float
) -> None:
    """Through any lens, at any height and tilt: inverse depths of ground are linear in the row."""
    rig = rig_of([focal])
    pose = rig.ego_from_camera.clone()
    angle = torch.tensor(pitch * torch.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    pose[0, :3, :3] = pose[0, :3, :3] @ torch.tensor([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    pose[0, 2, 3] = height
    rig = replace(rig, ego_from_camera=pose)
    network = CompactNetwork(feature_dim=24, input_size=(48, 80), width=16).eval()
    images = torch.full((1, 48, 80, 3), 127, dtype=torch.uint8)
    network.depth_head.bias.copy_(torch.tensor([0.0, 30, 0, 0, 0, 0]))
    ground = network(images, rig).depth
    # softplus(0) = ln 2: the foot is 15 ln 2 = 10.4 rows below
    network.depth_head.bias.copy_(torch.tensor([0.0, 0, 0, 30, 0, 0]))
    foot = network(images, rig).depth
    rows = ROWS * math.log(2)
    below = int(rows)
    expected = torch.lerp(
        1 / ground[0, 34 + below : 36 + below, 40], 1 / ground[0, 35 + below : 37 + below, 40],
        rows - below,
    )  # fmt: skip
    assert ground[0, 34 + below, 40] < 60
    torch.testing.assert_close(1 / foot[0, 34:36, 40], expected, rtol=0.02, atol=1e-4)


def test_mixing_before_enlarging_is_mixing_after_it() -> None:
    """What the decoder's joints save time with; values and gradients."""
    torch.manual_seed(0)
    joint = _Joint(5, 3, 8).double()
    fresh = torch.randn(2, 5, 8, 12, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    enlarged = F.interpolate(coarse, (8, 12), mode='bilinear')
    after = nn.Sequential(*joint)(torch.cat([fresh, enlarged], dim=1))
    before = joint(fresh, coarse)
    torch.testing.assert_close(before, after)
    weights = torch.randn_like(after)
    wanted = torch.autograd.grad((after * weights).sum(), [fresh, coarse, joint[0].weight])
    found = torch.autograd.grad((before * weights).sum(), [fresh, coarse, joint[0].weight])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_folding_batch_norms_changes_nothing(network: CompactNetwork) -> None:
    images = torch.randint(0, 256, (2, 48, 80, 3), dtype=torch.uint8)
    rig = rig_of([60.0, 90.0])
    before = network(images, rig)
    after = network.optimise_for_inference()(images, rig)
    torch.testing.assert_close(after.features, before.features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after.depth, before.depth, rtol=1e-3, atol=1e-3)
    left = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert left == []


def test_resizing_averages_over_the_footprint() -> None:
    """Fine stripes of 0 and 200 become their mean, not whichever column is hit."""
    image = torch.zeros(40, 40, 3, dtype=torch.uint8)
    image[:, ::2] = 200
    small = resize_images([image], 8, 8)
    assert small.dtype == torch.uint8 and small.shape == (1, 8, 8, 3)
    assert (small.float() - 100).abs().max() <= 12
