"""The full-size Gaussian transformer: as released, as in the paper, or any mixture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians
from gausstr_core.transformer.decoder import DecoderLayer, PositionEncoding
from gausstr_core.transformer.full.formulation import RELEASED, Formulation
from gausstr_core.transformer.full.gaussian_head import (
    GaussianHead,
    HeadOutput,
    HeadSizes,
    QueryState,
    Sight,
    lift,
    sight_of,
)
from gausstr_core.transformer.full.image_position import ImagePosition
from gausstr_core.transformer.full.pyramid import Pyramid
from gausstr_core.transformer.reference_points import spread_points


@dataclass(frozen=True)
class FullConfig:
    """Sizes and options; the defaults are those of the released Talk2DINO model."""

    feature_dim: int = 768  # channels of the foundation features
    dim: int = 256
    queries: int = 300  # per view
    layers: int = 3
    heads: int = 8
    points: int = 4  # per head and level of the cross-attention
    hidden: int = 2048  # of the feed-forward networks
    dropout: float = 0.1  # after the cross-attention, in training
    depth_limit: float = 51.2  # metres; depths beyond are taken to be at the limit
    reduced: int = 128  # channels that training splats
    segments: int = 0  # classes of the segmentation head used in training
    scale_pixels: float = 7.5  # of images 1600 pixels wide
    formulation: Formulation = field(default=RELEASED)

    @property
    def head(self) -> HeadSizes:
        """Sizes of each Gaussian head."""
        return HeadSizes(
            self.dim,
            self.feature_dim,
            scale_pixels=self.scale_pixels,
            reduced=self.reduced,
            segments=self.segments,
        )


TALK2DINO = FullConfig()
FEATUP = FullConfig(feature_dim=512, segments=26)


class FullTransformer(nn.Module):
    """N views of features and depth -> one Gaussian per query.

    With `RELEASED` it computes what the public checkpoints were trained for; parameters are ours
    by name (`checkpoint.py` renames). Where the queries look first is a fixed set of points: the
    released code draws new ones at every forward.
    """

    reference_points: Tensor

    def __init__(self, config: FullConfig) -> None:
        super().__init__()
        self.config = config
        self.neck = Pyramid(config.feature_dim, config.dim)
        self.query_embeddings = nn.Parameter(torch.randn(config.queries, config.dim))
        by_image = config.formulation.position == 'image'
        self.position = ImagePosition(config.dim) if by_image else PositionEncoding(config.dim)
        self.layers = nn.ModuleList(
            DecoderLayer(
                config.dim,
                config.heads,
                Pyramid.LEVELS,
                config.points,
                config.hidden,
                sample_first=True,
                dropout=config.dropout,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.heads = nn.ModuleList(
            GaussianHead(config.head, config.formulation) for _ in range(config.layers)
        )
        self.register_buffer('reference_points', spread_points(config.queries), persistent=False)

    def forward(self, maps: FoundationMaps, rig: CameraRig, measured: bool = False) -> Gaussians:
        """Gaussians [N * Q] of the last layer, ordered by view, query.

        `measured` changes nothing here: a Gaussian lies at the depth of the pixel under it.
        """
        return self.refine(maps, rig, only_last=True)[-1].gaussians

    def forward_layers(self, maps: FoundationMaps, rig: CameraRig) -> list[Gaussians]:
        """Gaussians after each layer, for the losses."""
        return [output.gaussians for output in self.refine(maps, rig)]

    def refine(
        self,
        maps: FoundationMaps,
        rig: CameraRig,
        *,
        scenes: int = 1,
        reference: Tensor | None = None,
        focal: Tensor | None = None,
        only_last: bool = False,
    ) -> list[HeadOutput]:
        """Run the decoder and the head of each layer.

        Args:
            maps: features [N, C, h, w] and depth [N, H, W] of all views.
            rig: N cameras at the size of the depth; several scenes lie one behind the other.
            scenes: into how many equal groups the views fall.
            reference: [N, Q, 2] first points (x, y) in [0, 1] instead of the fixed ones.
            focal: [N] focal lengths in the pixels that `scale_pixels` counts, see `sight_of`.
            only_last: run only the last head.

        Raises:
            ValueError: the maps, the rig and the configuration do not fit together.
        """
        self._check(maps, rig, scenes, reference)
        depth = maps.depth.clamp(max=self.config.depth_limit)
        sight = sight_of(rig, depth, self.config.head, focal)
        memory = self.neck(maps.features)
        n = len(rig)
        query = self.query_embeddings.expand(n, -1, -1)
        state = self._start(n, reference, sight)
        groups = n if self.config.formulation.self_attention == 'camera' else scenes
        outputs = []
        for layer, head in zip(self.layers, self.heads, strict=True):
            assert isinstance(head, GaussianHead)
            query = layer(query, self._position(state, head, sight), state.points, memory, groups)
            points = head.moved_points(query, state.points)
            if self.config.formulation.regress == 'twice':
                points = points.detach()  # as released: the second use of the head trains it
            state = replace(state, points=points)
            if only_last and head is not self.heads[-1] and not self._carries:
                state = replace(state, points=points.detach())
                continue
            outputs.append(head(self.norm(query), state, sight))
            state = _detached(outputs[-1].state)
        return outputs

    @property
    def _carries(self) -> bool:
        """Whether a layer starts from what the head before it has refined."""
        formulation = self.config.formulation
        return formulation.rotation == 'refined' or formulation.scale == 'refined'

    def _start(self, n: int, reference: Tensor | None, sight: Sight) -> QueryState:
        points = self.reference_points if reference is None else reference
        points = points.to(sight.depth).expand(n, -1, -1)
        rotations = sight.rotations[:, None].expand(-1, points.shape[1], -1)
        return QueryState(points, points.new_zeros(*points.shape[:2], 3), rotations)

    def _position(self, state: QueryState, head: GaussianHead, sight: Sight) -> Tensor:
        """[N, Q, D] code of where the queries are."""
        if self.config.formulation.position == 'image':
            return self.position(state.points)
        depth = head.sampled_depth(state.points, sight)
        return self.position(lift(state.points, depth, sight.rig))

    def _check(
        self, maps: FoundationMaps, rig: CameraRig, scenes: int, reference: Tensor | None
    ) -> None:
        n, channels = len(rig), self.config.feature_dim
        shape = tuple(maps.features.shape)
        if len(shape) != 4 or shape[:2] != (n, channels) or min(shape[2:]) < 2:
            raise ValueError(
                f'features must be [{n}, {channels}, h, w] with h, w >= 2 for {n} cameras, '
                f'got {shape}'
            )
        height, width = maps.depth.shape[-2:]
        if tuple(maps.depth.shape) != (n, height, width) or any(
            size != (height, width) for size in rig.image_sizes
        ):
            raise ValueError(
                f'depth must be [{n}, H, W] at the size of the rig {rig.image_sizes[0]}, '
                f'got {tuple(maps.depth.shape)}'
            )
        if scenes < 1 or n % scenes:
            raise ValueError(f'{n} cameras do not fall into {scenes} equal scenes')
        wanted = (n, self.config.queries, 2)
        if reference is not None and tuple(reference.shape) != wanted:
            raise ValueError(
                f'reference points must be {list(wanted)}, got {tuple(reference.shape)}'
            )


def _detached(state: QueryState) -> QueryState:
    return QueryState(state.points.detach(), state.scale_logits.detach(), state.rotations.detach())
