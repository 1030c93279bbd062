"""GaussTR's transformer: N views of foundation maps -> Gaussians of the scene."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians
from gausstr_core.transformer.decoder import DecoderLayer, Neck, PositionEncoding
from gausstr_core.transformer.head import AnchorCode, GaussianState, RefinementHead
from gausstr_core.transformer.reference_points import QueryGrid, anchor_points
from gausstr_core.transformer.sampling import sample
from gausstr_core.transformer.surface import isotropic_start, surface_start


class GaussianTransformer(nn.Module):
    """The `paper` formulation (GaussTR, CVPR 2025, section 3.2).

    Queries cross-attend to their own view and self-attend across all views with PE(mu_3D);
    position, scale, rotation and opacity are refined by every layer. Beyond the paper, each query
    carries K Gaussians on neighbouring anchors, and the head sees each anchor beside the query.
    `aligned` says whether they start in the surface that the depth shows, or as balls.
    """

    def __init__(
        self,
        feature_dim: int,
        query_grid: QueryGrid,
        dim: int = 128,
        layers: int = 3,
        heads: int = 4,
        levels: int = 3,
        points: int = 4,
        hidden: int = 256,
        anchor_dim: int = 64,
        aligned: bool = True,
    ) -> None:
        super().__init__()
        self._start = surface_start if aligned else isotropic_start
        self.query_grid, self.feature_dim = query_grid, feature_dim
        self.neck = Neck(feature_dim, dim, levels)
        self.query_embeddings = nn.Parameter(torch.randn(query_grid.queries, dim) * 0.02)
        self.position = PositionEncoding(dim)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, heads, levels, points, hidden) for _ in range(layers)
        )
        # weights files call anchors seats: the names of their tensors stay
        self.seat_code = AnchorCode(feature_dim, anchor_dim)
        self.from_seats = nn.Linear(anchor_dim, dim)
        self.heads = nn.ModuleList(RefinementHead(dim, anchor_dim) for _ in range(layers))
        self.feature_head = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, feature_dim)
        )
        last = self.feature_head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, maps: FoundationMaps, rig: CameraRig, measured: bool = False) -> Gaussians:
        """Gaussians [N * Q * K] of the last layer, ordered by view, query, anchor.

        Args:
            maps: what the foundation network saw.
            rig: N cameras at the size of `maps.depth`.
            measured: depth is measured, not estimated: the Gaussians stay where it puts them.
                What the layers learned about places is to correct an estimate.
        """
        return self.forward_layers(maps, rig, only_last=True, measured=measured)[-1]

    def forward_layers(
        self,
        maps: FoundationMaps,
        rig: CameraRig,
        only_last: bool = False,
        measured: bool = False,
        attached: bool = False,
    ) -> list[Gaussians]:
        """Gaussians after each layer, for the losses; arguments as `forward`.

        Args:
            maps, rig, measured: as `forward`.
            only_last: leave out the layers before the last.
            attached: let gradients of a layer's places reach the layers before it and the depth.
        """
        points, spacing = anchor_points(rig, self.query_grid)
        start = self._start(maps.depth, points, spacing, rig)
        state = GaussianState.start(points, start)
        memory = self.neck(maps)
        read = sample(maps.codes, points.flatten(1, 2))
        seen = F.normalize(maps.feature_map.decoded(read), dim=-1)
        anchors = self.seat_code(seen.unflatten(1, points.shape[1:3]), state.log_depth)
        query = self.query_embeddings + self.from_seats(anchors.mean(2))
        outputs = []
        for layer, head in zip(self.layers, self.heads, strict=True):
            state = state if attached else state.detached_geometry()
            position = self.position(_means(state, rig).mean(2))
            query = layer(query, position, state.points.mean(2), memory)
            state = head(query, anchors, state, spacing)
            if measured:
                state = replace(state, points=points, log_depth=start.depth.log())
            if not only_last or head is self.heads[-1]:
                outputs.append(self._gaussians(state, query, seen, rig))
        return outputs

    def _gaussians(
        self, state: GaussianState, query: Tensor, seen: Tensor, rig: CameraRig
    ) -> Gaussians:
        residual = self.feature_head(query)[:, :, None]
        features = seen.unflatten(1, state.points.shape[1:3]) + residual
        return Gaussians(
            means=_means(state, rig).reshape(-1, 3),
            scales=state.log_scales.exp().reshape(-1, 3),
            rotations=F.normalize(state.rotations, dim=-1).reshape(-1, 4),
            opacities=state.opacity_logits.sigmoid().reshape(-1),
            features=features.reshape(-1, self.feature_dim),
        )


def _means(state: GaussianState, rig: CameraRig) -> Tensor:
    """[N, Q, K, 3] means in the ego frame."""
    shape = state.points.shape[:3]
    sizes = state.points.new_tensor([[width, height] for height, width in rig.image_sizes])
    pixels = state.points.flatten(1, 2) * sizes[:, None]
    return rig.unproject(pixels, state.log_depth.exp().flatten(1, 2)).reshape(*shape, 3)
