"""Carving: what rays fill and empty, and a loss that pulls Gaussians to where the rays end."""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.rig import CameraRig
from gausstr_training.carving import Carving, carve, carving_loss

GRID = VoxelGrid((0.0, -2.0, -2.0), (8.0, 2.0, 2.0), 0.5)
WALL = 5.25  # metres: the middle of the voxels with index 10 along x


def camera() -> CameraRig:
    """At the grid's edge, looking along x, 90 degrees wide and high."""
    forward = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    k = torch.tensor([[40.0, 0, 40], [0, 40, 40], [0, 0, 1]])
    return CameraRig(('front',), k[None], forward[None], ((80, 80),))


def wall(depth: float = WALL) -> Tensor:
    return torch.full((1, 80, 80), depth)


def carved(depth: Tensor) -> Carving:
    return carve(depth, torch.ones_like(depth), camera(), GRID)


def blobs(x: float, opacity: float = 0.99) -> Gaussians:
    """One Gaussian in each voxel of the plane at x that the rays to the wall fill."""
    place = carved(wall()).filled.nonzero()
    means = (place + 0.5) * GRID.resolution + torch.tensor(GRID.lower)
    means[:, 0] = x
    count = len(means)
    turns = torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4)
    return Gaussians(
        means,
        torch.full((count, 3), 0.1),
        turns,
        torch.full((count,), opacity),
        torch.zeros(count, 1),
    )


def test_a_wall_by_hand() -> None:
    carving = carved(wall())
    # 5.25 m away, the image spans more than the grid: every voxel of the plane is hit
    assert carving.filled.nonzero()[:, 0].unique().tolist() == [10]
    assert carving.filled.sum() == 8 * 8
    # voxel 9 has its centre at 4.75 m, half a metre before the wall, and the rays pass through it
    assert carving.emptied[9].all()
    assert not carving.emptied[10:].any()
    assert not ((carving.filled > 0) & carving.emptied).any()
    # out of the field of view nothing is said: at x = 0.25 m the view is 0.5 m wide
    assert not carving.emptied[0, 0].any()


def test_sky_empties_and_fills_nothing() -> None:
    carving = carved(wall(0.0))
    assert not carving.filled.any()
    assert carving.emptied[15].all()


def test_the_loss_knows_right_from_wrong() -> None:
    carving = carved(wall())

    def loss(gaussians: Gaussians) -> float:
        return float(carving_loss(gaussians, carving, GRID, blur=0.2))

    none = blobs(WALL, opacity=0.0)
    assert loss(none) == 1.0
    assert loss(blobs(WALL)) < 0.5
    assert loss(blobs(WALL - 0.5)) > 0.9  # in voxels that the rays went through
    # behind the wall no ray says anything: nothing is filled, and nothing wrongly so
    assert loss(blobs(WALL + 1.5)) > 0.99


def test_by_hand_where_every_voxel_has_one_density() -> None:
    """Two voxels: one filled, one emptied, each with one sharp Gaussian of density 0.7."""
    grid = VoxelGrid((0.0, 0.0, 0.0), (1.0, 0.5, 0.5), 0.5)
    filled = torch.tensor([1.0, 0.0]).view(2, 1, 1)
    centres = grid.centers().reshape(2, 3)
    pair = Gaussians(
        centres,
        torch.full((2, 3), 0.01),
        torch.tensor([[1.0, 0, 0, 0]] * 2),
        torch.full((2,), 0.7),
        torch.zeros(2, 1),
    )
    # each counts half: 0.5 in common of 1 + 0.5
    loss = carving_loss(pair, Carving(filled, filled == 0), grid, blur=0.0)
    torch.testing.assert_close(loss, torch.tensor(1 - 0.5 / 1.5))
    # counting three times: 1.5 in common of 3 + 0.5
    loss = carving_loss(pair, Carving(3 * filled, filled == 0), grid, blur=0.0)
    torch.testing.assert_close(loss, torch.tensor(1 - 1.5 / 3.5))


def test_gradient_pulls_towards_the_wall() -> None:
    carving = carved(wall())
    near = blobs(WALL - 0.2)
    means = near.means.clone().requires_grad_()
    moved = Gaussians(means, near.scales, near.rotations, near.opacities, near.features)
    carving_loss(moved, carving, GRID, blur=0.2).backward()
    assert means.grad is not None
    assert (means.grad[:, 0] < 0).float().mean() > 0.9  # a step against it goes away from us
