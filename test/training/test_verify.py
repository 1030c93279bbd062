"""gausstr-verify on recorded cases, and on cases written here by a plain model of our own.

The plain model is written from the specification alone, with official parameter names and torch's
own layers: it shares no code with the model under test.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, to_official
from gausstr_core.transformer.full.transformer import FullConfig, FullTransformer
from gausstr_training.verification.comparison import compare, relative_error
from gausstr_training.verify import main

Arrays = dict[str, torch.Tensor]


class PlainModel:
    """The released model, one step after the other."""

    def __init__(self, state: Arrays) -> None:
        self.state = state

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    def mlp(self, name: str, x: torch.Tensor) -> torch.Tensor:
        hidden = self.linear(f'{name}.layers.0', x).relu()
        return self.linear(f'{name}.layers.1', hidden)

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.state[f'{name}.weight'], self.state[f'{name}.bias']
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    def norm2d(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.norm(name, x.movedim(1, -1)).movedim(-1, 1)

    def up(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.state[f'{name}.weight'], self.state[f'{name}.bias']
        return F.conv_transpose2d(x, weight, bias, stride=2)

    def neck(self, x: torch.Tensor) -> list[torch.Tensor]:
        first = self.norm2d('neck.scale_convs.0.1', self.up('neck.scale_convs.0.0', x))
        branches = [
            self.up('neck.scale_convs.0.3', F.gelu(first)),
            self.up('neck.scale_convs.1', x),
            x,
            F.max_pool2d(x, 2, 2),
        ]
        levels = []
        for i, branch in enumerate(branches):
            for part, pad in (('lateral', 0), ('fpn', 1)):
                name = f'neck.{part}_convs.{i}'
                branch = F.conv2d(branch, self.state[f'{name}.conv.weight'], padding=pad)
                branch = self.norm2d(f'{name}.norm_layer', branch)
            levels.append(branch)
        return levels

    def cross(self, name: str, query: torch.Tensor, points: torch.Tensor, memory) -> torch.Tensor:
        m, q, d = query.shape
        offsets = self.linear(f'{name}.sampling_offsets', query).view(m, q, 8, 4, -1, 2)
        weights = self.linear(f'{name}.attention_weights', query).view(m, q, 8, -1)
        weights = weights.softmax(-1).view(m, q, 8, 4, -1)
        total = torch.zeros(m, q, 8, d // 8)
        for level, values in enumerate(memory):
            height, width = values.shape[-2:]
            value = self.linear(f'{name}.value_proj', values.movedim(1, -1))
            image = value.unflatten(-1, (8, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)
            where = points[:, :, None, None] + offsets[:, :, :, level] / torch.tensor(
                [width, height]
            )
            grid = (2 * where - 1).transpose(1, 2).flatten(0, 1)
            read = F.grid_sample(image, grid, align_corners=False).unflatten(0, (m, 8))
            share = weights[:, :, :, level].transpose(1, 2)[:, :, None]
            total = total + (read * share).sum(-1).permute(0, 3, 1, 2)
        return self.linear(f'{name}.output_proj', total.flatten(2))

    def attend(self, name: str, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        layer = torch.nn.MultiheadAttention(x.shape[-1], 8, batch_first=True)
        layer.load_state_dict(
            {k[len(name) + 1 :]: v for k, v in self.state.items() if k.startswith(f'{name}.')}
        )
        return layer(x + position, x + position, x)[0]

    def position(self, points: torch.Tensor, dim: int) -> torch.Tensor:
        codes = []
        for axis in (1, 0):
            code = torch.zeros(*points.shape[:-1], dim // 2)
            for j in range(dim // 2):
                angle = 2 * np.pi * points[..., axis] / 10000 ** (2 * (j // 2) / (dim // 2))
                code[..., j] = angle.cos() if j % 2 else angle.sin()
            codes.append(code)
        return self.mlp('decoder.ref_point_head', torch.cat(codes, -1))

    def move(self, points: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        logit = points.clamp(min=1e-5).log() - (1 - points).clamp(min=1e-5).log()
        return (logit + step).sigmoid()

    def run(self, inputs: Arrays, points: torch.Tensor) -> tuple[Arrays, Arrays]:
        """Arrays of predict.npz up to the voxels, and those of loss.npz without pictures."""
        b, n = inputs['depth'].shape[:2]
        memory = self.neck(inputs['feats'].flatten(0, 1))
        shapes = torch.tensor([level.shape[-2:] for level in memory])
        out = {'reference_points_init': points, 'spatial_shapes': shapes}
        out |= {f'neck.level{i}': level for i, level in enumerate(memory)}
        query = self.state['query_embeds.weight'].expand(b * n, -1, -1)
        heads: Arrays = {}
        for i in range(sum('.norms.0.weight' in key for key in self.state)):
            name, stage = f'decoder.layers.{i}', f'layer{i}'
            place = out[f'{stage}.query_pos'] = self.position(points, query.shape[-1])
            x = query + self.cross(f'{name}.cross_attn', query + place, points, memory)
            out[f'{stage}.cross_attn'] = x
            x = out[f'{stage}.after_norm0'] = self.norm(f'{name}.norms.0', x)
            x = out[f'{stage}.self_attn'] = x + self.attend(f'{name}.self_attn.attn', x, place)
            x = out[f'{stage}.after_norm1'] = self.norm(f'{name}.norms.1', x)
            hidden = self.linear(f'{name}.ffn.layers.0.0', x).relu()
            x = x + self.linear(f'{name}.ffn.layers.1', hidden)
            query = out[f'{stage}.query'] = self.norm(f'{name}.norms.2', x)
            raw = out[f'{stage}.regress_raw'] = self.mlp(f'gauss_heads.{i}.regress_head', query)
            points = out[f'{stage}.reference_points_out'] = self.move(points, raw[..., :2])
            normed = out[f'{stage}.query_normed'] = self.norm('decoder.norm', query)
            found = self.head(f'gauss_heads.{i}', normed, points, inputs)
            heads |= {f'head{i}.{key}': value for key, value in found.items()}
        for key in ('means3d', 'covariances'):
            out[f'voxelizer.in.{key}'] = found[key].reshape(b, -1, *found[key].shape[-1:])
        out['voxelizer.in.covariances'] = found['covariances'].flatten(1, 2)
        out['voxelizer.in.opacities'] = found['opacities'][..., None]
        logits = found['features'] @ self.state['gauss_heads.0.text_proto_embeds']
        out['voxelizer.in.features'] = logits.softmax(-1).flatten(1, 2)
        return out, heads

    def head(self, name: str, x: torch.Tensor, points: torch.Tensor, inputs: Arrays) -> Arrays:
        b, n, height, width = inputs['depth'].shape
        deltas = self.mlp(f'{name}.regress_head', x)
        points = self.move(points, deltas[..., :2])
        depth = inputs['depth'].flatten(0, 1)[:, None].clamp(max=51.2)
        d = F.grid_sample(depth, 2 * points[:, :, None] - 1, align_corners=False)[:, 0, :, 0]
        camera, turn, pixels = (
            inputs[key].flatten(0, 1) for key in ('cam2img', 'cam2ego', 'img_aug_mat')
        )
        p = torch.stack([points[..., 0] * width, points[..., 1] * height, torch.ones_like(d)], -1)
        p = (p - F.pad(pixels[:, None, :2, 3], (0, 1))) @ pixels[:, :3, :3].inverse().mT
        p = (p @ camera[:, :3, :3].inverse().mT) * (d * (1 + deltas[..., 2]))[..., None]
        rotation = turn[:, :3, :3]
        means = p @ rotation.mT + turn[:, None, :3, 3]
        raw = 1 + 15 * self.mlp(f'{name}.scale_head', x).sigmoid()
        scales = raw * (d * 7.5 / camera[:, :1, 0]).clamp(min=1e-6)[..., None]
        half = rotation[:, None] * scales[..., None, :]
        per_view = {
            'deltas': deltas, 'ref_pts': points, 'sample_depth': d, 'scale_raw': raw,
            'features': self.mlp(f'{name}.feature_head', x), 'covariances': half @ half.mT,
        }  # fmt: skip
        flat = {
            'means3d': means, 'scales': scales,
            'opacities': self.mlp(f'{name}.opacity_head', x).sigmoid()[..., 0],
        }  # fmt: skip
        found = {key: value.unflatten(0, (b, n)) for key, value in per_view.items()}
        return found | {k: v.unflatten(0, (b, n)).flatten(1, 2) for k, v in flat.items()}


def make_inputs(b: int, n: int, h: int, w: int, patch: int, channels: int, scale: float) -> Arrays:
    """Cameras that look around, images shifted a little; noise for features, rolling depth."""
    hills = 1 + 70 * torch.rand(b * n, 1, 4, 5)
    depth = F.interpolate(hills, (h * patch, w * patch), mode='bilinear')
    yaw = torch.arange(n) * 0.9
    c, s, o, e = yaw.cos(), yaw.sin(), torch.zeros(n), torch.ones(n)
    rows = [[s, o, c, c], [-c, o, s, s], [o, -e, o, 1.5 * e], [o, o, o, e]]
    pose = torch.stack([torch.stack(row, -1) for row in rows], -2).repeat(b, 1, 1, 1)
    camera = torch.eye(4).repeat(b, n, 1, 1)
    camera[..., 0, 0] = camera[..., 1, 1] = 1200 + 50 * torch.rand(b, n)
    camera[..., 0, 2], camera[..., 1, 2] = 810, 480
    pixels = torch.eye(4).repeat(b, n, 1, 1)
    pixels[..., :2, :2] *= scale
    pixels[..., 0, 3], pixels[..., 1, 3] = -3, -5
    return {
        'cam2img': camera, 'cam2ego': pose, 'img_aug_mat': pixels,
        'depth': depth[:, 0].unflatten(0, (b, n)),
        'feats': torch.randn(b, n, channels, h, w),
    }  # fmt: skip


def noisy(value: torch.Tensor) -> torch.Tensor:
    """A start no longer special, of a size that keeps activations near one at every width."""
    spread = 0.1 if value.dim() == 1 else 0.7 * value[0].numel() ** -0.5
    return value + spread * torch.randn_like(value)


def write_case(prefix: Path, config: FullConfig, inputs: Arrays) -> None:
    """All files of a case but the gradients, by the plain model."""
    state = {name: noisy(value) for name, value in FullTransformer(config).state_dict().items()}
    official = to_official(Checkpoint(config, state, torch.randn(21, config.feature_dim)))
    save_file(official, f'{prefix}.state_dict.safetensors')
    b, n = inputs['depth'].shape[:2]
    points = torch.rand(b * n, config.queries, 2)
    predicted, heads = PlainModel(official).run(inputs, points)
    for i in range(config.layers):
        heads[f'head{i}.pca_v'] = torch.linalg.qr(torch.randn(config.feature_dim, 6)).Q.double()
    files = {'inputs': inputs, 'predict': predicted, 'loss': heads}
    for name, arrays in files.items():
        np.savez(f'{prefix}.{name}.npz', **{k: v.numpy() for k, v in arrays.items()})
    spec = {'variant': 'talk2dino', 'small': {'voxel_size': 0.8}}
    Path(f'{prefix}.meta.json').write_text(json.dumps({'which': prefix.name, 'spec': spec}))


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A small case: one scene, two cameras, odd sizes."""
    config = FullConfig(feature_dim=12, dim=32, queries=5, layers=2, hidden=20, points=2)
    with torch.no_grad():
        write_case(tmp_path / 'mine', config, make_inputs(1, 2, 3, 5, 7, 12, 0.05))
    return tmp_path / 'mine'


def verdict(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and what was printed."""
    try:
        main(list(arguments))
        status = 0
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def change(prefix: Path, ending: str, name: str, value: np.ndarray | None) -> None:
    """Rewrite one array of an npz file, or drop it."""
    path = Path(f'{prefix}.{ending}.npz')
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != name}
    np.savez(path, **arrays, **({} if value is None else {name: value}))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['small_talk2dino', 'small_featup'])
def test_recorded_cases_reproduce(
    shared: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    prefix = shared / 'reference' / name
    if not Path(f'{prefix}.meta.json').exists():
        pytest.skip(f'no reference case at {prefix}')
    status, printed = verdict(capsys, str(prefix))
    assert status == 0, printed
    stages = ['neck', 'layer2', 'voxelizer', 'preds', 'head2', 'loss', 'gradients']
    for stage in [*stages, 'end to end']:
        assert f'| {stage} |' in printed
    assert '0 of 160000 labels differ' in printed or '0 of 80000 labels differ' in printed


@pytest.mark.parametrize(
    ('b', 'n', 'h', 'w', 'patch', 'config'),
    [
        (1, 1, 2, 3, 16, FullConfig(feature_dim=8, dim=16, queries=1, layers=1, hidden=8)),
        (3, 2, 5, 4, 14, FullConfig(feature_dim=20, dim=32, queries=11, layers=2, hidden=40)),
        (1, 7, 3, 9, 8, FullConfig(feature_dim=16, dim=64, queries=6, layers=4, hidden=16)),
    ],
)
def test_other_sizes_reproduce(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], b, n, h, w, patch, config: FullConfig
) -> None:
    with torch.no_grad():
        inputs = make_inputs(b, n, h, w, patch, config.feature_dim, 0.04 + 0.01 * n)
        write_case(tmp_path / 'other', config, inputs)
    status, printed = verdict(capsys, str(tmp_path / 'other'))
    assert status == 0, printed
    assert 'skipped: other.grads.safetensors is not there' in printed


@pytest.mark.parametrize('dtype', ['float64', 'bfloat16'])
def test_precision_is_an_option(
    case: Path, capsys: pytest.CaptureFixture[str], dtype: str
) -> None:
    """Double precision passes; bfloat16 runs, and is seen not to be as exact."""
    status, printed = verdict(capsys, str(case), '--dtype', dtype)
    assert status == (0 if dtype == 'float64' else 1), printed
    assert dtype in printed


def test_a_wrong_array_fails_by_name(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(f'{case}.predict.npz') as file:
        wrong = file['layer1.self_attn'].copy()
    wrong[0, 0, 0] += 0.1
    change(case, 'predict', 'layer1.self_attn', wrong)
    status, printed = verdict(capsys, str(case))
    assert status == 1 and '1 beyond tolerance' in printed
    assert '  layer1.self_attn: ' in printed


def test_an_array_that_we_lack_fails_by_name(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(case, 'loss', 'head0.colour', np.ones(3))
    status, printed = verdict(capsys, str(case))
    assert status == 1 and 'head0.colour' in printed and 'no such array' in printed


def test_another_checkpoint_fails(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = f'{case}.state_dict.safetensors'
    state = load_file(path)
    state['decoder.layers.1.norms.2.bias'] += 0.01
    save_file(state, path)
    status, printed = verdict(capsys, str(case))
    assert status == 1 and 'layer1.query' in printed and '  layer0.query' not in printed


def test_rounding_is_told_from_mistakes(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond the tolerance, an array is judged by what float32 alone does to ours."""
    Path(f'{case}.loss.npz').unlink()
    strict = (str(case), '--tolerance', '1e-8')
    status, printed = verdict(capsys, *strict)
    assert status == 0 and 'float32 alone makes' in printed, printed
    with np.load(f'{case}.predict.npz') as file:
        wrong = file['layer1.query'].copy()
    wrong[0, 0, 0] *= 1.0001
    change(case, 'predict', 'layer1.query', wrong)
    status, printed = verdict(capsys, *strict)
    assert status == 1 and '  layer1.query: ' in printed, printed


def test_missing_files_are_skipped_by_name(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(f'{case}.loss.npz', f'{case}.elsewhere')
    status, printed = verdict(capsys, str(case))
    assert status == 0
    assert 'skipped: mine.loss.npz is not there' in printed
    Path(f'{case}.predict.npz').unlink()
    status, printed = verdict(capsys, str(case))
    assert status == 2 and 'nothing to compare' in printed


def test_drawn_points_stand_in_for_stored_ones(case: Path) -> None:
    """Without predict.npz the points come from the seed, as the released code drew them."""
    from gausstr_training.verification.case import load_case
    from gausstr_training.verification.stages import reference_points

    drawn = reference_points(load_case(str(case)), None)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(2, 5, 2))


@pytest.mark.parametrize(
    ('ending', 'content', 'message'),
    [
        ('meta.json', b'{', 'mine.meta.json cannot be read'),
        ('meta.json', b'{"spec": {"variant": "new"}}', 'must be one of talk2dino, featup'),
        ('inputs.npz', b'PK', 'mine.inputs.npz cannot be read as npz'),
        ('state_dict.safetensors', b'1', 'cannot be read as weights'),
        ('state_dict.safetensors', None, 'no file of weights at'),
        ('inputs.npz', None, 'mine.inputs.npz cannot be read as npz'),
    ],
)
def test_damaged_files_are_named(
    case: Path, capsys: pytest.CaptureFixture[str], ending: str, content: bytes, message: str
) -> None:
    path = Path(f'{case}.{ending}')
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    status, printed = verdict(capsys, str(case))
    assert status == 2 and message in printed


def test_missing_input_is_named(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(case, 'inputs', 'cam2ego', None)
    status, printed = verdict(capsys, str(case))
    assert status == 2 and 'lacks cam2ego' in printed


def test_errors_are_relative_and_nan_never_passes() -> None:
    reference = torch.tensor([1.0, -4.0])
    assert relative_error(torch.tensor([1.0, -3.0]), reference) == 0.25
    assert relative_error(torch.tensor([torch.nan, -4.0]), reference) == np.inf
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0
    assert relative_error(torch.ones(2), torch.zeros(2)) == np.inf


def test_labels_count_and_ties_are_allowed_only_in_whole_grids() -> None:
    truth = torch.zeros(640_000, dtype=torch.uint8)
    ours = truth.clone()
    ours[:20] = 1
    (row,) = compare({'preds': ours}, {'preds': truth}, 1e-4)
    assert row.good and row.error == 20
    (row,) = compare({'preds': ours[:1000]}, {'preds': truth[:1000]}, 1e-4)
    assert not row.good and '20 of 1000 labels differ' in row.remark


def test_a_quaternion_and_its_negative_are_one_rotation() -> None:
    reference = torch.tensor([[0.5, 0.5, -0.5, 0.5]])
    for turned, good in ((-reference, True), (reference.flip(-1), False)):
        (row,) = compare({'head0.rotations': turned}, {'head0.rotations': reference}, 1e-4)
        assert row.good == good


def test_a_pixel_may_tie_where_a_gaussian_begins_to_be_drawn() -> None:
    image = torch.rand(1, 2, 3, 40, 50) + 1
    for change, pixels, good in ((0.003, 1, True), (0.003, 2, False), (0.02, 1, False)):
        ours = image.clone()
        ours[0, 0, :, 0, :pixels] += change
        (row,) = compare({'head0.rendered': ours}, {'head0.rendered': image}, 1e-4)
        assert row.good == good
        assert ('1 of 4000 pixels tie' in row.remark) == good
        (row,) = compare({'head0.scales': ours}, {'head0.scales': image}, 1e-4)
        assert not row.good
