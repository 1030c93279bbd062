from __future__ import annotations

import math

import foundation_files as files
import pytest
import torch
import torch.nn.functional as F

from gausstr_core.foundation.features.clip_vision import ClipVision
from gausstr_core.foundation.features.dinov2 import DinoV2Features
from gausstr_core.foundation.features.jbu import JointBilateralStack
from gausstr_core.foundation.features.maskclip import MaskClipFeatures
from gausstr_core.foundation.interface import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from gausstr_core.weights.tensors import fill, read_tensors, under

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')


def photographs(number, height, width):
    return torch.randint(0, 256, (number, height, width, 3), dtype=torch.uint8)


def by_hand(images, mean, std):
    planes = images.double() / 255
    return ((planes - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2).float()


def official_forward(p, images, heads, patch):
    """DINOv2 with registers, written out from its paper on the official names."""
    planes = by_hand(images, IMAGENET_MEAN, IMAGENET_STD)
    x = F.conv2d(planes, p['patch_embed.proj.weight'], p['patch_embed.proj.bias'], stride=patch)
    rows, columns = x.shape[2:]
    grid = math.isqrt(p['pos_embed'].shape[1] - 1)
    where = p['pos_embed'][:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    where = F.interpolate(where, (rows, columns), mode='bicubic', antialias=True)
    x = (x + where).flatten(2).transpose(1, 2)
    n, _, dim = x.shape
    start = (p['cls_token'] + p['pos_embed'][:, :1]).expand(n, -1, -1)
    x = torch.cat([start, p['register_tokens'].expand(n, -1, -1), x], 1)
    norm = lambda x, k: F.layer_norm(x, (dim,), p[f'{k}.weight'], p[f'{k}.bias'], 1e-6)  # noqa: E731
    linear = lambda x, k: F.linear(x, p[f'{k}.weight'], p[f'{k}.bias'])  # noqa: E731
    for i in range(sum(k.endswith('norm1.weight') for k in p)):
        b = f'blocks.{i}.'
        qkv = linear(norm(x, b + 'norm1'), b + 'attn.qkv')
        q, k, v = qkv.unflatten(-1, (3, heads, dim // heads)).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-1, -2)) / math.sqrt(dim // heads)).softmax(-1) @ v
        mixed = linear(mixed.transpose(1, 2).flatten(2), b + 'attn.proj')
        x = x + p[b + 'ls1.gamma'] * mixed
        hidden = F.gelu(linear(norm(x, b + 'norm2'), b + 'mlp.fc1'))
        x = x + p[b + 'ls2.gamma'] * linear(hidden, b + 'mlp.fc2')
    x = norm(x, 'norm')[:, 5:]
    return x.transpose(1, 2).reshape(n, dim, rows, columns)


@torch.no_grad()
@pytest.mark.parametrize('size', [(28, 56), (70, 70), (84, 42)])
def test_dinov2_computes_the_published_network(tmp_path, size):
    parameters = files.official_dinov2()
    files.write_official_dinov2(tmp_path, parameters)
    images = photographs(2, *size)
    network = DinoV2Features.from_folder(tmp_path)
    features = network(images, None)
    expected = official_forward(parameters, images, heads=2, patch=14)
    assert features.shape == (2, network.feature_dim, size[0] // 14, size[1] // 14)
    torch.testing.assert_close(features, expected, atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_dinov2_loads_from_the_cache_or_from_its_own_folder(tmp_path):
    path = files.write_dinov2(tmp_path)
    images = photographs(1, 28, 42)
    features = DinoV2Features.from_folder(tmp_path)(images, None)
    assert torch.equal(features, DinoV2Features.from_folder(path)(images, None))


def test_a_part_that_a_file_lacks_is_named(tmp_path):
    path = tmp_path / 'gausstr_talk2dino.pth'
    torch.save({'meta': {}, 'state_dict': {'neck.weight': torch.ones(1)}}, path)
    with pytest.raises(ValueError, match=r"gausstr_talk2dino\.pth has no name under 'encoder\.'"):
        under(read_tensors(path), 'encoder.', path)


def test_dinov2_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r'config\.json is not in .* place it at'):
        DinoV2Features.from_folder(tmp_path)
    good = files.official_dinov2()
    for faulty, message in (
        ({k: v for k, v in good.items() if k != 'blocks.1.norm2.bias'},
         r'missing encoder\.layer\.1\.norm2\.bias'),
        (good | {'norm.scale': torch.zeros(24)}, r'unexpected layernorm\.scale'),
        (good | {'norm.bias': torch.zeros(7)},
         r'layernorm\.bias has shape \(7,\), expected \(24,\)'),
        (good | {'norm.bias': torch.full((24,), float('nan'))}, r'layernorm\.bias is not finite'),
    ):  # fmt: skip
        files.write_official_dinov2(tmp_path, faulty)
        with pytest.raises(ValueError, match=message):
            DinoV2Features.from_folder(tmp_path)
    files.write_official_dinov2(tmp_path, good)
    network = DinoV2Features.from_folder(tmp_path)
    with pytest.raises(ValueError, match='multiples of 14 pixels, got 30x42'):
        network(photographs(1, 30, 42), None)
    with pytest.raises(ValueError, match='expected uint8 RGB'):
        network(torch.zeros(1, 28, 42, 3), None)


@torch.no_grad()
def test_the_image_tower_equals_open_clips(tmp_path):
    open_clip = pytest.importorskip('open_clip')
    path = files.write_clip(tmp_path)
    vision = open_clip.CLIPVisionCfg(layers=2, width=128, image_size=48, patch_size=16)
    text = open_clip.CLIPTextCfg(context_length=20, width=64, heads=1, layers=2)
    other = open_clip.CLIP(32, vision, text, quick_gelu=True).eval()
    other.load_state_dict(read_tensors(path))
    images = torch.randn(2, 3, 48, 48)
    tower = ClipVision.from_file(path)
    torch.testing.assert_close(tower(images), other.encode_image(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_dense_values_are_the_last_blocks_own_values(tmp_path):
    path = files.write_clip(tmp_path)
    tower = ClipVision.from_file(path)
    images = torch.randn(1, 3, 32, 64)
    p = under(read_tensors(path), 'visual.', path)
    grid = p['positional_embedding'][1:].T.reshape(1, -1, 3, 3)
    grid = F.interpolate(grid, scale_factor=(2.1 / 3, 4.1 / 3), mode='bicubic')
    x = F.conv2d(images, p['conv1.weight'], stride=16) + grid
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([(p['class_embedding'] + p['positional_embedding'][0])[None, None], x], 1)
    x = tower.transformer.resblocks[0](tower.ln_pre(x))
    b = 'transformer.resblocks.1.'
    y = F.layer_norm(x, (128,), p[b + 'ln_1.weight'], p[b + 'ln_1.bias'])
    y = y @ p[b + 'attn.in_proj_weight'][256:].T + p[b + 'attn.in_proj_bias'][256:]
    y = y @ p[b + 'attn.out_proj.weight'].T + p[b + 'attn.out_proj.bias']
    y = F.layer_norm(y, (128,), p['ln_post.weight'], p['ln_post.bias'])[:, 1:] @ p['proj']
    expected = y.reshape(1, 2, 4, 32).permute(0, 3, 1, 2)
    torch.testing.assert_close(tower.dense(images), expected, atol=1e-5, rtol=1e-5)


def bilateral_step(p, features, guide):
    """One step of FeatUp, pixel by pixel."""
    h, w = guide.shape[1:]
    mlp = lambda x, k: F.conv2d(  # noqa: E731
        F.gelu(F.conv2d(x[None], p[f'{k}.0.weight'], p[f'{k}.0.bias'])),
        p[f'{k}.3.weight'], p[f'{k}.3.bias'],
    )[0]  # fmt: skip
    keys = mlp(guide, 'range_proj')
    pad = lambda x: F.pad(x[None], [3] * 4, mode='reflect')[0]  # noqa: E731
    padded_keys = pad(keys)
    large = F.interpolate(features[None], (h, w), mode='bicubic')[0]
    padded = pad(large)
    line = torch.linspace(-1, 1, 7)
    near = torch.exp(-(line[:, None] ** 2 + line**2) / (2 * p['sigma_spatial'] ** 2)).flatten()
    out = torch.zeros_like(large)
    for y in range(h):
        for x in range(w):
            alike = (padded_keys[:, y : y + 7, x : x + 7] * keys[:, y, x, None, None]).sum(0)
            weights = (p['range_temp'].exp() * alike.flatten()).softmax(0) * near
            weights = weights / weights.sum()
            more = mlp(torch.cat([weights, guide[:, y, x]])[:, None, None], 'fixup_proj')
            weights = weights + 0.1 * more.flatten()
            out[:, y, x] = (padded[:, y : y + 7, x : x + 7] * weights.view(7, 7)).sum((1, 2))
    return out


@torch.no_grad()
def test_the_upsampler_computes_featups_definition(tmp_path):
    path = files.write_featup(tmp_path, channels=5)
    p = under(read_tensors(path), 'upsampler.', path)
    stack = JointBilateralStack(5).eval()
    fill(stack, p, path)
    features, image = torch.randn(1, 5, 2, 2), torch.randn(1, 3, 32, 32)
    x = features[0]
    for step in range(1, 5):
        guide = F.avg_pool2d(image, 32 // (x.shape[1] * 2))[0]
        x = bilateral_step(under(p, f'up{step}.', path), x, guide)
    x = x + 0.1 * F.conv2d(x, p['fixup_proj.1.weight'], p['fixup_proj.1.bias'])
    torch.testing.assert_close(stack(features, image)[0], x, atol=1e-5, rtol=1e-5)
    pooled = F.avg_pool2d(x, 16)
    torch.testing.assert_close(stack.pooled(features, image, 16)[0], pooled, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_maskclip_features_from_the_published_files(tmp_path):
    clip, featup = files.write_clip(tmp_path), files.write_featup(tmp_path)
    network = MaskClipFeatures.from_folder(tmp_path)
    images = photographs(2, 32, 64)
    planes = by_hand(images, CLIP_MEAN, CLIP_STD)
    stack = JointBilateralStack(32).eval()
    fill(stack, under(read_tensors(featup), 'upsampler.', featup), featup)
    expected = F.avg_pool2d(stack(ClipVision.from_file(clip).dense(planes), planes), 16)
    features = network(images, None)
    assert features.shape == (2, network.feature_dim, 2, 4)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match='multiples of 16 pixels'):
        network(photographs(1, 32, 40), None)


def test_a_featup_file_of_other_width_is_refused_by_name(tmp_path):
    files.write_clip(tmp_path)
    path = files.write_featup(tmp_path, channels=8)
    with pytest.raises(ValueError, match=rf'{path.name} does not fit JointBilateralStack: fixup'):
        MaskClipFeatures.from_folder(tmp_path)
