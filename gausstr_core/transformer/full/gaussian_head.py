"""The Gaussian head of the full-size presets: a query becomes one Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, quaternion_from_matrix
from gausstr_core.transformer.full.formulation import Formulation
from gausstr_core.transformer.full.image_position import moved
from gausstr_core.transformer.head import TURN, compose, small_rotation
from gausstr_core.transformer.sampling import sample


@dataclass(frozen=True)
class HeadSizes:
    """How large the Gaussian head is, and the units it counts in."""

    dim: int  # width of the queries
    feature_dim: int  # channels of the Gaussians' features
    scale_range: tuple[float, float] = (1.0, 16.0)  # raw scales, times `scale_pixels`
    scale_pixels: float = 7.5  # pixels of an image `scale_width` wide
    scale_width: float = 1600.0
    reduced: int = 0  # channels that the segmentation head reads; only with `segments`
    segments: int = 0  # classes of the 2D segmentation head used in training, 0 for none


@dataclass(frozen=True)
class Sight:
    """What the heads need to know of the N cameras, beside the queries."""

    rig: CameraRig  # at the size of `depth`
    depth: Tensor  # [N, H, W] metres, clamped
    pixel: Tensor  # [N] radians, nearly, that `scale_pixels` span: metres per metre of depth
    rotations: Tensor  # [N, 4] wxyz, ego_from_camera


@dataclass(frozen=True)
class QueryState:
    """What the layers refine; N views, Q queries."""

    points: Tensor  # [N, Q, 2] image point, normalised
    scale_logits: Tensor  # [N, Q, 3], 0 unless scales are refined
    rotations: Tensor  # [N, Q, 4] wxyz, ego_from_gaussian


@dataclass(frozen=True)
class HeadOutput:
    """The Gaussians of one layer, and the numbers they are made of."""

    gaussians: Gaussians  # [N * Q], ordered by view, query; scales, rotations in the ego frame
    state: QueryState  # with the head's own refinements
    deltas: Tensor  # [N, Q, 3] of the image point in logits, and of the depth relative to it
    points: Tensor  # [N, Q, 2] normalised, where the Gaussian projects to
    sampled_depth: Tensor  # [N, Q] metres
    raw_scales: Tensor  # [N, Q, 3] in `scale_range`


class GaussianHead(nn.Module):
    """Five small MLPs and the geometry that turns their outputs into Gaussians."""

    def __init__(self, sizes: HeadSizes, formulation: Formulation) -> None:
        super().__init__()
        self.sizes, self.formulation = sizes, formulation
        dim = sizes.dim
        self.opacity = mlp(dim, 4 * dim, 1)
        self.features = mlp(dim, 4 * dim, sizes.feature_dim)
        self.scale = mlp(dim, 4 * dim, 3)
        self.regress = mlp(dim, 4 * dim, 3)
        self.turn = mlp(dim, 4 * dim, 3) if formulation.rotation == 'refined' else None
        self.segment = (
            mlp(sizes.reduced, 4 * sizes.reduced, sizes.segments) if sizes.segments else None
        )

    def moved_points(self, query: Tensor, points: Tensor) -> Tensor:
        """The decoder's own use of the regress head: points [N, Q, 2] moved by raw queries."""
        return moved(points, self.regress(query)[..., :2].float())

    def forward(self, query: Tensor, state: QueryState, sight: Sight) -> HeadOutput:
        """Turn normed queries [N, Q, D] at the decoder's points -> Gaussians."""
        deltas = self.regress(query)
        points = state.points
        if self.formulation.regress == 'twice':
            points = moved(points, deltas[..., :2])
        scale_logits = self.scale(query)
        if self.formulation.scale == 'refined':
            scale_logits = state.scale_logits + scale_logits
        low, high = self.sizes.scale_range
        raw = low + (high - low) * scale_logits.sigmoid()
        opacities, features = self.opacity(query).sigmoid(), self.features(query)
        rotations = state.rotations
        if self.turn is not None:
            step = small_rotation(TURN * torch.tanh(self.turn(query)))
            rotations = compose(state.rotations, step)
        with torch.autocast(query.device.type, enabled=False):
            # metres and pixels need more digits than half precision has
            kind = state.points.dtype
            depth = self.sampled_depth(points, sight)
            means = lift(points, depth * (1 + deltas[..., 2].to(kind)), sight.rig)
            scales = raw.to(kind) * (depth * sight.pixel[:, None]).clamp_min(1e-6)[..., None]
        gaussians = Gaussians(
            means.reshape(-1, 3),
            scales.reshape(-1, 3),
            rotations.reshape(-1, 4),
            opacities.reshape(-1).to(kind),
            features.flatten(0, 1).to(kind),
        )
        refined = QueryState(state.points, scale_logits, rotations)
        return HeadOutput(gaussians, refined, deltas, points, depth, raw)

    def sampled_depth(self, points: Tensor, sight: Sight) -> Tensor:
        """[N, Q] metres, bilinear at normalised points [N, Q, 2]."""
        border = self.formulation.depth_border == 'repeat'
        return sample(sight.depth[:, None], points, border=border)[..., 0]


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with a ReLU between."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def lift(points: Tensor, depth: Tensor, rig: CameraRig) -> Tensor:
    """Normalised points [N, Q, 2] at z-depth [N, Q] (metres) -> [N, Q, 3] in the ego frame."""
    size = points.new_tensor([[width, height] for height, width in rig.image_sizes])
    return rig.unproject(points * size[:, None], depth)


def sight_of(rig: CameraRig, depth: Tensor, sizes: HeadSizes, focal: Tensor | None) -> Sight:
    """What the heads need to know.

    Args:
        rig: N cameras at the size of `depth`.
        depth: [N, H, W] metres, already clamped.
        sizes: of the heads.
        focal: [N] focal length in pixels of the image in which `scale_pixels` counts, where that
            is not the whole view at `scale_width`.
    """
    if focal is None:
        widths = depth.new_tensor([width for _, width in rig.image_sizes])
        focal = rig.intrinsics[:, 0, 0].to(depth) * sizes.scale_width / widths
    rotations = quaternion_from_matrix(rig.ego_from_camera[:, :3, :3]).to(depth)
    return Sight(rig, depth, sizes.scale_pixels / focal.to(depth), rotations)
