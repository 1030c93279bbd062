"""Carving: what rays fill and empty, and a loss that pulls Gaussians to where the rays end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_training.losses.carving import EMPTY, Carving, carve, carving_loss

GRID = VoxelGrid((0.0, -2.0, -2.0), (8.0, 2.0, 2.0), 0.5)
WALL = 5.25  # metres: the middle of the voxels with index 10 along x


def camera() -> CameraRig:
    """At the grid's edge, looking along x, 90 degrees wide and high."""
    forward = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    k = torch.tensor([[40.0, 0, 40], [0, 40, 40], [0, 0, 1]])
    return CameraRig(('front',), k[None], forward[None], ((80, 80),))


def wall(depth: float = WALL) -> Tensor:
    return torch.full((1, 80, 80), depth)


def carved(depth: Tensor, kind: int = 1, ground: int = 1) -> Carving:
    """Of two classes: 0 is ground, 1 stands on it."""
    return carve(depth, torch.full_like(depth, kind), torch.ones(2), camera(), GRID, ground)


def blobs(x: float, opacity: float = 0.99) -> Gaussians:
    """One Gaussian in each voxel of the plane at x that the rays to the wall fill."""
    place = (carved(wall(), kind=0).named == 0).nonzero()
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


def shares(gaussians: Gaussians, kind: int) -> Tensor:
    """Every Gaussian is sure to be of a class."""
    return F.one_hot(torch.full((len(gaussians),), kind), 2).float()


def test_a_wall_by_hand() -> None:
    carving = carved(wall(), kind=0)
    # 5.25 m away, the image spans more than the grid: every voxel of the plane is hit
    assert (carving.named != EMPTY).nonzero()[:, 0].unique().tolist() == [10]
    assert (carving.named == 0).sum() == 8 * 8
    # voxel 9 has its centre at 4.75 m, half a metre before the wall, and the rays pass through it
    assert carving.emptied[9].all()
    assert not carving.emptied[10:].any()
    # out of the field of view nothing is said: at x = 0.25 m the view is 0.5 m wide
    assert not carving.emptied[0, 0].any()


def test_what_stands_has_a_body_and_ground_has_none() -> None:
    back = 5.4  # metres: 0.1 before the end of voxel 10, so that the body reaches into voxel 11
    named = carved(wall(back), kind=1).named
    assert (named == 1).nonzero()[:, 0].unique().tolist() == [10, 11]
    named = carved(wall(back), kind=0).named
    assert (named == 0).nonzero()[:, 0].unique().tolist() == [10]


def test_the_weightier_class_names_a_voxel() -> None:
    semantics = torch.zeros(1, 80, 80)
    semantics[:, :, ::3] = 1  # a third of the pixels
    for weights, expected in ((torch.ones(2), 0), (torch.tensor([1.0, 8.0]), 1)):
        named = carve(wall(), semantics, weights, camera(), GRID, ground=2).named
        filled = named[named != EMPTY]
        assert (filled == expected).float().mean() > 0.9


def test_sky_empties_and_fills_nothing() -> None:
    for carving in (carved(wall(0.0)), carved(wall(0.0), kind=2)):
        assert (carving.named == EMPTY).all()
        assert carving.emptied[15].all()


def test_the_loss_knows_right_from_wrong() -> None:
    carving = carved(wall(), kind=0)

    def losses(gaussians: Gaussians, kind: int = 0) -> tuple[float, float]:
        classes, all_one = carving_loss(gaussians, shares(gaussians, kind), carving, GRID, 0.2)
        return float(classes), float(all_one)

    assert losses(blobs(WALL, opacity=0.0)) == (1.0, 1.0)
    assert max(losses(blobs(WALL))) < 0.5
    assert min(losses(blobs(WALL - 0.5))) > 0.9  # in voxels that the rays went through
    # behind the wall no ray says anything: nothing is filled, and nothing wrongly so
    assert min(losses(blobs(WALL + 1.5))) > 0.99
    # there, but under another name
    classes, all_one = losses(blobs(WALL), kind=1)
    assert classes == 1.0 and all_one < 0.5


def test_by_hand_where_every_voxel_has_one_density() -> None:
    """Three voxels of density 0.7: two named, one of each class, and one emptied."""
    grid = VoxelGrid((0.0, 0.0, 0.0), (1.5, 0.5, 0.5), 0.5)
    named = torch.tensor([0, 1, EMPTY]).view(3, 1, 1)
    three = Gaussians(
        grid.centers().reshape(3, 3),
        torch.full((3, 3), 0.01),
        torch.tensor([[1.0, 0, 0, 0]] * 3),
        torch.full((3,), 0.7),
        torch.zeros(3, 1),
    )
    said = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    carving = Carving(named, named == EMPTY)
    classes, all_one = carving_loss(three, said, carving, grid, blur=0.0)
    # each voxel counts half: class 0 has 0.5 in common of 1 + 0.25, class 1 0.25 of 1 + 0.5
    torch.testing.assert_close(classes, torch.tensor(1 - (0.5 / 1.25 + 0.25 / 1.5) / 2))
    torch.testing.assert_close(all_one, torch.tensor(1 - 1.0 / 2.5))


def test_gradient_pulls_towards_the_wall() -> None:
    carving = carved(wall(), kind=0)
    near = blobs(WALL - 0.2)
    means = near.means.clone().requires_grad_()
    moved = Gaussians(means, near.scales, near.rotations, near.opacities, near.features)
    said = torch.full((len(near), 2), 0.5, requires_grad=True)
    sum(carving_loss(moved, said, carving, GRID, blur=0.2)).backward()
    assert means.grad is not None and said.grad is not None
    assert (means.grad[:, 0] < 0).float().mean() > 0.9  # a step against it goes away from us
    assert (said.grad[:, 0] < said.grad[:, 1]).float().mean() > 0.9  # towards the right name
