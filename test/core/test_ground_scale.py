"""Depth in metres agrees with the ground; what stands on the ground is no scale."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.depth.ground_scale import ground_ratio, is_plausible

HEIGHT, WIDTH = 90, 160


def camera(up=1.5, pitch=0.0, names=('front',)):
    """Looks ahead, `pitch` radians down."""
    c, s = math.cos(pitch), math.sin(pitch)
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0, -s, c], [-1, 0, 0], [0, -c, -s]])
    pose[2, 3] = up
    k = torch.tensor([[90.0, 0, WIDTH / 2], [0, 90.0, HEIGHT / 2], [0, 0, 1]])
    count = len(names)
    return CameraRig(
        names, k.repeat(count, 1, 1), pose.repeat(count, 1, 1), ((HEIGHT, WIDTH),) * count
    )


def flat(rig, height=HEIGHT, width=WIDTH):
    """z-depth of the ground, pixel by pixel; 0 above the horizon."""
    small = rig.resized(height, width)
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    pixels = torch.stack([u, v], -1).reshape(1, -1, 2)
    origin = small.ego_from_camera[0, 2, 3]
    fall = origin - small.unproject(pixels, torch.ones(1, height * width))[0, :, 2]
    return torch.where(fall > 1e-4, origin / fall, 0.0).reshape(height, width)


@given(
    up=st.floats(0.2, 3.0),
    pitch=st.floats(-0.1, 0.6),
    scale=st.sampled_from([0.001, 0.3, 1.0, 1.6, 1000.0]),
    known=st.floats(0.1, 1.0),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=60, deadline=None)
def test_the_scale_of_flat_ground_is_found(up, pitch, scale, known, seed):
    chance = torch.Generator().manual_seed(seed)
    rig = camera(up, pitch)
    depth = flat(rig) * (1 + 0.03 * torch.randn(HEIGHT, WIDTH, generator=chance))
    depth = torch.where(torch.rand(HEIGHT, WIDTH, generator=chance) < known, depth, torch.nan)
    ratio = ground_ratio(scale * depth, rig)
    assert ratio == pytest.approx(scale, rel=0.02)
    assert is_plausible(ratio) == (scale == 1.0)


def test_the_size_of_the_depth_does_not_matter():
    rig = camera(pitch=0.2)
    assert ground_ratio(flat(rig, 360, 640), rig) == pytest.approx(1.0, rel=1e-3)


def test_what_stands_on_the_ground_says_nothing():
    rig = camera(pitch=0.2)
    ground = flat(rig)
    wall = torch.where(ground > 1.7, 1.7, ground)  # a shelf in front of the robot
    assert ground_ratio(wall, rig) is None
    some = ground.clone()
    some[:, :60] = some[:, :60].clamp(max=2.0)  # a parked car
    assert ground_ratio(some, rig) == pytest.approx(1.0, rel=0.01)


def test_without_ground_there_is_no_ratio():
    rig = camera(pitch=0.2)
    assert ground_ratio(torch.zeros(HEIGHT, WIDTH), rig) is None
    assert ground_ratio(torch.full((HEIGHT, WIDTH), 5.0), camera(pitch=-1.2)) is None
    below = camera(up=-0.5)
    assert ground_ratio(torch.full((HEIGHT, WIDTH), 5.0), below) is None
    with pytest.raises(ValueError, match='expected one camera, got left, right'):
        ground_ratio(torch.ones(HEIGHT, WIDTH), camera(names=('left', 'right')))
