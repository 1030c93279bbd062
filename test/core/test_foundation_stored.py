"""Maps that are not computed by a network: stored ones, and those of a lidar."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.depth.lidar_depth import (
    LidarDepth,
    LidarSettings,
    densify,
    depth_from_cloud,
    project_cloud,
    remove_hidden,
)
from gausstr_core.foundation.interface import resize_images
from gausstr_core.foundation.precomputed import (
    PrecomputedDepth,
    PrecomputedFeatures,
    read_map,
    stem_of,
)

FORWARD = torch.tensor([[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])


def rig(number=1, height=180, width=320, focal=200.0):
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraRig(
        tuple(f'camera{i}' for i in range(number)),
        intrinsics.repeat(number, 1, 1),
        FORWARD.repeat(number, 1, 1),
        ((height, width),) * number,
    )


def test_images_are_shrunk_as_the_released_loader_shrinks_them(shared):
    """By Pillow's bicubic filter: resized to 0.55 of their size, then cropped from (9, 4)."""
    units = np.load(shared / 'reference' / 'units.npz')
    source = torch.from_numpy(units['aug.src'])
    height, width = (int(side * 0.55) for side in source.shape[:2])
    (image,) = resize_images([source], height, width, 'bicubic')
    cut = image[9:49, 4:84].numpy().astype(int)
    for expected in units['aug.test.img']:
        # Pillow rounds its filter's weights, so a grey level differs here and there
        difference = np.abs(cut - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_stored_maps_of_every_kind_are_read(tmp_path):
    depth = np.random.default_rng(0).uniform(1, 50, (90, 160)).astype(np.float32)
    np.save(tmp_path / 'a.npy', depth)
    np.savez(tmp_path / 'b.npz', depth=depth)
    save_file({'depth': torch.from_numpy(depth)}, tmp_path / 'c.safetensors')
    for stem in 'abc':
        np.testing.assert_array_equal(read_map(tmp_path, stem), depth)
    images = torch.zeros(3, 90, 160, 3, dtype=torch.uint8)
    maps = PrecomputedDepth(tmp_path, ('a', 'b', 'c'))(images, rig(3, 90, 160))
    np.testing.assert_array_equal(maps, np.stack([depth] * 3))
    small = PrecomputedDepth(tmp_path, ('a',))(images[:1, ::2, ::2], rig(1, 45, 80))
    np.testing.assert_allclose(small[0], depth.reshape(45, 2, 80, 2).mean((1, 3)), rtol=1e-5)
    assert stem_of('samples/CAM_FRONT/n015+0800__CAM_FRONT__15.jpg') == 'n015+0800__CAM_FRONT__15'


def test_stored_features_are_stacked(tmp_path):
    features = np.random.default_rng(0).normal(size=(2, 8, 3, 4)).astype(np.float32)
    np.save(tmp_path / 'a.npy', features[0])
    np.save(tmp_path / 'b.npy', features[1])
    images = torch.zeros(2, 48, 64, 3, dtype=torch.uint8)
    network = PrecomputedFeatures(tmp_path, ('b', 'a'), (48, 64), 8)
    np.testing.assert_array_equal(network(images, rig(2, 48, 64)), features[::-1])
    with pytest.raises(ValueError, match='expected 16 channels'):
        PrecomputedFeatures(tmp_path, ('b', 'a'), (48, 64), 16)(images, rig(2, 48, 64))


class Payload:
    def __reduce__(self):
        return print, ('this must not run',)


def test_faulty_stored_maps_are_named(tmp_path, capsys):
    images, one = torch.zeros(1, 90, 160, 3, dtype=torch.uint8), rig(1, 90, 160)
    np.save(tmp_path / 'code.npy', np.array([Payload()], dtype=object), allow_pickle=True)
    np.save(tmp_path / 'line.npy', np.ones(5))
    np.save(tmp_path / 'flat.npy', np.zeros((90, 160)))
    np.save(tmp_path / 'features.npy', np.ones((8, 3, 4)))
    np.savez(tmp_path / 'two.npz', a=np.ones((2, 2)), b=np.ones((2, 2)))
    (tmp_path / 'torn.npz').write_bytes(b'PK torn')
    for stem, fault in (
        ('code', r'code\.npy cannot be read'),
        ('line', r'line\.npy: expected \[H, W\]'),
        ('flat', r'flat .* must be finite and > 0 m'),
        ('features', r'camera0: map features .* must have 2 dimensions'),
        ('two', r"two\.npz: expected one array, got \['a', 'b'\]"),
        ('torn', r'torn\.npz cannot be read'),
        ('none', r"no map of 'none'"),
    ):
        with pytest.raises(ValueError, match=fault):
            PrecomputedDepth(tmp_path, (stem,))(images, one)
    with pytest.raises(ValueError, match='for 1 cameras, got 2 names'):
        PrecomputedDepth(tmp_path, ('a', 'b'))(images, one)
    assert 'must not run' not in capsys.readouterr().out


def street(origin, directions):
    """z-depth along rays that enter a street: ground z = 0, wall x = 25 m, box from x = 8 m."""
    t = -origin[2] / directions[..., 2]
    t = torch.where(t > 0, t, math.inf)
    wall = (25 - origin[0]) / directions[..., 0]
    t = torch.where((wall > 0) & (wall < t), wall, t)
    face = (8 - origin[0]) / directions[..., 0]
    hit = origin + face[..., None] * directions
    on = (face > 0) & (hit[..., 1].abs() < 1) & (hit[..., 2] < 1.6) & (hit[..., 2] > 0)
    return torch.where(on & (face < t), face, t)


def scan():
    """32 beams from above the camera: a real lidar does not sit where the camera does."""
    azimuth = torch.deg2rad(torch.linspace(-60, 60, 700))
    elevation = torch.deg2rad(torch.linspace(-30, 10, 32))[:, None]
    directions = torch.stack(
        [
            elevation.cos() * azimuth.cos(),
            elevation.cos() * azimuth.sin(),
            elevation.sin().expand(32, 700),
        ],
        -1,
    ).reshape(-1, 3)
    origin = torch.tensor([0.0, 0, 1.9])
    distance = street(origin, directions)
    return (origin + distance[:, None] * directions)[distance < 100]


def seen_by(camera):
    height, width = camera.image_sizes[0]
    k = camera.intrinsics[0]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    rays = torch.stack(
        [torch.ones_like(x), -(x - k[0, 2]) / k[0, 0], -(y - k[1, 2]) / k[1, 1]], -1
    )
    return street(torch.tensor([0.5, 0, 1.5]), rays)


def test_depth_of_a_cloud_is_that_of_the_street():
    camera = rig()
    truth, depth = seen_by(camera), depth_from_cloud(scan(), camera)[0]
    known = depth > 0
    error = ((depth - truth).abs() / truth)[known]
    assert known.float().mean() > 0.7
    assert error.median() < 0.01
    assert (error > 0.1).float().mean() < 0.04
    assert not known[:10].any()  # above the highest beam nothing was measured
    filled = LidarDepth(scan(), unknown=80.0)(torch.zeros(1), camera)[0]
    assert (filled[depth == 0] == 80).all()
    assert torch.equal(filled[depth != 0], depth[depth != 0].abs())


def test_points_behind_a_near_thing_are_removed():
    camera = rig(width=640, height=360, focal=400.0)
    truth = seen_by(camera)
    sparse = project_cloud(scan(), camera, LidarSettings())
    kept = remove_hidden(sparse, radius=5, tolerance=0.15)

    def wrong(depth):
        return int((((depth[0] - truth) / truth).abs() > 0.1)[depth[0] > 0].sum())

    assert wrong(sparse) > 100
    assert wrong(kept) < 0.15 * wrong(sparse)
    assert (kept > 0).sum() > 0.95 * (sparse > 0).sum()


def test_the_nearest_point_of_a_pixel_counts():
    camera = rig()
    points = torch.tensor([[20.5, 0.0, 1.5], [10.5, 0.0, 1.5], [float('nan'), 0, 0], [-5, 0, 1.5]])
    sparse = project_cloud(points, camera, LidarSettings())
    assert sparse[0, 90, 160] == 10
    assert (sparse > 0).sum() == 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.floats(-0.002, 0.002), st.floats(-0.002, 0.002))
def test_densifying_a_plane_keeps_its_points_and_its_range(seed, slope_x, slope_y):
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing='ij')
    plane = 1 / (0.2 + slope_x * (x - 32) + slope_y * (y - 24))
    sparse = torch.where(torch.rand(48, 64, generator=generator) < 0.2, plane, 0.0)[None]
    dense = densify(sparse, gap=6)
    points = sparse > 0
    torch.testing.assert_close(dense[points], sparse[points])
    known = dense > 0
    assert known.float().mean() > 0.95
    assert dense[known].min() >= sparse[points].min() - 1e-3
    assert dense[known].max() <= sparse[points].max() + 1e-3


def test_an_empty_cloud_knows_nothing_and_faults_are_named():
    assert not depth_from_cloud(torch.zeros(0, 3), rig()).any()
    with pytest.raises(ValueError, match=r'must be \[P, 3\]'):
        depth_from_cloud(torch.zeros(5, 4), rig())
