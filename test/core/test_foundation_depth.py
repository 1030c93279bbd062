from __future__ import annotations

import sys
from pathlib import Path

import foundation_files as files
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.depth.depth_anything import (
    TRAINED_FOCAL,
    DepthAnythingDepth,
    fitting_size,
)
from gausstr_core.foundation.depth.depth_pro import DepthProDepth
from gausstr_core.foundation.depth.lidar_depth import (
    LidarSettings,
    bridges,
    remove_hidden,
)
from gausstr_core.foundation.depth.metric3d import Metric3DDepth
from gausstr_core.foundation.interface import normalised, resize_images

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = next(
    (
        path
        for folder in (REPOSITORY.parent, *REPOSITORY.parents)
        if (path := folder / 'shared' / 'reference' / 'units.npz').is_file()
    ),
    None,
)
needs_units = pytest.mark.skipif(UNITS is None, reason='units.npz is not beside the repository')


def rig(number, height, width, focal=60.0):
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraRig(
        tuple(f'camera{i}' for i in range(number)),
        torch.stack([zoomed(intrinsics, 1.0 + i) for i in range(number)]),
        torch.eye(4).repeat(number, 1, 1),
        ((height, width),) * number,
    )


def zoomed(intrinsics, factor):
    return intrinsics * torch.tensor([[factor, 1, 1], [1, factor, 1], [1, 1, 1]])


def photographs(number, height, width):
    return torch.randint(0, 256, (number, height, width, 3), dtype=torch.uint8)


@needs_units
def test_metric3d_wrapper_equals_the_released_one():
    units = np.load(UNITS)
    seen = []

    def stand_in(planes):
        seen.append(planes.shape)
        return planes.mean(1) + 5

    wrapper = Metric3DDepth(stand_in)
    focal = torch.from_numpy(units['m3d.cam2img'])[:, 0, 0]
    depth = wrapper.from_normalised(torch.from_numpy(units['m3d.in']), focal)
    assert tuple(seen[0]) == tuple(units['m3d.net_input_shape'])
    np.testing.assert_allclose(depth, units['m3d.out'], rtol=1e-5)


@pytest.mark.parametrize('size', [(56, 112), (64, 64)])
def test_metric3d_in_an_onnx_file_equals_the_network_in_torch(tmp_path, size):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    path = files.write_metric3d(tmp_path, size)
    images, cameras = photographs(2, 45, 80), rig(2, 45, 80)
    depth = Metric3DDepth.from_onnx(path)(images, cameras)
    stand_in = Metric3DDepth(lambda planes: planes.mean(1) + 5, size)
    expected = stand_in.from_normalised(normalised(images), cameras.intrinsics[:, 0, 0])
    torch.testing.assert_close(depth, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(Metric3DDepth.from_onnx(tmp_path)(images, cameras), depth)


def test_an_onnx_file_of_half_precision_or_another_output_name(tmp_path):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    images, cameras = photographs(1, 45, 80), rig(1, 45, 80)
    path = files.write_metric3d(tmp_path, (56, 112))
    whole = Metric3DDepth.from_onnx(path)(images, cameras)
    files.write_metric3d(tmp_path, (56, 112), half=True)
    half = Metric3DDepth.from_onnx(path)(images, cameras)
    torch.testing.assert_close(half, whole, atol=0.01, rtol=0.01)
    files.write_metric3d(tmp_path, (56, 112), output='pred_depth')
    torch.testing.assert_close(Metric3DDepth.from_onnx(path)(images, cameras), whole)
    files.write_metric3d(tmp_path, (56, 112), output='confidence')
    with pytest.raises(ValueError, match=r'expected an output predicted_depth or pred_depth'):
        Metric3DDepth.from_onnx(path)


def test_metric3d_depth_scales_with_the_focal_length(tmp_path):
    wrapper = Metric3DDepth(lambda planes: torch.full((len(planes), 616, 1064), 4.0))
    depth = wrapper(photographs(1, 450, 800), rig(1, 450, 800, focal=500.0))
    # 800 pixels fill 1064: the focal length is 665 there, and 4 * 665 / 1000 metres remain
    torch.testing.assert_close(depth, torch.full((1, 450, 800), 2.66))


def test_a_smaller_letter_box_for_metric3d(tmp_path):
    """Where the graph takes any size: half of it gives the same metres."""
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    path = files.write_metric3d(tmp_path, None)
    images, cameras = photographs(1, 90, 160), rig(1, 90, 160)
    assert Metric3DDepth.from_onnx(path).input_size == (616, 1064)
    half = Metric3DDepth.from_onnx(path, input_size=(308, 532))
    stand_in = Metric3DDepth(lambda planes: planes.mean(1) + 5, (308, 532))
    torch.testing.assert_close(half(images, cameras), stand_in(images, cameras))
    with pytest.raises(ValueError, match=r'depth_size must be two multiples of 28.*\[308, 532\]'):
        Metric3DDepth.from_onnx(path, input_size=(300, 532))
    fixed = files.write_metric3d(tmp_path, (56, 112))
    with pytest.raises(ValueError, match=r'large\.onnx takes \[56, 112\] only'):
        Metric3DDepth.from_onnx(fixed, input_size=(308, 532))


def test_metric3d_faults_are_named(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    with pytest.raises(ValueError, match=r'metric3d_vit_large\.onnx is not in'):
        Metric3DDepth.from_onnx(tmp_path)
    (tmp_path / 'bad.onnx').write_bytes(b'no graph')
    with pytest.raises(ValueError, match=r'bad\.onnx cannot be read'):
        Metric3DDepth.from_onnx(tmp_path / 'bad.onnx')
    with pytest.raises(ValueError, match='expected depth'):
        Metric3DDepth(lambda planes: planes[:, 0, ::2])(photographs(1, 45, 80), rig(1, 45, 80))
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ValueError, match='pip install'):
        Metric3DDepth.from_onnx(tmp_path / 'bad.onnx')


@torch.no_grad()
def test_depth_anything_from_the_published_folder(tmp_path):
    files.write_depth_anything(tmp_path)
    network = DepthAnythingDepth.from_folder(tmp_path, side=56)
    images = photographs(2, 45, 80)
    from transformers import DepthAnythingForDepthEstimation

    path = tmp_path / 'depth-anything-v2-metric-outdoor-small'
    other = DepthAnythingForDepthEstimation.from_pretrained(path).eval()
    assert fitting_size(45, 80, 56, 14) == (56, 98)
    small = resize_images(list(images), 56, 98, 'bicubic')
    inside = other(pixel_values=normalised(small)).predicted_depth
    expected = F.interpolate(inside[:, None], (45, 80), mode='bilinear')[:, 0]
    cameras = rig(2, 45, 80)
    factor = cameras.intrinsics[:, 1, 1] / 45 / TRAINED_FOCAL
    torch.testing.assert_close(network(images, cameras), expected * factor[:, None, None])


class Metres(torch.nn.Module):
    """A depth network that answers the same to every image."""

    def forward(self, planes):
        self.size = tuple(planes.shape[2:])
        return torch.full((len(planes), *self.size), 10.0)


@pytest.mark.parametrize(
    ('size', 'focal', 'metres'),
    [
        ((375, 1242), 725.0087, 10.0),  # a camera of its training
        ((900, 1600), 1266.4, 7.278),  # nuScenes: 1266.4 / 900 = 1.4071 heights, of 1.93336
        ((450, 800), 633.2, 7.278),  # the same camera, its images halved
        ((1600, 900), 1266.4, 7.278),  # and turned
        ((900, 1600), 2532.8, 14.556),  # twice the focal length: all is twice as far as it looks
    ],
)
def test_the_focal_length_that_depth_anything_is_not_told(size, focal, metres):
    network = DepthAnythingDepth(Metres())
    height, width = size
    k = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    camera = CameraRig(('front',), torch.tensor([k]), torch.eye(4)[None], (size,))
    depth = network(torch.zeros(1, *size, 3, dtype=torch.uint8), camera)
    torch.testing.assert_close(depth, torch.full((1, *size), metres), atol=2e-3, rtol=0)


def test_depth_anything_looks_at_the_size_asked_for():
    inside = Metres()
    network = DepthAnythingDepth(inside, size=(28, 56))
    network(photographs(1, 45, 80), rig(1, 45, 80))
    assert inside.size == (28, 56)
    with pytest.raises(ValueError, match=r'depth_size must be two multiples of 14.*\[28, 56\]'):
        DepthAnythingDepth(inside, size=(30, 56))


def test_depth_anything_looks_at_the_size_that_its_own_processor_chooses():
    pytest.importorskip('torchvision')
    from transformers import DPTImageProcessor

    processor = DPTImageProcessor(
        size={'height': 518, 'width': 518}, keep_aspect_ratio=True, ensure_multiple_of=14,
        resample=3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    for height, width in ((900, 1600), (504, 896), (375, 1242), (252, 448)):
        image = photographs(1, height, width)
        planes = processor(images=[image[0].numpy()], return_tensors='pt')['pixel_values']
        size = fitting_size(height, width, 518, 14)
        assert planes.shape[2:] == size
        ours = normalised(resize_images(list(image), *size, mode='bicubic'))
        assert (ours - planes).abs().mean() < 0.01


def test_a_relative_depth_anything_is_refused(tmp_path):
    files.write_depth_anything(tmp_path, kind='relative')
    with pytest.raises(ValueError, match='must be a metric variant'):
        DepthAnythingDepth.from_folder(tmp_path)


@torch.no_grad()
def test_depth_pro_uses_the_calibrated_focal_length(tmp_path):
    path = files.write_depth_pro(tmp_path)
    images, cameras = photographs(2, 45, 80), rig(2, 45, 80)
    depth = DepthProDepth.from_folder(tmp_path, (112, 112))(images, cameras)
    from transformers import DepthProForDepthEstimation

    other = DepthProForDepthEstimation.from_pretrained(path).eval()
    planes = F.interpolate(images.permute(0, 3, 1, 2) / 127.5 - 1, (112, 112), mode='bilinear')
    inverse = other(pixel_values=planes).predicted_depth
    for i in range(2):
        focal = cameras.intrinsics[i, 0, 0]
        metric = F.interpolate((inverse[i] * 80 / focal)[None, None], (45, 80), mode='bilinear')
        expected = 1 / metric[0, 0].clamp(1e-4, 1e4)
        torch.testing.assert_close(depth[i], expected, rtol=1e-4, atol=1e-4)


@given(st.integers(0, 2**31 - 1), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_hidden_points_are_those_that_max_pooling_finds(seed, radius, height, width):
    """The plain twin looks at every pixel of the square."""
    chance = torch.Generator().manual_seed(seed)
    sparse = 1 + 20 * torch.rand(2, height, width, generator=chance)
    sparse *= torch.rand(2, height, width, generator=chance) < 0.4
    inverse = torch.where(sparse > 0, 1 / sparse.clamp_min(1e-6), 0.0)
    nearest = F.max_pool2d(inverse[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]
    expected = torch.where(inverse * 1.15 >= nearest, sparse, 0.0)
    assert torch.equal(remove_hidden(sparse, radius, 0.15), expected)


def test_depth_between_two_things_is_found() -> None:
    """A pole at 5 m before a wall at 20 m: what was filled in between them is neither."""
    row = torch.tensor([20.0, 20, 20, 12, 8, 5, 5, 5, 9, 0, 20, 20.5])
    found = bridges(row.expand(1, 3, -1), 0.05)[0]
    expected = torch.tensor([0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0]).bool()
    assert torch.equal(found, expected.expand(3, -1))


def test_ground_and_walls_along_the_way_are_no_bridges() -> None:
    """Ground 1.5 m below and a wall 8 m beside the camera, up to 40 m away, 320 pixels wide."""
    focal = 253.0
    u = torch.arange(320) + 0.5 - 160
    v = torch.arange(180) + 0.5 - 90
    ground = torch.where(v > 0, 1.5 * focal / v, torch.inf)[:, None].expand(-1, 320)
    wall = torch.where(u > 0, 8.0 * focal / u, torch.inf)[None].expand(180, -1)
    depth = torch.minimum(ground, wall)
    depth = torch.where(depth < 40, depth, 0.0)[None]
    assert bridges(depth, LidarSettings().slope / 320).float().mean() < 0.005


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5))
def test_no_neighbours_of_a_row_differ_where_bridges_are_gone(seed: int, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    dense = 1 + 30 * torch.rand(2, 4, 16, generator=generator)
    dense = torch.where(torch.rand(dense.shape, generator=generator) < 0.2, 0.0, dense)
    found = torch.where(bridges(dense, tolerance), 0.0, dense)
    left, right = found[..., :-1], found[..., 1:]
    both = (left > 0) & (right > 0)
    ratio = torch.maximum(left, right)[both] / torch.minimum(left, right)[both]
    assert (ratio <= 1 + tolerance + 1e-6).all()
