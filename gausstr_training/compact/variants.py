"""What the ablations compare: the compact model with one change each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gausstr_core.transformer.build import GaussTR, build
from gausstr_core.transformer.full.formulation import FORMULATIONS
from gausstr_core.transformer.full.transformer import FullConfig, FullTransformer
from gausstr_core.transformer.reference_points import QueryGrid
from gausstr_core.transformer.transformer import GaussianTransformer
from gausstr_core.weights import load_weights
from gausstr_training.compact.stages import BLUR

SEED = 4  # of the transformers' first weights
DIM, HEADS, LAYERS = 128, 4, 3
FEATURES = 384


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    about: str
    transformer: Callable[[], nn.Module]
    changes: dict[str, Any]  # to the recipe
    blur: float = BLUR  # metres

    def start(self) -> nn.Module:
        """The transformer before its first step, the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.transformer()

    def model(self, weights: Path) -> GaussTR:
        """The foundation network of the weights with this variant's start.

        Raises:
            ValueError: the file is missing or not of the preset compact.
        """
        model = build('compact')
        load_weights(model, weights, 'compact')
        model.transformer = self.start()
        return model


def _ours(sub: int = 3, aligned: bool = True) -> GaussianTransformer:
    query_grid = QueryGrid(rows=10, columns=14, sub=sub)
    return GaussianTransformer(FEATURES, query_grid, DIM, LAYERS, HEADS, aligned=aligned)


def _published(formulation: str, queries: int = 300) -> FullTransformer:
    return FullTransformer(
        FullConfig(
            feature_dim=FEATURES,
            dim=DIM,
            queries=queries,
            layers=LAYERS,
            heads=HEADS,
            hidden=256,
            dropout=0.0,
            formulation=FORMULATIONS[formulation],
        )
    )


IMAGES_ONLY = {'map_weight': 0.0, 'class_weight': 0.0}
VARIANTS: dict[str, Variant] = {
    'ours': Variant('1260 Gaussians a view, aligned start, blur 0.2 m, all losses', _ours, {}),
    'gaussians-140': Variant('140 Gaussians a view', partial(_ours, 1), {}),
    'gaussians-560': Variant('560 Gaussians a view', partial(_ours, 2), {}),
    'gaussians-2240': Variant('2240 Gaussians a view', partial(_ours, 4), {}),
    'isotropic': Variant('start as balls', partial(_ours, 3, False), {}),
    'blur-0.1': Variant('blur 0.1 m', _ours, {}, 0.1),
    'blur-0': Variant('no blur', _ours, {}, 0.0),
    'images-only': Variant('splatted images alone', _ours, IMAGES_ONLY),
    'no-features': Variant(
        'depth and occupancy alone, features as seen', _ours,
        {'feature_weight': 0.0, 'class_weight': 0.0},
    ),
    'temporal': Variant('with the frames before and after', _ours, {'temporal_weight': 0.5}),
    'paper': Variant(
        '300 queries a view and losses as in the paper', partial(_published, 'paper'), IMAGES_ONLY
    ),
    'released': Variant(
        '300 queries a view and losses as released', partial(_published, 'released'), IMAGES_ONLY
    ),
}  # fmt: skip
