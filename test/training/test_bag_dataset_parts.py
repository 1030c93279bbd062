"""The parts of the bag data set: grouping, poses, drawing, augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from bag_files import write_bag_of_drive
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import matrix_from_quaternion
from gausstr_core.stamps import SECOND
from gausstr_training.bags.augment import Augmentation, cropped, mirrored, resized
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.grouping import group_stamps
from gausstr_training.bags.poses import Link, TransformTree, rigid_inverse
from gausstr_training.bags.sampler import drawn, generator_at
from gausstr_training.bags.sets import BagSettings

few_stamps = st.lists(st.integers(0, 30), max_size=4, unique=True).map(sorted)


@pytest.fixture(scope='module')
def frame(tmp_path_factory: pytest.TempPathFactory) -> BagFrame:
    """A frame of six cameras with both neighbours, and lidar points."""
    folder = tmp_path_factory.mktemp('drive')
    write_bag_of_drive(folder / 'drive', frames=3)
    dataset = BagDataset([folder], BagSettings(neighbours=True), cache=folder / 'cache')
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    return replace(dataset[1], points=points)


def worth(stamps: list[np.ndarray], sets: Iterable[np.ndarray], tolerance: int) -> int:
    spans = [np.ptp([own[i] for own, i in zip(stamps, row, strict=True)]) for row in sets]
    return sum(2 * tolerance + 1 - int(span) for span in spans)


@settings(max_examples=150, deadline=None)
@given(st.lists(few_stamps, min_size=1, max_size=3), st.integers(0, 8))
def test_the_best_grouping_is_found(given_stamps: list[list[int]], tolerance: int) -> None:
    """Compared with every choice of disjoint sets."""
    stamps = [np.array(own, np.int64) for own in given_stamps]
    sets = group_stamps(stamps, tolerance)
    assert sets.shape[1] == len(stamps)
    assert (np.diff(sets, axis=0) > 0).all()
    for row in sets:
        assert np.ptp([own[i] for own, i in zip(stamps, row, strict=True)]) <= tolerance

    windows = {
        tuple(next((i for i, t in enumerate(own) if t >= start), None) for own in given_stamps)
        for start in itertools.chain(*given_stamps)
    }
    whole = [np.array(window) for window in windows if None not in window]
    near = [window for window in whole if worth(stamps, [window], tolerance) > tolerance]
    choices = (chosen for n in range(len(near) + 1) for chosen in itertools.combinations(near, n))
    disjoint = (
        chosen
        for chosen in choices
        if all((one != other).all() for one, other in itertools.combinations(chosen, 2))
    )
    best = max(worth(stamps, chosen, tolerance) for chosen in disjoint)
    assert worth(stamps, sets, tolerance) == best


def test_a_recording_that_starts_in_mid_cycle_is_grouped_as_the_cameras_fired() -> None:
    """A sweep of 42 of 83 ms: first come, first served would join the end with the next start."""
    phases = [33, 42, 0, 8, 16, 25]  # the recording starts with the two last of a sweep
    jitter = np.random.default_rng(0).integers(-2, 3, (6, 21))
    stamps = [
        (np.arange(21) * 83 + phase + jitter[camera])[0 if camera < 2 else 1 :]
        for camera, phase in enumerate(phases)
    ]
    sets = group_stamps(stamps, 60)
    assert (sets == np.arange(20)[:, None] + [1, 1, 0, 0, 0, 0]).all()


def test_cameras_of_different_rates_meet_at_the_slower_one() -> None:
    fast, slow = np.arange(0, 1000, 33), np.arange(5, 1000, 100)
    sets = group_stamps([fast, slow], 20)
    assert (sets[:, 1] == np.arange(10)).all()
    assert np.abs(fast[sets[:, 0]] - slow).max() <= 17


quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
places = st.tuples(*[st.floats(-1e3, 1e3)] * 3)


@settings(max_examples=60, deadline=None)
@given(quaternions, quaternions, places, places, st.floats(0, 1))
def test_between_samples_place_is_linear_and_turn_is_on_the_shortest_arc(
    first: tuple[float, ...],
    last: tuple[float, ...],
    start: tuple[float, ...],
    end: tuple[float, ...],
    share: float,
) -> None:
    epoch = 1_700_000_000 * SECOND
    turns = [np.array(q) / np.linalg.norm(q) for q in (first, last)]  # xyzw
    poses = np.stack([np.concatenate(p) for p in zip((start, end), turns, strict=True)])
    link = Link('odom', False, np.array([epoch, epoch + SECOND]), poses)
    tree = TransformTree({'base_link': link})
    at = np.array([epoch + round(share * SECOND)])
    got, known = tree.pose('odom', 'base_link', at, SECOND)
    assert known.all()
    share = round(share * SECOND) / SECOND
    np.testing.assert_allclose(
        got[0, :3, 3], (1 - share) * np.array(start) + share * np.array(end), atol=1e-9
    )
    ends = matrix_from_quaternion(torch.from_numpy(np.roll(turns, 1, axis=1))).numpy()
    whole = angle(ends[0].T @ ends[1])
    assert angle(ends[0].T @ got[0, :3, :3]) == pytest.approx(share * whole, abs=1e-6)
    assert angle(got[0, :3, :3].T @ ends[1]) == pytest.approx((1 - share) * whole, abs=1e-6)


def angle(rotation: np.ndarray) -> float:
    """Radians; accurate near 0 as well as near pi."""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                     rotation[1, 0] - rotation[0, 1]])  # fmt: skip
    return float(np.arctan2(np.linalg.norm(axis), np.trace(rotation) - 1))


def test_what_is_known_of_a_pose() -> None:
    stamps = np.array([10, 20, 60, 61])
    poses = np.tile([0.0, 0, 0, 0, 0, 0, 1], (4, 1))
    poses[:, 0] = stamps
    tree = TransformTree(
        {
            'base': Link('odom', False, stamps, poses),
            'camera': Link('base', True, stamps[:1], poses[:1]),
            'once': Link('odom', False, stamps[:1], poses[:1]),
            'loop': Link('pool', True, stamps[:1], poses[:1]),
            'pool': Link('loop', True, stamps[:1], poses[:1]),
        }
    )
    asked = np.array([9, 10, 15, 20, 40, 60, 61, 62])
    matrices, known = tree.pose('odom', 'camera', asked, gap=30)
    assert known.tolist() == [False, True, True, True, False, True, True, False]
    assert matrices[known][:, 0, 3].tolist() == [20, 25, 30, 70, 71]
    assert tree.pose('odom', 'once', asked, 30)[1].tolist() == (asked == 10).tolist()
    assert tree.pose('base', 'base', asked, 0)[0].tolist() == [np.eye(4).tolist()] * 8
    with pytest.raises(ValueError, match=r'no transform from camera to map: .* base -> odom'):
        tree.pose('map', 'camera', asked, 30)
    with pytest.raises(ValueError, match='loop -> pool -> loop'):
        tree.pose('odom', 'loop', asked, 30)
    assert tree.above({'camera'}).links.keys() == {'camera', 'base'}


def test_rigid_inverse() -> None:
    turns = matrix_from_quaternion(torch.randn(5, 4, dtype=torch.float64)).numpy()
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = turns, np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(rigid_inverse(poses) @ poses, np.tile(np.eye(4), (5, 1, 1)),
                               atol=1e-12)  # fmt: skip


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3), st.integers(0, 99))
def test_every_epoch_is_a_partition_over_the_ranks(
    size: int, ranks: int, epoch: int, seed: int
) -> None:
    """Also where the frames are no multiple of the ranks."""
    span = range(epoch * size, (epoch + 1) * size)
    seen = []
    for rank in range(ranks):
        own = range(rank, (epoch + 2) * size, ranks)
        seen += [drawn(position, seed, size) for position in own if position in span]
    assert sorted(seen) == list(range(size))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    orders = {
        (seed, epoch): [drawn(epoch * 50 + i, seed, 50) for i in range(50)]
        for seed in range(3)
        for epoch in range(3)
    }
    assert len({tuple(order) for order in orders.values()}) == 9
    assert orders[1, 2] == [drawn(100 + i, 1, 50) for i in range(50)]
    numbers = {
        float(torch.rand((), generator=generator_at(p, s))) for p in range(9) for s in (0, 1)
    }
    assert len(numbers) == 18


def some_points() -> torch.Tensor:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(2)) * 20


def test_mirrored_twice_is_the_same(frame: BagFrame) -> None:
    twice = mirrored(mirrored(frame))
    for once, again in zip((frame, *frame.neighbours), (twice, *twice.neighbours), strict=True):
        assert all(map(torch.equal, once.images, again.images))
        torch.testing.assert_close(once.rig.intrinsics, again.rig.intrinsics)
        assert torch.equal(once.rig.ego_from_camera, again.rig.ego_from_camera)
        assert torch.equal(once.odom_from_ego, again.odom_from_ego)
    assert torch.equal(frame.points, twice.points)
    assert not torch.equal(frame.images[0], mirrored(frame).images[0])


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(12, 60), st.integers(12, 90)),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.3, 1), st.floats(0.3, 1)),
    st.booleans(),
)
def test_points_project_where_their_pixels_went(
    frame: BagFrame, size: tuple[int, int], window: tuple[float, ...], flip: bool
) -> None:
    """Every step maps pixels as its own rule says, and the rig says the same of every point."""
    height, width = (round(share * side) for share, side in zip(window[2:], size, strict=True))
    top, left = (round(share * (whole - part)) for share, whole, part in
                 zip(window[:2], size, (height, width), strict=True))  # fmt: skip
    changed = cropped(resized(frame, *size), top, left, height, width)
    changed = mirrored(changed) if flip else changed
    for old, new in zip((frame, *frame.neighbours), (changed, *changed.neighbours), strict=True):
        assert new.stacked().shape == (6, height, width, 3)
        assert new.rig.image_sizes == ((height, width),) * 6
        (rows, columns), points = old.rig.image_sizes[0], some_points()
        pixels, depth = old.rig.project(points)
        pixels = pixels * torch.tensor([size[1] / columns, size[0] / rows])
        pixels = pixels - torch.tensor([float(left), float(top)])
        if flip:
            pixels[..., 0] = width - pixels[..., 0]
            points = points * torch.tensor([1.0, -1.0, 1.0])
        got, got_depth = new.rig.project(points)
        torch.testing.assert_close(got_depth, depth, rtol=1e-4, atol=1e-4)
        front = depth > 1
        torch.testing.assert_close(got[front], pixels[front], rtol=1e-3, atol=0.02)


def test_pixels_move_as_the_rig_says(frame: BagFrame) -> None:
    """A dot in the image stays at the projection of its point through every change."""
    for camera in range(6):
        at = torch.tensor([30.5, 20.5])  # the centre of row 20, column 30
        pixels = at.expand(6, 1, 2)
        point = frame.rig.unproject(pixels, torch.full((6, 1), 8.0))[camera]
        images = [torch.zeros_like(image) for image in frame.images]
        images[camera][20, 30] = 255
        dotted = replace(frame, images=images, previous=None, following=None)
        changed = mirrored(cropped(resized(dotted, 72, 128), 10, 20, 50, 90))
        where = changed.rig.project(point * torch.tensor([1.0, -1.0, 1.0]))[0][camera, 0]
        weight = changed.images[camera].float().mean(-1)
        rows, columns = torch.meshgrid(torch.arange(50) + 0.5, torch.arange(90) + 0.5,
                                       indexing='ij')  # fmt: skip
        centre = torch.stack([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        torch.testing.assert_close(centre, where, rtol=0, atol=0.05)


def test_motion_in_a_mirror_is_the_mirrored_motion(frame: BagFrame) -> None:
    flipped = mirrored(frame)
    points = some_points()
    for near, flipped_near in zip(frame.neighbours, flipped.neighbours, strict=True):
        pixels, depth = frame.rig_of(near).project(points)
        got, _ = flipped.rig_of(flipped_near).project(points * torch.tensor([1.0, -1.0, 1.0]))
        front = depth > 1
        torch.testing.assert_close(
            64 - got[front][:, 0], pixels[front][:, 0], rtol=1e-3, atol=0.02
        )
        torch.testing.assert_close(got[front][:, 1], pixels[front][:, 1], rtol=1e-3, atol=0.02)


def test_augmentation_depends_on_its_generator_alone(frame: BagFrame) -> None:
    augment = Augmentation(30, 50, zoom=(1.0, 1.6))
    first, again, other = (augment(frame, generator_at(p, 0)) for p in (1, 1, 2))
    assert torch.equal(first.stacked(), again.stacked())
    assert not torch.equal(first.stacked(), other.stacked())
    assert torch.equal(first.following.stacked(), again.following.stacked())
    assert torch.equal(first.rig.intrinsics, again.rig.intrinsics)
    torch.testing.assert_close(
        first.rig.intrinsics[:, :2, :2], first.previous.rig.intrinsics[:, :2, :2]
    )
    signs = {float(augment(frame, generator_at(p, 0)).points[0, 1].sign()) for p in range(12)}
    assert signs == {-1.0, 1.0}
    plain = Augmentation(30, 50, mirror=0, colour=False)(frame, generator_at(0, 0))
    assert torch.equal(plain.stacked(), resized(frame, 30, 50).stacked())


def test_impossible_changes_are_refused(frame: BagFrame) -> None:
    with pytest.raises(
        ValueError, match=r'drive/\d+: camera CAM_FRONT of 36x64 .* 30x50 at row 7'
    ):
        cropped(frame, 7, 0, 30, 50)
    with pytest.raises(ValueError, match=r'zoom must be'):
        Augmentation(30, 50, zoom=(0.5, 1.0))
    with pytest.raises(ValueError, match=r'probability'):
        Augmentation(30, 50, mirror=1.5)
    odd = replace(frame, images=[*frame.images[:5], frame.images[5][:9]])
    with pytest.raises(ValueError, match=r'one size, got \[\(9, 64\), \(36, 64\)\]'):
        odd.stacked()
