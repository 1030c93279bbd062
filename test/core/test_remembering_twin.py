"""The memory's kernels and their plain twin, and the pieces by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cycles import GRID, SECOND, cycle, drawn_cycle, empty_labels, front_rig, pose, wall, words

from gausstr_core.contracts import VoxelGrid, matrix_from_quaternion
from gausstr_core.remembering import Evidence, Memory, MemorySettings
from gausstr_core.remembering.compression import COMPONENTS, Compression
from gausstr_core.remembering.evidence import (
    BEHIND,
    BINS,
    SHAPE,
    fitted_table,
    plain_table,
)
from gausstr_core.remembering.looking import UNSEEN, Present, looks
from gausstr_core.remembering.ring import NEVER, Ring
from gausstr_core.voxels.rules import CalibratedRule

pytestmark = pytest.mark.usefixtures('two_threads')
WORDS = words()
EVIDENCE = Evidence(plain_table(), CalibratedRule())


def tilted(x: float, seed: int) -> np.ndarray:
    """A pose with roll, pitch and yaw."""
    random = np.random.default_rng(seed)
    turn = torch.tensor([1.0, *random.normal(0, 0.05, 2), random.normal(0, 0.5)])
    matrix = pose(x, 0.3 * x)
    matrix[:3, :3] = matrix_from_quaternion(turn.double()).numpy()
    return matrix


def test_twins_agree_in_every_bit_over_a_drive() -> None:
    eager = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.5, -0.5, -0.5])  # every branch is taken
    fast, plain = (
        Memory(
            MemorySettings(seconds=2.0, max_turn=100.0), GRID, EVIDENCE,
            backend=backend, levels=eager,
        )
        for backend in ('fast', 'reference')
    )  # fmt: skip
    random = torch.Generator().manual_seed(11)
    remembered = 0
    for number in range(10):
        result, here = drawn_cycle(random), tilted(0.4 * number, number)
        stamp = number * SECOND // (2 if number < 6 else 1)
        one, other = (m.remember(result, WORDS, here, stamp) for m in (fast, plain))
        for name in ('labels', 'observed'):
            a, b = (getattr(found.occupancy, name) for found in (one, other))
            assert torch.equal(a, b), (number, name)
        assert torch.equal(one.age, other.age)
        torch.testing.assert_close(one.occupancy.confidence, other.occupancy.confidence)
        remembered += int(((one.age > 0) & torch.isfinite(one.age)).sum())
        states = fast.state(), plain.state()
        for key, value in states[0].items():
            if key == 'ring.code':  # sums in another order may round differently
                assert np.abs(value.astype(int) - states[1][key]).max() <= 1
            else:
                assert np.array_equal(value, states[1][key]), (number, key)
    assert remembered > 50


def test_names_make_room_in_the_order_in_which_they_came() -> None:
    grid = VoxelGrid((-2.0, -2.0, -1.0), (2.0, 2.0, 1.0), 0.25)
    fast, plain = (
        Memory(MemorySettings(), grid, EVIDENCE, backend=b) for b in ('fast', 'reference')
    )
    random = torch.Generator().manual_seed(2)
    for number in range(16):
        result = drawn_cycle(random, grid)
        for held in (fast, plain):
            held.remember(result, WORDS, pose(0.9 * number, yaw=0.9 * number), number * SECOND)
    one, other = fast.state(), plain.state()
    assert (one['ring.owner'] >= 0).all()  # more names than places
    for key in ('hand', 'slot', 'owner', 'label', 'share', 'named'):
        assert np.array_equal(one[f'ring.{key}'], other[f'ring.{key}']), key


@pytest.mark.parametrize('backend', ['fast', 'reference'])
def test_a_look_by_hand(backend: str) -> None:
    result = cycle(wall(2.2, 1), 2.25)
    present = Present.of(result.occupancy, WORDS, 0.5)
    bins = looks(
        present, result.maps.depth, front_rig(), GRID.lower, GRID.resolution, backend=backend
    )
    density, clearance, distance, kind = np.unravel_index(bins[12, 8, 2], SHAPE)
    # the wall's voxel: centre at (2.25, 0.25, 0.25) m, density 8 thresholds, an object
    assert (density, clearance, distance, kind) == (7, 3, 0, 2)
    # in front of it, at x = 0.75 m: (2.25 - 0.75) / 0.75 = 2 in front, nothing there
    density, clearance, distance, kind = np.unravel_index(bins[9, 8, 2], SHAPE)
    assert (density, clearance, distance, kind) == (0, 8, 0, 0)
    # behind it up to 20 %: 2.75 m is -18 %, 3.25 m is out of sight, and so is all behind the ego
    assert np.unravel_index(bins[13, 8, 2], SHAPE)[1] == 0
    assert BEHIND > (2.25 - 3.25) / 3.25 and bins[14, 8, 2] == UNSEEN
    assert (bins[:8] == UNSEEN).all()


def test_looks_of_twins_agree() -> None:
    for seed in range(5):
        result = drawn_cycle(torch.Generator().manual_seed(seed))
        present = Present.of(result.occupancy, WORDS, 0.5)
        rig, depth = front_rig(), result.maps.depth
        found = [
            looks(present, depth, rig, GRID.lower, GRID.resolution, backend=backend)
            for backend in ('fast', 'reference')
        ]
        assert np.array_equal(*found)
        assert (found[0] != UNSEEN).any()


def test_decay_and_sum_by_hand() -> None:
    table = np.zeros(SHAPE, np.float32)
    table[7] = 1.5  # dense voxels
    held = Memory(MemorySettings(half_life=2.0), GRID, Evidence(table, CalibratedRule()))
    for number in range(3):
        held.remember(cycle(wall(2.2, 1), 2.25), WORDS, pose(), number * SECOND)
    half = math.sqrt(0.5)  # a second of a half-life of two
    expected = 1.5 + half * (1.5 + half * 1.5)
    odds = held.state()['ring.odds'] / 1024
    assert odds.max() == pytest.approx(expected, abs=0.01)


def test_a_table_of_counts_by_hand() -> None:
    occupied, free = np.zeros((2, *SHAPE))
    occupied[7, 4], free[7, 4] = 9000, 1000
    occupied[0, 8], free[0, 8] = 1000, 9000
    table = fitted_table(occupied, free)
    prior = np.log(occupied.sum() / free.sum())
    assert table[7, 4].max() == pytest.approx(np.log(9) - prior, abs=0.02)
    assert table[0, 8].min() == pytest.approx(np.log(1 / 9) - prior, abs=0.02)
    assert np.isfinite(table).all() and table.size == BINS
    with pytest.raises(ValueError, match='got none'):
        fitted_table(occupied, np.zeros(SHAPE))


def test_the_ring_keeps_what_stays_in_its_window() -> None:
    ring = Ring.empty(GRID)
    ring.follow(GRID, np.eye(4))
    cells = ring.seen.reshape(ring.size)
    place = np.array([3, -2, 1])  # a cell of the fixed frame
    cells[tuple(place % ring.size)] = 7
    for x in (0.6, 1.2, 0.1, -1.0):
        ring.follow(GRID, pose(x, 0.5 * x))
        assert cells[tuple(place % ring.size)] == 7
    ring.follow(GRID, pose(100.0))
    assert (ring.seen == NEVER).all()


def test_compression_keeps_what_32_components_span() -> None:
    random = torch.Generator().manual_seed(4)
    basis = torch.randn(20, 96, generator=random)
    features = torch.randn(500, 20, generator=random) @ basis
    compression = Compression.of(features)
    codes = compression.coordinates(features).round().clamp(-127, 127).to(torch.int8)
    assert codes.shape == (500, COMPONENTS)
    found = compression.features(codes)
    cosine = torch.nn.functional.cosine_similarity(found, features)
    assert cosine.min() > 0.999
    narrow = Compression.of(torch.randn(50, 8, generator=random))
    assert narrow.components.shape == (COMPONENTS, 8)


def test_nothing_seen_at_all_is_no_error() -> None:
    held = Memory(MemorySettings(), GRID, EVIDENCE)
    for number in range(2):
        found = held.remember(cycle(empty_labels(), 0.0), WORDS, pose(), number * SECOND)
    assert not (found.occupancy.labels >= 0).any()
