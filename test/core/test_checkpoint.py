"""Official checkpoints: every key has its place, and what is wrong with one is said."""

from __future__ import annotations

import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gausstr_core.transformer.checkpoints import checkpoint
from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, from_official, to_official
from gausstr_core.transformer.checkpoints.convert import main
from gausstr_core.transformer.full.formulation import PAPER
from gausstr_core.transformer.full.transformer import (
    FEATUP,
    TALK2DINO,
    FullConfig,
    FullTransformer,
)

SMALL = FullConfig(feature_dim=12, dim=16, queries=7, layers=2, hidden=24, reduced=5, segments=4)


def official(config: FullConfig = SMALL) -> dict[str, torch.Tensor]:
    """A random official state dict, prototypes [C, 21] and the voxeliser's range included."""
    torch.manual_seed(0)
    state = FullTransformer(config).state_dict()
    filled = {name: torch.randn_like(value) for name, value in state.items()}
    tensors = to_official(Checkpoint(config, filled, torch.randn(21, config.feature_dim)))
    volume = torch.tensor([-40, -40, -1, 40, 40, 5.4])
    for i in range(config.layers):
        tensors[f'gauss_heads.{i}.voxelizer.vol_range'] = volume.clone()
    return tensors


def refused(tensors: dict[str, torch.Tensor], **options) -> str:
    with pytest.raises(ValueError) as caught:
        from_official(tensors, 'some.pth', **options)
    return str(caught.value)


@pytest.mark.parametrize(('name', 'config'), [('talk2dino', TALK2DINO), ('featup', FEATUP)])
def test_full_key_list(shared: Path, name: str, config: FullConfig) -> None:
    """Names and shapes of the released models, and nothing else."""
    path = shared / 'reference' / f'state_dict_full_{name}.txt'
    if not path.exists():
        pytest.skip(f'no list of keys at {path}')
    rows = [line.split('\t') for line in path.read_text().splitlines() if line[0] != '#']
    listed = {row[0]: tuple(map(int, re.findall(r'\d+', row[1]))) for row in rows}
    with torch.device('meta'):
        state = FullTransformer(config).state_dict()
        prototypes = torch.empty(21, config.feature_dim)
    ours = {
        k: tuple(v.shape) for k, v in to_official(Checkpoint(config, state, prototypes)).items()
    }
    assert ours == {k: v for k, v in listed.items() if '.voxelizer.' not in k}
    zeros = {name: torch.zeros(shape) for name, shape in listed.items()}
    assert from_official(zeros, 'zeros').config == config


def test_there_and_back_is_exact() -> None:
    tensors = official()
    found = from_official(tensors, 'some.pth')
    assert found.config == SMALL
    back = to_official(found)
    assert back.keys() == {name for name in tensors if 'voxelizer' not in name}
    for name, value in back.items():
        assert torch.equal(value, tensors[name]), name
    found.model()  # every parameter has its place


def test_what_says_nothing_may_come_or_not() -> None:
    tensors = official()
    plain = {k: v for k, v in tensors.items() if 'voxelizer' not in k}
    full = {
        **tensors,
        'backbone.patch_embed.proj.weight': torch.ones(3),
        'gauss_heads.1.voxelizer.grid_coords': torch.ones(2, 2, 2, 3),
    }
    for other in (plain, full):
        state = from_official(other, 'some.pth').state
        assert all(torch.equal(v, state[k]) for k, v in from_official(tensors, '').state.items())


def test_renamed_key_is_named() -> None:
    tensors = official()
    tensors['decoder.layers.7.ffn.layers.1.bias'] = tensors.pop(
        'decoder.layers.1.ffn.layers.1.bias'
    )
    lines = refused(tensors).splitlines()
    assert lines[0].startswith('some.pth')
    assert [line.strip() for line in lines[1:]] == [
        'missing: decoder.layers.1.ffn.layers.1.bias [16]',
        'unexpected: decoder.layers.7.ffn.layers.1.bias [16]',
    ]


@pytest.mark.parametrize(
    'name',
    [
        'query_embeds.weight',
        'neck.lateral_convs.2.conv.weight',
        'gauss_heads.0.feature_head.layers.1.weight',
        'decoder.layers.0.self_attn.attn.in_proj_weight',
    ],
)
def test_transposed_tensor_is_named_alone(name: str) -> None:
    tensors = official()
    tensors[name] = tensors[name].transpose(0, 1).contiguous()
    lines = refused(tensors).splitlines()[1:]
    assert len(lines) == 1
    assert f'misshapen: {name} must be' in lines[0] and 'it is transposed' in lines[0]


def test_not_a_number_is_named() -> None:
    tensors = official()
    tensors['decoder.norm.bias'][3] = torch.nan
    assert 'not finite: decoder.norm.bias has 1 NaN or infinite values' in refused(tensors)


def test_all_faults_are_listed_at_once() -> None:
    tensors = official()
    names = [name for name in tensors if name.startswith('gauss_heads.0.opacity_head')]
    for name in names:
        del tensors[name]
    tensors['surplus'] = torch.ones(1)
    message = refused(tensors)
    assert all(f'missing: {name}' in message for name in names)
    assert 'unexpected: surplus [1]' in message


def test_another_size_than_asked_for_is_refused() -> None:
    message = refused(official(), config=replace(SMALL, queries=8))
    assert 'query_embeds.weight must be [8, 16], got [7, 16]' in message


def test_what_is_no_checkpoint_is_refused() -> None:
    assert 'not a GaussTR checkpoint' in refused({'a': torch.ones(2)})


def test_prototypes_of_the_heads_must_agree() -> None:
    tensors = official()
    tensors['gauss_heads.1.text_proto_embeds'] = torch.zeros(12, 21)
    assert 'text prototypes' in refused(tensors) and 'differ' in refused(tensors)


def test_the_paper_has_no_official_names() -> None:
    config = replace(SMALL, formulation=PAPER)
    state = FullTransformer(config).state_dict()
    with pytest.raises(ValueError, match=r'no place for .*heads\.0\.turn'):
        to_official(Checkpoint(config, state, None))


# --- files -----------------------------------------------------------------------------------


def converted(tmp_path: Path, content: object, *more: str) -> Checkpoint:
    source, target = tmp_path / 'official.pth', tmp_path / 'ours.safetensors'
    torch.save(content, source)
    main([str(source), str(target), *more])
    return checkpoint.load(target)


def test_command_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = official()
    ours = converted(tmp_path, {'meta': {'epoch': 20}, 'state_dict': tensors})
    assert ours.config == SMALL
    assert torch.equal(ours.prototypes, tensors['gauss_heads.0.text_proto_embeds'].T)
    again = tmp_path / 'again.safetensors'
    main(['--back', str(tmp_path / 'ours.safetensors'), str(again)])
    for name, value in load_file(again).items():
        assert torch.equal(value, tensors[name]), name
    assert '21 text prototypes' in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'again.safetensors', 'official.pth', 'ours.safetensors'
    ]  # fmt: skip


def test_command_reads_safetensors_and_prototypes_apart(tmp_path: Path) -> None:
    tensors = {k: v for k, v in official().items() if 'text_proto' not in k}
    save_file(tensors, tmp_path / 'official.safetensors')
    words = torch.randn(12, 5)
    torch.save(words, tmp_path / 'words.pth')
    target = tmp_path / 'ours.safetensors'
    words_option = ['--prototypes', str(tmp_path / 'words.pth')]
    main([str(tmp_path / 'official.safetensors'), str(target), *words_option])
    assert torch.equal(checkpoint.load(target).prototypes, words.T)
    torch.save(words.T.contiguous(), tmp_path / 'words.pth')
    with pytest.raises(SystemExit, match=r'text prototypes must be \[12, K\].*transposed'):
        main([str(tmp_path / 'official.safetensors'), str(target), *words_option])


class Payload:
    """Unpickling it would run a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_pickled_payload_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / 'ran'
    content = {'state_dict': official(), 'meta': Payload(mark)}
    with pytest.raises(SystemExit, match=r'official\.pth is refused.*could run code'):
        converted(tmp_path, content)
    assert not mark.exists()


def test_what_mmengine_pickles_beside_the_weights_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log buffers of mmengine and numpy arrays; mmengine itself need not be installed."""
    name = 'mmengine.logging.history_buffer'
    module = types.ModuleType(name)
    module.HistoryBuffer = type(
        'HistoryBuffer', (), {'__module__': name, '__setstate__': lambda *_: 1 / 0}
    )
    for part in ('mmengine', 'mmengine.logging'):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)
    buffer = module.HistoryBuffer()
    buffer.__dict__.update(_log_history=np.arange(3.0), _last=np.float64(2.5))
    tensors = official()
    content = {'state_dict': tensors, 'message_hub': {'log_scalars': {'loss': buffer}}}
    torch.save(content, tmp_path / 'official.pth')
    monkeypatch.delitem(sys.modules, name)
    found = checkpoint.load_official(tmp_path / 'official.pth')
    assert torch.equal(found.state['norm.bias'], tensors['decoder.norm.bias'])


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('content', [b'', b'not weights at all', b'PK\x03\x04 cut off'])
def test_damaged_file_is_named(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f'broken.{ending}'
    path.write_bytes(content)
    with pytest.raises(SystemExit, match=rf'broken\.{ending}'):
        main([str(path), str(tmp_path / 'ours.safetensors')])


def test_absent_file_and_wrong_ending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r'no file of weights at .*absent\.pth'):
        main([str(tmp_path / 'absent.pth'), str(tmp_path / 'ours.safetensors')])
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'absent.pth'), str(tmp_path / 'ours.pth')])
    assert 'must end in .safetensors' in capsys.readouterr().err


def test_a_failed_conversion_leaves_the_old_file(tmp_path: Path) -> None:
    converted(tmp_path, official())
    target = tmp_path / 'ours.safetensors'
    before = target.read_bytes()
    tensors = official()
    tensors['query_embeds.weight'][0, 0] = torch.inf
    with pytest.raises(SystemExit, match='query_embeds'):
        converted(tmp_path, tensors)
    assert target.read_bytes() == before
    torch.save(official(), tmp_path / 'good.pth')
    with pytest.raises(SystemExit, match='cannot write'):
        main([str(tmp_path / 'good.pth'), str(tmp_path / 'no' / 'such.safetensors')])


def test_official_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / 'official.safetensors'
    save_file(official(), path)
    with pytest.raises(ValueError, match='gausstr-convert-checkpoint first'):
        checkpoint.load(path)
