"""What depth images say about voxels, and how well the Gaussians agree: a loss in the map itself.

Splatted images weigh a pixel of wall as much as a pixel of road, and do not see how far a Gaussian
reaches behind the surface it draws. The map does. Rays that end in a voxel fill it, rays that pass
through empty it, everything else says nothing: 2D depth alone, no 3D label. The loss is the
soft Jaccard distance between the Gaussians' voxels and these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.rig import CameraRig
from gausstr_core.visibility import half_diagonal, observed_voxels
from gausstr_core.voxels import voxelise
from gausstr_training.landing import landing_voxels

CLEARANCE = 0.1  # metres before the surface up to which a ray empties the voxels
HALF_FULL = 0.7  # density at which a voxel counts half


@dataclass(frozen=True)
class Carving:
    """Voxels by what the rays did to them; those in neither say nothing."""

    filled: Tensor  # [X, Y, Z] how much the voxel counts, 0 where no ray ends
    emptied: Tensor  # bool [X, Y, Z]


def carve(depth: Tensor, weight: Tensor, rig: CameraRig, grid: VoxelGrid) -> Carving:
    """Follow the ray of every pixel to its end.

    Args:
        depth: [N, H, W] z-depth in metres; 0 where the ray meets nothing (sky).
        weight: [N, H, W] > 0, how much the voxel counts in which the ray ends; where several
            rays end, the greatest.
        rig: N cameras at the depth's size.
        grid: where the voxels are, ego frame.
    """
    voxel, lands = landing_voxels(depth, rig, grid)
    # the maximum, because which of several writes comes last is a matter of threads
    filled = torch.zeros(math.prod(grid.shape)).scatter_reduce_(
        0, voxel, weight.flatten()[lands], 'amax'
    )
    filled = filled.reshape(grid.shape)
    # `observed_voxels` looks half a diagonal past the depth it is given
    margin = half_diagonal(grid) + CLEARANCE
    through = torch.where(depth > 0, depth - margin, torch.inf)
    return Carving(filled, observed_voxels(through, rig, grid) & (filled == 0))


def carving_loss(gaussians: Gaussians, carving: Carving, grid: VoxelGrid, blur: float) -> Tensor:
    """1 - soft, weighted IoU of the Gaussians' voxels and the filled ones, in [0, 1].

    A voxel of density d counts as d^2 / (d^2 + HALF_FULL^2): the soft form of a threshold.

    Args:
        gaussians: ego frame, free of sky.
        carving: of the same instant.
        grid: of the carving.
        blur: as the map uses it, see `voxels.voxelise`.
    """
    nothing = gaussians.means.new_zeros(len(gaussians), 0)
    density, _ = voxelise(gaussians, nothing, grid, blur=blur)
    square = density * density
    share = square / (square + HALF_FULL**2)
    common = (carving.filled * share).sum()
    either = carving.filled.sum() + share[carving.emptied].sum()
    return 1 - common / either.clamp_min(1e-6)
