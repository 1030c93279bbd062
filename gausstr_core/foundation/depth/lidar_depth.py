"""Metric depth from a lidar cloud: projected into the cameras, z-buffered, densified.

Any image size; no weights. Lidar and camera sit apart, so through the gaps between the points of
a near thing points of what lies behind it show: those are removed before anything is filled in.
Between points inverse depth is interpolated, because that is linear in the image for every plane.
Where the cloud says nothing (sky, above the highest beam) depth stays unknown, 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig


@dataclass(frozen=True)
class LidarSettings:
    """How a sparse depth image becomes a dense one."""

    min_depth: float = 0.5  # metres; nearer points are the robot itself
    max_depth: float = 120.0
    gap: float = 0.03  # of the image's width: how far a pixel may be from the next point
    occlusion: float = 0.15  # a point so much farther than its neighbours lies behind them
    window: float = 0.008  # of the image's width: what counts as neighbours
    slope: float = 16.0  # how many times depth may grow or shrink from side to side of an image


@dataclass(frozen=True)
class LidarDepth:
    """The `DepthNetwork` of one cycle with a cloud."""

    points: Tensor  # [P, 3] ego frame, metres, at the stamp of the rig
    unknown: float  # metres given where the cloud says nothing; far away: nothing is in the way
    settings: LidarSettings = LidarSettings()
    name = 'lidar cloud'

    def __call__(self, images: Tensor, rig: CameraRig) -> Tensor:
        """Depth [N, H, W] > 0 in metres."""
        depth = depth_from_cloud(self.points, rig, self.settings).abs()
        return torch.where(depth > 0, depth, self.unknown)


def depth_from_cloud(
    points: Tensor, rig: CameraRig, settings: LidarSettings | None = None
) -> Tensor:
    """Dense depth [N, H, W] in metres of a cloud [P, 3] in the ego frame; 0 where unknown.

    Negative where it was filled in between two things, one behind the other: nothing is nearer.
    `OccupancyPipeline.run` takes it as its measured depth.

    Raises:
        ValueError: the cloud has another shape, or the cameras differ in size.
    """
    settings = settings or LidarSettings()
    sparse = project_cloud(points, rig, settings)
    width = sparse.shape[-1]
    sparse = remove_hidden(sparse, max(1, round(settings.window * width)), settings.occlusion)
    dense = densify(sparse, max(1, round(settings.gap * width)))
    return torch.where(bridges(dense, settings.slope / width), -dense, dense)


def bridges(dense: Tensor, tolerance: float) -> Tensor:
    """Where depth [N, H, W] was filled in between two things, one behind the other: bool.

    Such a bridge is steep along a row of pixels, where no surface that a robot drives along is:
    of a wall 10 m beside the way depth grows by 1 % a pixel at 30 m, in an image 320 wide. Along
    columns the ground is as steep. On streets swept by a lidar the bridges cost 4 points of IoU.

    Args:
        dense: 0 where unknown.
        tolerance: by what share depth may differ from a pixel to the next one.
    """
    left, right = dense[..., :-1], dense[..., 1:]
    steep = torch.maximum(left, right) > (1 + tolerance) * torch.minimum(left, right)
    steep &= torch.minimum(left, right) > 0
    return F.pad(steep, (0, 1)) | F.pad(steep, (1, 0))


def project_cloud(points: Tensor, rig: CameraRig, settings: LidarSettings) -> Tensor:
    """Sparse depth [N, H, W]: the nearest point of each pixel, 0 where there is none."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f'a cloud must be [P, 3] in the ego frame, got {tuple(points.shape)}')
    if len(set(rig.image_sizes)) != 1:
        raise ValueError(f'the cameras must have one image size, got {rig.image_sizes}')
    height, width = rig.image_sizes[0]
    points = points.to(rig.intrinsics)
    pixels, depth = rig.project(points[torch.isfinite(points.sum(1))])
    column, row = pixels.floor().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside &= (depth >= settings.min_depth) & (depth <= settings.max_depth)
    view = torch.arange(len(rig), device=points.device)[:, None].expand_as(row)
    cell = ((view * height + row) * width + column)[inside]
    nearest = torch.full((len(rig) * height * width,), torch.inf, device=points.device)
    nearest = nearest.scatter_reduce(0, cell, depth[inside].float(), 'amin')
    return torch.where(nearest.isfinite(), nearest, 0.0).view(len(rig), height, width)


def remove_hidden(sparse: Tensor, radius: int, tolerance: float) -> Tensor:
    """Drop points much farther than the nearest one within `radius` pixels."""
    inverse = torch.where(sparse > 0, 1 / sparse.clamp_min(1e-6), 0.0)
    nearest = _largest(inverse[:, None], radius)[:, 0]
    return torch.where(inverse * (1 + tolerance) >= nearest, sparse, 0.0)


def densify(sparse: Tensor, gap: int) -> Tensor:
    """Fill depth [N, H, W] between points that lie within `gap` pixels; 0 stays where none do.

    A pyramid: each level averages the inverse depths of its points over 2x2 cells; then, coarse
    to fine, a cell without points takes the coarser level's, interpolated.
    """
    weight = (sparse > 0).float()[:, None]
    inverse = torch.where(weight > 0, 1 / sparse[:, None].clamp_min(1e-6), 0.0)
    levels = [(inverse, weight)]
    while 2 ** (len(levels) - 1) < 2 * gap and min(levels[-1][0].shape[-2:]) > 1:
        levels.append(_halve(*levels[-1]))
    filled, known = levels[-1]
    for value, own in reversed(levels[:-1]):
        size = value.shape[-2:]
        # interpolating value and weight alike keeps unknown cells out of the mean
        mass = F.interpolate(known, size, mode='bilinear', align_corners=False)
        coarse = F.interpolate(filled * known, size, mode='bilinear', align_corners=False)
        coarse = coarse / mass.clamp_min(1e-6)
        filled = torch.where(own > 0, value, coarse)
        known = torch.maximum((own > 0).float(), (mass > 0).float())
    near = _largest(weight, gap) > 0
    dense = torch.where(near & (known > 0), 1 / filled.clamp_min(1e-6), 0.0)
    return dense[:, 0]


def _largest(plane: Tensor, radius: int) -> Tensor:
    """The largest value >= 0 of [N, 1, H, W] within a square of 2 `radius` + 1 pixels.

    As `max_pool2d`, which looks at every pixel of the square; here the span doubles from step to
    step, along the rows and then along the columns.
    """
    side = 2 * radius + 1
    for _ in range(2):
        padded, span = F.pad(plane, (radius, radius)), 1
        while span < side:
            step = min(span, side - span)
            padded = torch.maximum(padded[..., :-step], padded[..., step:])
            span += step
        plane = padded.transpose(-1, -2)
    return plane


def _halve(value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the known values of 2x2 cells, and whether there are any."""
    total = F.avg_pool2d(weight, 2, ceil_mode=True)
    mean = F.avg_pool2d(value * weight, 2, ceil_mode=True) / total.clamp_min(1e-6)
    return mean, (total > 0).float()
