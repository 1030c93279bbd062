"""Sizes of the models that are trained here: the only place where numbers meet classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.compact import CompactNetwork
from gausstr_core.transformer.full.transformer import FullTransformer
from gausstr_core.transformer.reference_points import QueryGrid
from gausstr_core.transformer.surface_gaussians import SurfaceGaussians
from gausstr_core.transformer.transformer import GaussianTransformer

UNTRAINED_SEED = 20261122


class GaussTR(nn.Module):
    """A foundation network and the transformer that reads it."""

    def __init__(
        self,
        foundation: CompactNetwork | CombinedFoundation,
        transformer: GaussianTransformer | FullTransformer | SurfaceGaussians,
    ) -> None:
        super().__init__()
        self.foundation, self.transformer = foundation, transformer


def compact() -> GaussTR:
    """The embedded default: 320x180 inputs, 140 queries a view, nine Gaussians a query."""
    foundation = CompactNetwork(feature_dim=384, input_size=(180, 320))
    transformer = GaussianTransformer(
        feature_dim=384, query_grid=QueryGrid(rows=10, columns=14, sub=3), dim=128, layers=3
    )
    return GaussTR(foundation, transformer)


def tiny() -> GaussTR:
    """A model that tests can run in milliseconds; its outputs mean nothing."""
    foundation = CompactNetwork(feature_dim=384, input_size=(48, 80), width=16)
    transformer = GaussianTransformer(
        feature_dim=384,
        query_grid=QueryGrid(rows=4, columns=6, sub=2),
        dim=32,
        layers=2,
        hidden=32,
    )
    return GaussTR(foundation, transformer)


COMPACT_PRESETS: dict[str, Callable[[], GaussTR]] = {'compact': compact, 'tiny': tiny}


def build(preset: str) -> GaussTR:
    """The untrained model of a preset of our own, the same at every call.

    Raises:
        ValueError: no such preset has that name.
    """
    if preset not in COMPACT_PRESETS:
        names = ', '.join(COMPACT_PRESETS)
        raise ValueError(f'a preset that is trained here must be one of {names}, got {preset!r}')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return COMPACT_PRESETS[preset]()
