"""What a preset stands for: a model with its weights, its words, and its rule for the map.

`compact` ships with the package. `talk2dino` and `featup` are the published GaussTR: its
checkpoint, and the foundation networks of others, fetched on first use or read from a folder.
`surface` has such networks of one's own choice and no checkpoint, see surface_preset.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gausstr_core.foundation import released
from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.interface import DepthNetwork
from gausstr_core.surface_preset import (
    MODEL_THRESHOLD,
    SURFACE,
    NetworkOptions,
    surface_parts,
)
from gausstr_core.transformer.build import COMPACT_PRESETS, UNTRAINED_SEED, GaussTR, build
from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, TrainedOn, load_any
from gausstr_core.transformer.full.transformer import (
    FEATUP,
    TALK2DINO,
    FullConfig,
    FullTransformer,
)
from gausstr_core.transformer.reference_points import QueryGrid
from gausstr_core.transformer.surface_gaussians import DENSE, SurfaceGaussians
from gausstr_core.vocabulary.clip_text import clip_encoder, known_words, talk2dino_encoder
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import SHIPPED_VOCABULARY, read_categories
from gausstr_core.voxels.released_labels import RELEASED_VOCABULARY
from gausstr_core.voxels.rules import LIDAR, MODEL, TOPIC, CalibratedRule, ReleasedRule, Rule
from gausstr_core.weights import load_weights, read_card, shipped_weights
from gausstr_core.weights.catalogue import GAUSSTR_FEATUP, GAUSSTR_TALK2DINO
from gausstr_core.weights.fetch import RemoteFile, locate

_LOGGER = logging.getLogger(__name__)

UNTRAINED = 'untrained'
RULES: dict[str, Callable[[], Rule]] = {'calibrated': CalibratedRule, 'released': ReleasedRule}


@dataclass(frozen=True)
class Assembly:
    """Everything that the pipeline needs of a preset."""

    model: GaussTR
    encoder: TextEncoder  # of the words that the model's features are compared with
    rule: Rule
    vocabulary: Path  # the file to start with
    # Where depth is measured: what makes the Gaussians, and the rule for each source of it. None
    # and none: the model's transformer, which leaves them in place, and its rule.
    measured: SurfaceGaussians | None = None
    measured_rules: Mapping[str, Rule] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)  # of the weights; empty without one
    # Metres: voxels finer than that are mapped from `measured` with estimated depth as well. The
    # transformer learned on voxels of 0.4 m to thicken surfaces as these want it: with 0.1 m it
    # gets IoU 15 on streets, the surface as it was seen 44 (docs/training.md).
    finest: float = 0.3


@dataclass(frozen=True)
class _Published:
    """A preset made of published files."""

    config: FullConfig
    checkpoint: RemoteFile
    features: tuple[str, ...]  # names in `released.FEATURES` that its words can be compared with
    encoder: Callable[[Path | str | None, Mapping[str, Tensor] | None], TextEncoder]
    rule: ReleasedRule


_PUBLISHED = {
    'talk2dino': _Published(
        TALK2DINO, GAUSSTR_TALK2DINO, ('talk2dino',), talk2dino_encoder, ReleasedRule()
    ),
    'featup': _Published(
        FEATUP,
        GAUSSTR_FEATUP,
        ('featup', 'maskclip'),
        clip_encoder,
        ReleasedRule(opacity_threshold=None, covariance_threshold=None),
    ),
}
PRESETS = (*COMPACT_PRESETS, *_PUBLISHED, SURFACE)


def assemble(
    preset: str,
    weights: str | Path | None = None,
    folder: str | Path | None = None,
    depth: str | DepthNetwork | None = None,
    rule: str | None = None,
    networks: NetworkOptions | None = None,
    lattice: QueryGrid = DENSE,
) -> Assembly:
    """Load a preset.

    Args:
        preset: a name in `PRESETS`.
        weights: of `compact`, a file made by gausstr-train; of the others a released .pth or a
            file of gausstr-convert-checkpoint. None for those that ship or are published,
            'untrained' for the seeded start. `surface` has none.
        folder: where published files lie; None fetches them into the cache.
        depth: the depth network of a published preset: a name in `released.DEPTH_NETWORKS`, one
            of your own, or 'none' where depth is always measured; None takes that of the weights'
            training, or Metric3D, for `surface` the small one. The compact network sees depth
            itself.
        rule: 'calibrated' or 'released'; None takes the preset's.
        networks: which features `surface` has, and sizes and engine of all published networks.
        lattice: where Gaussians start that depth alone places: of `surface`, and of `compact`
            where depth is measured.

    Raises:
        ValueError: a name is unknown, or a file is missing or does not fit; it is named.
    """
    if preset not in PRESETS:
        raise ValueError(f'preset must be one of {", ".join(PRESETS)}, got {preset!r}')
    if rule is not None and rule not in RULES:
        raise ValueError(f'the rule must be one of {", ".join(RULES)}, got {rule!r}')
    networks = networks or NetworkOptions()
    if networks.features is not None and preset != SURFACE:
        raise ValueError(
            f'features are a choice of preset {SURFACE!r}, those of {preset!r} are its own; got '
            f'{networks.features!r}'
        )
    if preset == SURFACE:
        return _assemble_surface(weights, folder, depth, rule, networks, lattice)
    if preset in _PUBLISHED:
        return _assemble_published(preset, weights, folder, depth, rule, networks)
    if depth not in (None, 'none') or folder is not None or networks != NetworkOptions():
        raise ValueError(
            f'preset {preset!r} sees depth itself and needs no published files, got '
            f'depth network {depth!r}, folder {folder}, {networks}'
        )
    model = build(preset)
    card: dict[str, Any] = {}
    if weights != UNTRAINED:
        path = Path(weights) if weights else shipped_weights(preset)
        load_weights(model, path, preset)
        card = read_card(path)
    return Assembly(
        model,
        TextEncoder.default(),
        _rule_of(card, rule, MODEL),
        SHIPPED_VOCABULARY,
        SurfaceGaussians(model.foundation.feature_dim, lattice),
        {source: _rule_of(card, rule, source) for source in (TOPIC, LIDAR)},
        card=card,
    )


def _rule_of(card: Mapping[str, Any], rule: str | None, depth: str) -> Rule:
    if rule is None or rule == 'calibrated':
        return CalibratedRule.from_card(card, depth)
    return RULES[rule]()


def _assemble_surface(
    weights: str | Path | None,
    folder: str | Path | None,
    depth: str | DepthNetwork | None,
    rule: str | None,
    networks: NetworkOptions,
    lattice: QueryGrid,
) -> Assembly:
    if weights is not None:
        raise ValueError(f'preset {SURFACE!r} has no checkpoint, got weights {weights}')
    foundation, encoder = surface_parts(networks, folder, depth)
    surfaces = SurfaceGaussians(foundation.feature_dim, lattice)
    model = GaussTR(foundation, surfaces)
    if rule is not None and rule != 'calibrated':
        return Assembly(model, encoder, RULES[rule](), SHIPPED_VOCABULARY)
    # measured surfaces are the same as those of the compact preset, whatever their features: its
    # card has their thresholds; its temperature is of its own words
    card = read_card(shipped_weights('compact'))
    measured: dict[str, Rule] = {
        source: replace(CalibratedRule.from_card(card, source), class_temperature=1.0)
        for source in (TOPIC, LIDAR)
    }
    estimated = CalibratedRule(thresholds=((0.4, MODEL_THRESHOLD),))
    return Assembly(model, encoder, estimated, SHIPPED_VOCABULARY, surfaces, measured)


def _assemble_published(
    preset: str,
    weights: str | Path | None,
    folder: str | Path | None,
    depth: str | DepthNetwork | None,
    rule: str | None,
    networks: NetworkOptions,
) -> Assembly:
    parts = _PUBLISHED[preset]
    known: dict[str, Tensor] | None = None
    if weights == UNTRAINED:
        _LOGGER.warning('%s runs without its checkpoint: the map will mean nothing', preset)
        foundation = _foundation_of(preset, None, Path(), folder, depth, networks)
        transformer = untrained_transformer(
            replace(parts.config, feature_dim=foundation.feature_dim)
        )
    else:
        path = Path(weights) if weights else locate(parts.checkpoint, folder)
        checkpoint = load_any(path)
        trained_on = checkpoint.trained_on
        foundation = _foundation_of(preset, trained_on, path, folder, depth, networks)
        _check_channels(checkpoint, foundation, path)
        transformer = checkpoint.model()
        if checkpoint.prototypes is not None:
            prompts = [p for c in read_categories(RELEASED_VOCABULARY) for p in c.prompts]
            known = known_words(checkpoint.prototypes, prompts, str(path))
    model = GaussTR(foundation, transformer)
    chosen = CalibratedRule() if rule == 'calibrated' else parts.rule
    return Assembly(model, parts.encoder(folder, known), chosen, RELEASED_VOCABULARY)


def _foundation_of(
    preset: str,
    trained_on: TrainedOn | None,
    path: Path,
    folder: str | Path | None,
    depth: str | DepthNetwork | None,
    networks: NetworkOptions,
) -> CombinedFoundation:
    """The networks that weights were trained on; of files that do not say so, the preset's."""
    how: dict[str, Any] = {'depth_size': networks.depth_size, 'engine': networks.engine}
    if trained_on is None:
        return released.foundation(preset, folder, depth or 'metric3d', networks.input_size, **how)
    if trained_on.features not in _PUBLISHED[preset].features:
        raise ValueError(
            f'weights file {path} was trained on {trained_on.features}, whose features preset '
            f'{preset!r} has no words for; it takes {", ".join(_PUBLISHED[preset].features)}'
        )
    if isinstance(depth, str) and depth not in (trained_on.depth, released.NO_DEPTH):
        _LOGGER.warning('%s was trained on depth of %s, not %s', path, trained_on.depth, depth)
    size = networks.input_size or trained_on.input_size
    return released.foundation(trained_on.features, folder, depth or trained_on.depth, size, **how)


def _check_channels(checkpoint: Checkpoint, foundation: CombinedFoundation, path: Path) -> None:
    wanted = checkpoint.config.feature_dim
    if wanted != foundation.feature_dim:
        raise ValueError(
            f'weights file {path} is for features of {wanted} channels, those of '
            f'{foundation.features.name} have {foundation.feature_dim}'
        )


def untrained_transformer(config: FullConfig) -> FullTransformer:
    """A full-size transformer with seeded random weights, to measure with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return FullTransformer(config).eval()
