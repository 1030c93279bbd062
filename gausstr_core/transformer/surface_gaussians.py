"""Gaussians where the depth says that surfaces are: nothing learned, nothing to train.

Steps that were learned on estimated depth spoil measured depth: a network corrects what its own
depth gets wrong (docs/training.md). Where depth is measured, or where no transformer was trained
for the networks at hand, the surface-aligned start is the result, on a denser lattice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians
from gausstr_core.transformer.head import START_OPACITY
from gausstr_core.transformer.reference_points import QueryGrid, anchor_points
from gausstr_core.transformer.sampling import sample
from gausstr_core.transformer.surface import surface_start

DENSE = QueryGrid(rows=15, columns=21, sub=4)


class SurfaceGaussians(nn.Module):
    """The surface-aligned start of `GaussianTransformer`, as it is; has no parameters.

    Args:
        feature_dim: C of the features.
        query_grid: cells a view and anchors a cell; the anchors alone matter here.
    """

    def __init__(self, feature_dim: int, query_grid: QueryGrid = DENSE) -> None:
        super().__init__()
        self.feature_dim, self.query_grid = feature_dim, query_grid

    def forward(self, maps: FoundationMaps, rig: CameraRig, measured: bool = False) -> Gaussians:
        """Gaussians [N * Q * K], ordered by view, query, anchor.

        Args:
            maps: what the foundation network saw.
            rig: N cameras at the size of `maps.depth`.
            measured: as of `GaussianTransformer`; here they stay where depth puts them always.
        """
        points, spacing = anchor_points(rig, self.query_grid)
        start = surface_start(maps.depth, points, spacing, rig)
        flat = points.flatten(1, 2)
        height, width = maps.depth.shape[1:]
        pixels = flat * flat.new_tensor([width, height])
        means = rig.unproject(pixels, start.depth.flatten(1))
        read = maps.feature_map.decoded(sample(maps.codes, flat))
        return Gaussians(
            means=means.reshape(-1, 3),
            scales=start.scales.reshape(-1, 3),
            rotations=start.rotations.reshape(-1, 4),
            opacities=torch.full_like(means[..., 0], START_OPACITY).reshape(-1),
            features=F.normalize(read, dim=-1).reshape(-1, self.feature_dim),
        )
