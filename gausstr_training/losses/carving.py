"""What depth images say about voxels, and how well the Gaussians agree: a loss in the map itself.

Splatted images weigh a pixel of wall as much as a pixel of road, and do not see how far a Gaussian
reaches behind the surface it draws. The map does. Rays that end in a voxel fill it and name it,
rays that pass through empty it, everything else says nothing: 2D depth and classes alone, no 3D
label. The loss is the soft Jaccard distance between the Gaussians' voxels and these, class by
class as the score of the map is, and of all classes together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.voxels import voxelise
from gausstr_core.voxels.visibility import half_diagonal, observed_voxels
from gausstr_training.losses.landing import landing_voxels

CLEARANCE = 0.1  # metres before the surface up to which a ray empties the voxels
HALF_FULL = 0.7  # density at which a voxel counts half
BODY = 0.2  # metres: what stands on the ground is at least as thick as this
REACHED = 0.02  # density below which an emptied voxel counts as empty
EMPTY = -1


@dataclass(frozen=True)
class Carving:
    """Voxels by what the rays did to them; those in neither say nothing."""

    named: Tensor  # [X, Y, Z] int64 class 0..K-1 where rays end, EMPTY where none does
    emptied: Tensor  # bool [X, Y, Z] rays pass through


def carve(
    depth: Tensor,
    semantics: Tensor,
    weights: Tensor,
    rig: CameraRig,
    grid: VoxelGrid,
    ground: int = 0,
) -> Carving:
    """Follow the ray of every pixel to its end, and on what stands a little into the body.

    Args:
        depth: [N, H, W] z-depth in metres; 0 where the ray meets nothing (sky), NaN where it is
            unknown: such a ray says nothing.
        semantics: [N, H, W] class; rays to classes >= K, the sky, fill nothing.
        weights: [K] > 0; where rays of several classes end, the most by weight name the voxel.
        rig: N cameras at the depth's size.
        grid: where the voxels are, ego frame.
        ground: the first so many classes lie flat and have no body behind their surface.
    """
    classes, kinds = len(weights), semantics.long()
    ends = torch.where((kinds < classes) & (depth > 0), depth, 0.0)
    inside = torch.where((ends > 0) & (kinds >= ground), ends + BODY, 0.0)
    found = [landing_voxels(reach, rig, grid) for reach in (ends, inside)]
    voxels = torch.cat([voxel for voxel, _ in found])
    names = torch.cat([kinds.flatten()[lands] for _, lands in found])
    cells, place = voxels.unique(return_inverse=True)
    counts = torch.bincount(place * classes + names, minlength=len(cells) * classes)
    named = torch.full((math.prod(grid.shape),), EMPTY, device=depth.device)
    named[cells] = (counts.reshape(-1, classes) * weights).argmax(1)
    named = named.reshape(grid.shape)
    # `observed_voxels` looks half a diagonal past the depth it is given
    margin = half_diagonal(grid) + CLEARANCE
    through = torch.where(depth > 0, depth - margin, torch.where(depth.isnan(), 0.0, torch.inf))
    return Carving(named, observed_voxels(through, rig, grid) & (named == EMPTY))


def carving_loss(
    gaussians: Gaussians, probabilities: Tensor, carving: Carving, grid: VoxelGrid, blur: float
) -> tuple[Tensor, Tensor]:
    """1 - soft IoU of the Gaussians' voxels and the named ones, each in [0, 1].

    A voxel of density d counts as d^2 / (d^2 + HALF_FULL^2), the soft form of a threshold, and
    for a class by the class's share of the density.

    Args:
        gaussians: ego frame, free of sky.
        probabilities: [G, K] of the classes.
        carving: of the same instant.
        grid: of the carving.
        blur: as the map uses it, see `voxels.voxelise`.

    Returns:
        The mean over the classes that the carving names, and that of occupied against free.
    """
    density, shares = voxelise(gaussians, probabilities, grid, blur=blur)
    counted = (carving.named != EMPTY) | (carving.emptied & (density.detach() > REACHED))
    d, named = density[counted], carving.named[counted]
    full = d * d / (d * d + HALF_FULL**2)
    by_class = full[:, None] * shares[counted] / d.clamp_min(1e-6)[:, None]
    filled = named != EMPTY
    truth = F.one_hot(named.clamp_min(0), probabilities.shape[1]) * filled[:, None]
    common, wanted = (by_class * truth).sum(0), truth.sum(0)
    per_class = common / (wanted + by_class.sum(0) - common).clamp_min(1e-6)
    together = full[filled].sum() / (filled.sum() + full[~filled].sum()).clamp_min(1e-6)
    present = wanted > 0
    mean = per_class[present].sum() / present.sum().clamp_min(1)
    return 1 - mean, 1 - together
