"""The released formulation, part by part: units of the official code, and worked numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import (
    FoundationMaps,
    Gaussians,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from gausstr_core.transformer.deformable import DeformableAttention, grid_sample_attention
from gausstr_core.transformer.full.formulation import PAPER, RELEASED, Formulation
from gausstr_core.transformer.full.image_position import clamped_logit, moved, sine_code
from gausstr_core.transformer.full.pyramid import PixelNorm, Pyramid
from gausstr_core.transformer.full.transformer import FullConfig, FullTransformer
from gausstr_core.transformer.reference_points import spread_points
from gausstr_core.transformer.sampling import sample

SIZE = (24, 40)
TINY = FullConfig(feature_dim=12, dim=16, queries=9, layers=2, hidden=24, reduced=6)


@pytest.fixture(scope='module')
def units(shared: Path) -> dict[str, torch.Tensor]:
    path = shared / 'reference' / 'units.npz'
    if not path.exists():
        pytest.skip(f'no reference numbers at {path}')
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def make_rig(count: int) -> CameraRig:
    """Level cameras on a circle, each looking outwards."""
    height, width = SIZE
    intrinsics = torch.tensor([[30.0, 0, width / 2], [0, 30.0, height / 2], [0, 0, 1]])
    poses = []
    for yaw in torch.arange(count) * (2 * math.pi / count):
        c, s = math.cos(yaw), math.sin(yaw)
        poses.append([[s, 0, c, c], [-c, 0, s, s], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    names = tuple(f'camera_{i}' for i in range(count))
    return CameraRig(names, intrinsics.repeat(count, 1, 1), torch.tensor(poses), (SIZE,) * count)


def make_maps(count: int, config: FullConfig = TINY) -> FoundationMaps:
    random = torch.Generator().manual_seed(1)
    features = torch.randn(count, config.feature_dim, 5, 7, generator=random)
    return FoundationMaps(features, 2 + 60 * torch.rand(count, *SIZE, generator=random))


def make_model(config: FullConfig = TINY) -> FullTransformer:
    torch.manual_seed(0)
    model = FullTransformer(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def run(model: FullTransformer, count: int = 3, **options) -> Gaussians:
    with torch.no_grad():
        return model.refine(make_maps(count), make_rig(count), **options)[-1].gaussians


def assert_same(ours: Gaussians, other: Gaussians, **tolerance) -> None:
    for name, value in vars(ours).items():
        torch.testing.assert_close(value, getattr(other, name), msg=name, **tolerance)


# --- units of the official code -------------------------------------------------------------


def test_unit_posenc(units: dict[str, torch.Tensor]) -> None:
    for name in ('posenc.out128', 'posenc.out32'):
        code = sine_code(units['posenc.in'], units[name].shape[-1])
        torch.testing.assert_close(code, units[name], atol=2e-6, rtol=0)


def test_unit_invsig(units: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(clamped_logit(units['invsig.in']), units['invsig.out'])


def geo_rig(units: dict[str, torch.Tensor], augmented: bool) -> CameraRig:
    intrinsics = units['geo.cam2img'][0, :, :3, :3]
    if augmented:
        pixels = units['geo.img_aug'][0, :, :3, :3].clone()
        pixels[:, :2, 2] = units['geo.img_aug'][0, :, :2, 3]
        intrinsics = pixels @ intrinsics
    names = tuple('abcdef')
    return CameraRig(names, intrinsics, units['geo.cam2ego'][0], ((900, 1600),) * 6)


@pytest.mark.parametrize(('name', 'augmented'), [('cam2world', True), ('cam2world_noaug', False)])
def test_unit_geo_cam2world(units: dict[str, torch.Tensor], name: str, augmented: bool) -> None:
    points = units['geo.points'][0]
    world = geo_rig(units, augmented).unproject(points[..., :2], points[..., 2])
    torch.testing.assert_close(world, units[f'geo.{name}'][0], atol=1e-4, rtol=1e-5)


def test_unit_geo_world2cam(units: dict[str, torch.Tensor]) -> None:
    rig = geo_rig(units, augmented=True)
    for index in range(6):
        pixels, _ = rig.project(units['geo.cam2world'][0, index])
        expected = units['geo.world2cam'][0, index]
        torch.testing.assert_close(pixels[index], expected, atol=2e-3, rtol=0)


def test_unit_geo_rotations(units: dict[str, torch.Tensor]) -> None:
    """geo.quat_wxyz, geo.rotmat_back; q and -q are one rotation."""
    rotation = units['geo.cam2ego'][0, :, :3, :3]
    same = (quaternion_from_matrix(rotation) * units['geo.quat_wxyz']).sum(-1).abs()
    torch.testing.assert_close(same, torch.ones(6), atol=1e-6, rtol=0)
    back = matrix_from_quaternion(units['geo.quat_wxyz'])
    torch.testing.assert_close(back, units['geo.rotmat_back'], atol=1e-6, rtol=0)


def test_unit_geo_cov(units: dict[str, torch.Tensor]) -> None:
    scales = units['geo.scales']
    turned = units['geo.quat_wxyz'][:, None].expand(-1, scales.shape[1], -1)
    count = scales.shape[0] * scales.shape[1]
    gaussians = Gaussians(
        torch.zeros(count, 3), scales.flatten(0, 1), turned.flatten(0, 1),
        torch.ones(count), torch.zeros(count, 1),
    )  # fmt: skip
    expected = units['geo.cov'].flatten(0, 1)
    torch.testing.assert_close(gaussians.covariances, expected, atol=1e-4, rtol=1e-5)


def test_unit_ras(units: dict[str, torch.Tensor]) -> None:
    """ras.viewmat, ras.K, ras.wh, ras.aug: resize by 0.07, then cut 3 columns and 7 rows."""
    scale, (cut_x, cut_y) = units['ras.aug'][0, 0, 0, 0], -units['ras.aug'][0, 0, :2, 3]
    width, height = (int(value) for value in units['ras.wh'])
    rig = geo_rig(units, augmented=False)
    rig = rig.resized(round(900 * scale.item()), round(1600 * scale.item()))
    rig = rig.cropped(int(cut_y), int(cut_x), height, width)
    torch.testing.assert_close(rig.intrinsics, units['ras.K'], atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(rig.camera_from_ego, units['ras.viewmat'], atol=1e-5, rtol=1e-5)
    full = torch.tensor([1600.0, 900.0]) * scale - torch.stack([cut_x, cut_y])
    assert full.round().int().tolist() == [width, height]


# --- worked numbers --------------------------------------------------------------------------


def test_sine_code_by_hand() -> None:
    """y first: (sin pi, cos pi), then x: (sin pi/2, cos pi/2)."""
    code = sine_code(torch.tensor([0.25, 0.5]), 4)
    torch.testing.assert_close(code, torch.tensor([0.0, -1, 1, 0]), atol=1e-6, rtol=0)


def test_points_moved_in_logits_stay_in_the_image() -> None:
    points = torch.tensor([[0.0, 1.0], [0.5, 0.25], [1.0, 0.0]])
    far = moved(points, torch.full((3, 2), 50.0))
    assert (far <= 1).all() and (far > 0.99).all()
    torch.testing.assert_close(moved(points[1], torch.zeros(2)), points[1])
    three = moved(torch.tensor([0.5, 0.5]), torch.tensor([math.log(3), -math.log(3)]))
    torch.testing.assert_close(three, torch.tensor([0.75, 0.25]))


def test_depth_beyond_the_border_is_zero_or_the_border() -> None:
    depth = torch.full((1, 1, 4, 4), 8.0)
    points = torch.tensor([[[0.0, 0.5], [0.0, 0.0], [0.5, 0.5]]])
    zeros = sample(depth, points, border=False)[0, :, 0]
    torch.testing.assert_close(zeros, torch.tensor([4.0, 2.0, 8.0]))
    torch.testing.assert_close(sample(depth, points)[0, :, 0], torch.full((3,), 8.0))


@pytest.mark.parametrize('count', [16, 140, 300])
def test_first_points_cover_the_image(count: int) -> None:
    """No box of four times the fair share is empty, none holds half the points."""
    points = spread_points(count)
    assert points.shape == (count, 2) and ((points > 0) & (points < 1)).all()
    side = max(1, math.isqrt(count // 4))
    cells = (points * side).long()
    filled = torch.bincount(cells[:, 0] * side + cells[:, 1], minlength=side * side)
    assert filled.min() >= 1 and filled.max() <= 3 * count / side**2


def test_pixel_norm_is_layer_norm_over_channels() -> None:
    x = torch.randn(2, 5, 3, 4) * 3 + 1
    norm = PixelNorm(5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    gap = x - x.mean(1, keepdim=True)
    unit = gap / (gap.square().mean(1, keepdim=True) + 1e-5).sqrt()
    expected = unit * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-5)


def test_pyramid_sizes_round_down() -> None:
    levels = Pyramid(8, 16)(torch.randn(2, 8, 5, 7))
    assert [tuple(level.shape) for level in levels] == [
        (2, 16, 20, 28), (2, 16, 10, 14), (2, 16, 5, 7), (2, 16, 2, 3)
    ]  # fmt: skip


def attention_inputs() -> tuple[DeformableAttention, list[torch.Tensor]]:
    torch.manual_seed(3)
    module = DeformableAttention(dim=16, heads=4, levels=2, points=3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    shapes = ((2, 5, 16), (2, 5, 2), (2, 16, 6, 9), (2, 16, 3, 4))
    leaves = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    # some look past the border, where the bias of the projection must not be read
    leaves[1] = torch.rand(shapes[1], dtype=torch.float64) * 1.2 - 0.1
    return module, leaves


def attended(way: str) -> list[torch.Tensor]:
    """Output, gradients of the inputs, gradients of the parameters."""
    module, leaves = attention_inputs()
    inputs = [leaf.requires_grad_() for leaf in leaves]
    query, reference, *memory = inputs
    if way == 'grid_sample':
        output = grid_sample_attention(module, query, reference, memory)
    else:
        module.sample_first = way == 'sample first'
        output = module(query, reference, memory)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).double()
    gradients = torch.autograd.grad((output * weight).sum(), [*inputs, *module.parameters()])
    return [output.detach(), *gradients]


@pytest.mark.parametrize('way', ['sample first', 'project first'])
def test_attention_equals_its_grid_sample_twin(way: str) -> None:
    for ours, twin in zip(attended(way), attended('grid_sample'), strict=True):
        torch.testing.assert_close(ours, twin)


# --- formulations ----------------------------------------------------------------------------


def test_two_runs_are_bit_identical() -> None:
    assert_same(run(make_model()), run(make_model()), atol=0, rtol=0)


def test_only_the_last_head_gives_the_same() -> None:
    for formulation in (RELEASED, PAPER):
        model = make_model(replace(TINY, formulation=formulation))
        assert_same(run(model, only_last=True), run(model), atol=0, rtol=0)


@pytest.mark.parametrize('formulation', [RELEASED, PAPER])
def test_scenes_in_one_batch_are_scenes_apart(formulation: Formulation) -> None:
    model = make_model(replace(TINY, formulation=formulation))
    maps, rig = make_maps(4), make_rig(4)
    with torch.no_grad():
        both = model.refine(maps, rig, scenes=2)[-1].gaussians
        for scene in (0, 1):
            part = slice(2 * scene, 2 * scene + 2)
            own = FoundationMaps(maps.features[part], maps.depth[part])
            apart = model.refine(own, rig.select(rig.names[part]))[-1].gaussians
            batched = both.select(torch.arange(len(apart)) + scene * len(apart))
            assert_same(batched, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(('formulation', 'touched'), [(RELEASED, False), (PAPER, True)])
def test_cameras_mix_only_in_the_paper(formulation: Formulation, touched: bool) -> None:
    model = make_model(replace(TINY, formulation=formulation))
    maps, rig = make_maps(3), make_rig(3)
    other = maps.features.clone()
    other[0] += 1
    with torch.no_grad():
        before = model(maps, rig)
        after = model(FoundationMaps(other, maps.depth), rig)
    elsewhere = slice(TINY.queries, None)
    changed = not torch.equal(before.means[elsewhere], after.means[elsewhere])
    assert changed == touched


def test_released_gaussians_turn_with_their_camera() -> None:
    cameras = quaternion_from_matrix(make_rig(3).ego_from_camera[:, :3, :3])
    turned = run(make_model()).rotations.unflatten(0, (3, -1))
    torch.testing.assert_close(turned, cameras[:, None].expand_as(turned))


def test_released_scales_follow_depth_and_focal_length() -> None:
    """7.5 to 120 pixels of a 1600 pixel wide image of the same view."""
    with torch.no_grad():
        output = make_model().refine(make_maps(2), make_rig(2))[-1]
    focal = 30.0 * 1600 / SIZE[1]
    pixels = (
        output.gaussians.scales.unflatten(0, (2, -1)) * focal / output.sampled_depth[..., None]
    )
    torch.testing.assert_close(pixels, 7.5 * output.raw_scales, rtol=1e-4, atol=1e-3)
    assert (output.raw_scales > 1).all() and (output.raw_scales < 16).all()


OPTIONS = [
    replace(RELEASED, **{name: getattr(PAPER, name)})
    for name in ('self_attention', 'position', 'rotation', 'scale', 'regress', 'depth_border')
]


@pytest.mark.parametrize('formulation', OPTIONS, ids=str)
def test_every_option_stands_alone(formulation: Formulation) -> None:
    """It runs, it matters, and all its parameters learn."""
    model = make_model(replace(TINY, formulation=formulation))
    ours = model.refine(make_maps(3), make_rig(3))[-1].gaussians
    released = run(make_model())
    assert any(not torch.equal(v.detach(), getattr(released, k)) for k, v in vars(ours).items())
    loss = sum((value * torch.randn_like(value)).sum() for value in vars(ours).values())
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    idle = {n for n, g in zip(names, gradients, strict=True) if g is None or not g.abs().sum()}
    # the loss reads the last head only; points pass from layer to layer without gradient
    assert all(name.startswith('heads.0.') for name in idle)


def test_first_points_may_be_given() -> None:
    points = torch.rand(3, TINY.queries, 2)
    assert not torch.equal(run(make_model(), reference=points).means, run(make_model()).means)
    fixed = spread_points(TINY.queries).expand(3, -1, -1)
    assert_same(run(make_model(), reference=fixed), run(make_model()), atol=0, rtol=0)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'features': (3, 11, 5, 7)}, r'features must be \[3, 12, h, w\].*got \(3, 11, 5, 7\)'),
        ({'features': (2, 12, 5, 7)}, r'features must be \[3, 12'),
        ({'depth': (3, 9, 9)}, r'depth must be \[3, H, W\] at the size of the rig \(24, 40\)'),
        ({'scenes': 2}, '3 cameras do not fall into 2 equal scenes'),
        ({'reference': (3, 4, 2)}, r'reference points must be \[3, 9, 2\], got \(3, 4, 2\)'),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    features = torch.ones(change.get('features', (3, 12, 5, 7)))
    depth = torch.ones(change.get('depth', (3, *SIZE)))
    options = {'scenes': change.get('scenes', 1)}
    if 'reference' in change:
        options['reference'] = torch.rand(change['reference'])
    with pytest.raises(ValueError, match=message):
        make_model().refine(FoundationMaps(features, depth), make_rig(3), **options)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="position must be one of image, mean, got '3'"):
        Formulation(position='3')
