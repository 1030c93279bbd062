from __future__ import annotations

import foundation_files as files
import pytest
import torch
import torch.nn.functional as F
from random_foundation import SHAPES, random_foundation

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation import released
from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.depth.metric3d import Metric3DDepth
from gausstr_core.weights.fetch import cache_folder


def rig(sizes, focal=600.0):
    intrinsics = [
        [[focal * w / 800, 0, w / 2], [0, focal * w / 800, h / 2], [0, 0, 1]] for h, w in sizes
    ]
    return CameraRig(
        tuple(f'camera{i}' for i in range(len(sizes))),
        torch.tensor(intrinsics),
        torch.eye(4).repeat(len(sizes), 1, 1),
        tuple(sizes),
    )


def stand_in(size=(616, 1064)):
    return Metric3DDepth(lambda planes: planes.mean(1) + 5, size)


class Features:
    """Mean colour of cells of 8 pixels; remembers what it saw."""

    name = 'mean colour'
    input_size, feature_dim = (48, 80), 3

    def __call__(self, images, rig):
        self.images = images
        return F.avg_pool2d(images.permute(0, 3, 1, 2).float(), 8)


def test_a_pair_of_networks_is_one_foundation_network():
    both = CombinedFoundation(Features(), stand_in())
    images = torch.randint(0, 256, (2, 48, 80, 3), dtype=torch.uint8)
    cameras = rig([(48, 80)] * 2)
    maps = both(images, cameras)
    assert both.input_size == (48, 80) and both.feature_dim == 3
    assert torch.equal(maps.features, both.features(images, cameras))
    assert torch.equal(maps.depth, stand_in()(images, cameras))
    assert both.optimise_for_inference() is both and not both.train().training


def test_originals_of_any_size_give_depth_at_their_own_resolution():
    both = CombinedFoundation(Features(), stand_in())
    sizes = [(90, 160), (48, 80)]
    images = [torch.randint(0, 256, (*size, 3), dtype=torch.uint8) for size in sizes]
    cameras = rig(sizes)
    maps, small = both.encode(images, cameras)
    assert small.image_sizes == ((48, 80),) * 2
    large = stand_in()(images[0][None], cameras.select(('camera0',)))
    expected = F.interpolate(large[None], (48, 80), mode='bilinear')[0, 0]
    torch.testing.assert_close(maps.depth[0], expected)
    torch.testing.assert_close(
        maps.depth[1:], stand_in()(images[1][None], small.select(('camera1',)))
    )
    assert torch.equal(both.features.images[1], images[1])
    assert maps.features.shape == (2, 3, 6, 10)


@pytest.mark.parametrize('preset', ['talk2dino', 'featup'])
def test_presets_load_from_the_cache_without_network(preset, tmp_path, monkeypatch):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    monkeypatch.setenv('GAUSSTR_CACHE', str(tmp_path))
    monkeypatch.setenv('GAUSSTR_OFFLINE', '1')
    with pytest.raises(ValueError, match=f'place it at {tmp_path}'):
        getattr(released, preset)()
    files.write_dinov2(cache_folder())
    files.write_clip(cache_folder())
    files.write_featup(cache_folder())
    files.write_metric3d(cache_folder(), (56, 112))
    both = getattr(released, preset)()
    stride = {'talk2dino': 14, 'featup': 16}[preset]
    images = torch.randint(0, 256, (1, 3 * stride, 4 * stride, 3), dtype=torch.uint8)
    cameras = rig([tuple(images.shape[1:3])])
    maps = both(images, cameras)
    assert maps.features.shape == (1, both.feature_dim, 3, 4)
    assert torch.isfinite(maps.features).all()
    torch.testing.assert_close(maps.depth, stand_in((56, 112))(images, cameras))
    again = getattr(released, preset)(tmp_path)
    assert torch.equal(again(images, cameras).features, maps.features)


def test_other_depth_networks_are_chosen_by_name(tmp_path):
    files.write_dinov2(tmp_path)
    files.write_depth_anything(tmp_path)
    both = released.talk2dino(tmp_path, depth='depth-anything')
    assert both.depth.name.startswith('Depth Anything')
    with pytest.raises(
        ValueError, match=r'depth must be one of metric3d, .*, depth-anything, .*, none'
    ):
        released.talk2dino(tmp_path, depth='sonar')


def full_size(preset, device):
    both = random_foundation(preset, stand_in()).to(device)
    images = [torch.randint(0, 256, (900, 1600, 3), dtype=torch.uint8)]
    maps, _ = both.encode(images, rig([(900, 1600)]), device)
    assert maps.features.shape == (1, *SHAPES[preset])
    assert both.feature_dim == SHAPES[preset][0] and maps.depth.shape == (1, *both.input_size)
    assert torch.isfinite(maps.features).all() and maps.features.std() > 0
    assert (maps.depth > 0).all() and maps.features.device.type == device


@pytest.mark.slow
@pytest.mark.parametrize('preset', ['talk2dino', 'featup'])
def test_full_size_with_random_weights(preset):
    full_size(preset, 'cpu')


@pytest.mark.gpu
@pytest.mark.parametrize('preset', ['talk2dino', 'featup'])
def test_full_size_on_a_gpu(preset):
    full_size(preset, 'cuda')


@pytest.mark.weights
@pytest.mark.parametrize(
    ('features', 'depth'),
    [
        ('talk2dino', 'metric3d'),
        ('featup', 'metric3d'),
        ('maskclip', 'metric3d-small'),
        ('talk2dino', 'depth-anything'),
    ],
)
def test_published_weights_load(features, depth):
    both = released.foundation(features, depth=depth)
    images = [torch.randint(0, 256, (900, 1600, 3), dtype=torch.uint8)]
    maps, _ = both.encode(images, rig([(900, 1600)]))
    assert torch.isfinite(maps.features).all() and (maps.depth > 0).all()
