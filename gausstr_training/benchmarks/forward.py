"""The whole talk2dino model from features and depth to labels, stage by stage, on this machine."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, VoxelGrid
from gausstr_core.presets import untrained_transformer
from gausstr_core.transformer.full.transformer import TALK2DINO, FullTransformer
from gausstr_core.voxels.released import released_voxels
from gausstr_core.voxels.released_labels import released_labels, released_owners

FEATURE_SIZE, DEPTH_SIZE = (36, 64), (504, 896)


def forward_stages(rig: CameraRig, grid: VoxelGrid, repeats: int) -> dict[str, float]:
    """Median milliseconds of each stage; the weights are random, which costs the same.

    Args:
        rig: N cameras at `DEPTH_SIZE`.
        grid: where to map.
        repeats: timed runs, after one that is not.
    """
    model, owners = untrained_transformer(TALK2DINO), released_owners()
    random = torch.Generator().manual_seed(0)
    shape = (len(rig), TALK2DINO.feature_dim, *FEATURE_SIZE)
    depth = 2 + 48 * torch.rand(len(rig), *DEPTH_SIZE, generator=random)
    maps = FoundationMaps(3 * torch.randn(shape, generator=random), depth)
    words = torch.randn(TALK2DINO.feature_dim, len(owners), generator=random)
    runs: dict[str, list[float]] = defaultdict(list)
    for run in range(repeats + 1):
        for stage, seconds in _one_run(model, maps, rig, grid, words, owners).items():
            runs[stage] += [1e3 * seconds] if run else []
    return {stage: statistics.median(times) for stage, times in runs.items()}


def stage_table(stages: dict[str, float]) -> str:
    """The stages as a markdown table."""
    rows = ['| talk2dino, features and depth given | ms |', '|---|---|']
    return '\n'.join(rows + [f'| {stage} | {time:.1f} |' for stage, time in stages.items()])


@torch.inference_mode()
def _one_run(
    model: FullTransformer,
    maps: FoundationMaps,
    rig: CameraRig,
    grid: VoxelGrid,
    words: torch.Tensor,
    owners: torch.Tensor,
) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    started = time.perf_counter()
    with _timed(_parts(model), seconds):
        gaussians = model(maps, rig)
    transformer = time.perf_counter()
    seconds['heads, positions, the rest'] = transformer - started - sum(seconds.values())
    shares = (gaussians.features @ words).softmax(-1)
    density, features, _ = released_voxels(
        gaussians.means, gaussians.opacities, shares, gaussians.covariances, grid,
        opacity_threshold=None, covariance_threshold=None,
    )  # fmt: skip
    voxels = time.perf_counter()
    released_labels(density, features, owners)
    ended = time.perf_counter()
    seconds['voxels'], seconds['labels'] = voxels - transformer, ended - voxels
    seconds['all'] = ended - started
    return dict(seconds)


def _parts(model: FullTransformer) -> list[tuple[str, nn.Module]]:
    stages = {'cross': 'cross-attention', 'self_attention': 'self-attention',
              'feed_forward': 'feed-forward'}  # fmt: skip
    count = len(model.layers)
    return [('neck', model.neck)] + [
        (f'{stage}, {count} layers', layer.get_submodule(name))
        for layer in model.layers
        for name, stage in stages.items()
    ]


@contextmanager
def _timed(parts: list[tuple[str, nn.Module]], seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time that each part spends in `forward`."""
    begun: dict[nn.Module, float] = {}
    handles: list[Any] = []

    def enter(module: nn.Module, *_: Any) -> None:
        begun[module] = time.perf_counter()

    for stage, part in parts:

        def leave(module: nn.Module, *_: Any, stage: str = stage) -> None:
            seconds[stage] += time.perf_counter() - begun[module]

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
