"""What the released code calls each parameter, and what we call it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from gausstr_core.transformer.full.pyramid import Pyramid
from gausstr_core.transformer.full.transformer import FullConfig

PROTOTYPES = re.compile(r'gauss_heads\.\d+\.text_proto_embeds')
# In the file or not, they say nothing: the backbone is a public network, the grid configuration.
IGNORED = re.compile(r'backbone\..*|gauss_heads\.\d+\.voxelizer\.(vol_range|grid_coords)')

_BOTH = ('weight', 'bias')


def official_names(config: FullConfig) -> dict[str, tuple[str, ...]]:
    """Official parameter -> our parameters; two where the official one packs them by rows."""
    pairs: dict[str, tuple[str, ...]] = {'query_embeds.weight': ('query_embeddings',)}
    for theirs, ours in [*_neck(), *_decoder(config), *_heads(config)]:
        pairs |= {f'{theirs}.{part}': (f'{ours}.{part}',) for part in _BOTH}
    for theirs, ours in _convolutions():
        pairs[f'{theirs}.weight'] = (f'{ours}.weight',)
    for i in range(config.layers):
        for part in _BOTH:
            ours = f'layers.{i}.self_attention.'
            pairs[f'decoder.layers.{i}.self_attn.attn.in_proj_{part}'] = (
                f'{ours}query_key.{part}',
                f'{ours}value.{part}',
            )
    return pairs


def _neck() -> list[tuple[str, str]]:
    pairs = [(f'neck.scale_convs.0.{i}', f'neck.four_times.{i}') for i in (0, 1, 3)]
    pairs.append(('neck.scale_convs.1', 'neck.twice'))
    for i in range(Pyramid.LEVELS):
        pairs.append((f'neck.lateral_convs.{i}.norm_layer', f'neck.laterals.{i}.norm'))
        pairs.append((f'neck.fpn_convs.{i}.norm_layer', f'neck.outputs.{i}.norm'))
    return pairs


def _convolutions() -> list[tuple[str, str]]:
    """Those without a bias."""
    pairs = []
    for i in range(Pyramid.LEVELS):
        pairs.append((f'neck.lateral_convs.{i}.conv', f'neck.laterals.{i}.conv'))
        pairs.append((f'neck.fpn_convs.{i}.conv', f'neck.outputs.{i}.conv'))
    return pairs


def _decoder(config: FullConfig) -> list[tuple[str, str]]:
    pairs = [
        ('decoder.ref_point_head.layers.0', 'position.mlp.0'),
        ('decoder.ref_point_head.layers.1', 'position.mlp.2'),
        ('decoder.norm', 'norm'),
    ]
    inside = {
        'self_attn.attn.out_proj': 'self_attention.output',
        'cross_attn.sampling_offsets': 'cross.offsets',
        'cross_attn.attention_weights': 'cross.weights',
        'cross_attn.value_proj': 'cross.value',
        'cross_attn.output_proj': 'cross.output',
        'ffn.layers.0.0': 'feed_forward.0',
        'ffn.layers.1': 'feed_forward.2',
        **{f'norms.{j}': f'norms.{j}' for j in range(3)},
    }
    for i in range(config.layers):
        pairs += [(f'decoder.layers.{i}.{k}', f'layers.{i}.{v}') for k, v in inside.items()]
    return pairs


def _heads(config: FullConfig) -> list[tuple[str, str]]:
    parts = {'opacity': 'opacity', 'feature': 'features', 'scale': 'scale', 'regress': 'regress'}
    if config.segments:
        parts['segment'] = 'segment'
    return [
        (f'gauss_heads.{i}.{theirs}_head.layers.{layer}', f'heads.{i}.{ours}.{2 * layer}')
        for i in range(config.layers)
        for theirs, ours in parts.items()
        for layer in (0, 1)
    ]


def config_of(state: Mapping[str, Tensor], source: str) -> FullConfig:
    """The sizes of an official state dict.

    Sizes are read from vectors, of which most must agree: a transposed or renamed tensor then
    stands out as one fault instead of making every other one look wrong. Heads per attention
    cannot be read from any shape; they are the released eight.

    Raises:
        ValueError: a size cannot be read; `source` names the file.
    """
    standard = FullConfig()
    dim = _vote(state, r'decoder\.(layers\.\d+\.norms\.\d|norm)\.weight', 'embed_dims', source)
    offsets = _vote(state, r'.*sampling_offsets\.bias', 'number of sampling points', source)
    per_point = 2 * standard.heads * Pyramid.LEVELS
    if offsets % per_point or dim % standard.heads:
        raise ValueError(
            f'{source}: {offsets} sampling offsets and {dim} channels do not divide among '
            f'{standard.heads} heads and {Pyramid.LEVELS} levels'
        )
    table = state.get('query_embeds.weight')
    if table is None or table.dim() != 2:
        raise ValueError(f'{source}: missing query_embeds.weight [queries, {dim}]')
    rows, columns = table.shape
    segmented = any('.segment_head.' in key for key in state)
    return FullConfig(
        feature_dim=_vote(state, r'.*feature_head\.layers\.1\.bias', 'feature channels', source),
        dim=dim,
        queries=columns if rows == dim and columns != dim else rows,
        layers=_layers(state),
        points=offsets // per_point,
        hidden=_vote(state, r'.*ffn\.layers\.0\.0\.bias', 'feed-forward width', source),
        reduced=_vote(state, r'.*segment_head\.layers\.0\.bias', 'segment head', source) // 4
        if segmented
        else standard.reduced,
        segments=_vote(state, r'.*segment_head\.layers\.1\.bias', 'segment classes', source)
        if segmented
        else 0,
    )


def _layers(state: Mapping[str, Tensor]) -> int:
    """How many decoder layers most of their parameters speak of."""
    found = (re.fullmatch(r'decoder\.layers\.\d+\.(.*)', key) for key in state)
    per_parameter = Counter(match[1] for match in found if match)
    return Counter(per_parameter.values()).most_common(1)[0][0]


def _vote(state: Mapping[str, Tensor], pattern: str, what: str, source: str) -> int:
    lengths = Counter(
        len(value)
        for key, value in state.items()
        if re.fullmatch(pattern, key) and value.dim() == 1
    )
    if not lengths:
        raise ValueError(
            f'{source}: not a GaussTR checkpoint: the {what} is unknown, for it has no vector '
            f'named like {pattern}'
        )
    return lengths.most_common(1)[0][0]
