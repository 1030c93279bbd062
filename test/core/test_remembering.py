"""The memory through its door: what is added, what never vanishes, what is forgotten, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from cycles import (
    BUILDING,
    CAR,
    GRID,
    PEDESTRIAN,
    ROAD,
    SECOND,
    cycle,
    drawn_cycle,
    empty_labels,
    pose,
    wall,
    words,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.remembering import Evidence, Memory, MemorySettings
from gausstr_core.remembering.evidence import plain_table
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.rules import CalibratedRule, ReleasedRule

pytestmark = pytest.mark.usefixtures('two_threads')
WORDS = words()
HALF = SECOND // 2
BEHIND = pose(yaw=np.pi)  # the camera looks away


def memory(backend: str = 'fast', grid: VoxelGrid = GRID, **changes: float) -> Memory:
    evidence = Evidence(plain_table(), CalibratedRule())
    limits = MemorySettings(**{'max_turn': 10.0, **changes})
    return Memory(limits, grid, evidence, backend=backend)


def equal(one: Occupancy, other: Occupancy) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ('density', 'labels', 'confidence', 'observed')
    )


def turned(labels: torch.Tensor) -> torch.Tensor:
    """The labels after the ego has turned by 180 degrees."""
    return labels.flip(0, 1)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(-1e5, 1e5), st.floats(-3, 3))
def test_the_first_cycle_comes_out_as_it_went_in(seed: int, x: float, yaw: float) -> None:
    result = drawn_cycle(torch.Generator().manual_seed(seed))
    held = memory()
    for _ in range(2):  # a reset empties it
        found = held.remember(result, WORDS, pose(x, -x, yaw), 5 * SECOND)
        assert equal(found.occupancy, result.occupancy)
        held.clear('test')


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_objects_that_are_seen_are_shown_whatever_the_past_says(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    held = memory()
    for number in range(6):
        result = drawn_cycle(random)
        here = pose(0.3 * number, 0.0, 0.1 * number)
        found = held.remember(result, WORDS, here, number * HALF).occupancy
        objects = result.occupancy.labels > ROAD
        assert torch.equal(found.labels[objects], result.occupancy.labels[objects])
        assert (found.observed >= result.occupancy.observed).all()


def test_a_wall_beside_the_robot_is_remembered_with_its_age_and_its_name() -> None:
    held, labels = memory(), wall(2.2, BUILDING)
    for number in range(3):
        held.remember(cycle(labels, 2.2), WORDS, pose(), number * HALF)
    found = held.remember(cycle(empty_labels(), 3.9), WORDS, BEHIND, 4 * HALF)
    shown = found.occupancy.labels >= 0
    assert shown.sum() > 10
    assert (shown <= (turned(labels) >= 0)).all()
    assert set(found.occupancy.labels[shown].tolist()) == {BUILDING}
    assert found.age[shown].unique().tolist() == [1.0]
    assert found.occupancy.observed[shown].all()
    confidence = found.occupancy.confidence[shown]
    assert ((confidence > 0) & (confidence < 1)).all()


@pytest.mark.parametrize(('label', 'kept'), [(BUILDING, True), (CAR, False), (PEDESTRIAN, False)])
def test_what_can_walk_away_is_forgotten_sooner(label: int, kept: bool) -> None:
    held = memory(movable_seconds=1.0)
    for number in range(3):
        held.remember(cycle(wall(2.2, label), 2.2), WORDS, pose(), number * HALF)
    soon = held.remember(cycle(empty_labels(), 3.9), WORDS, BEHIND, 3 * HALF)
    assert (soon.occupancy.labels == label).any()
    late = held.remember(cycle(empty_labels(), 3.9), WORDS, BEHIND, 5 * HALF)
    assert (late.occupancy.labels == label).any() == kept


def test_what_was_not_seen_for_long_is_unknown_again() -> None:
    held = memory(seconds=3.0)
    held.remember(cycle(wall(2.2, BUILDING), 2.2), WORDS, pose(), 0)
    for number in range(1, 8):
        found = held.remember(cycle(empty_labels(), 3.9), WORDS, BEHIND, number * HALF)
    assert not (found.occupancy.labels >= 0).any()
    assert torch.isinf(found.age).any()


def test_a_free_view_takes_the_ghost_away() -> None:
    held = memory()
    held.remember(cycle(wall(2.2, CAR), 2.2), WORDS, pose(), 0)
    for number in range(1, 4):
        found = held.remember(cycle(empty_labels(), 30.0), WORDS, pose(), number * HALF)
    shown = found.occupancy.labels >= 0
    assert not shown.any()


def test_evidence_counts_by_time_and_not_by_cycles() -> None:
    slow, fast = memory(), memory()
    for number in range(41):
        result = cycle(wall(2.2, BUILDING), 2.2)
        fast.remember(result, WORDS, pose(), number * SECOND // 10)
        if number % 5 == 0:
            slow.remember(result, WORDS, pose(), number * SECOND // 10)
    looks = [held.state()['ring.odds'].astype(float) for held in (slow, fast)]
    seen = looks[0] != 0
    assert seen.any()
    assert np.abs(looks[0] - looks[1])[seen].max() < 0.2 * np.abs(looks[0])[seen].max()


def test_a_camera_that_sees_nothing_adds_nothing() -> None:
    held = memory()
    held.remember(cycle(wall(2.2, BUILDING), 2.2), WORDS, pose(), 0)
    before = held.state()
    held.remember(cycle(empty_labels(), 0.0), WORDS, pose(), HALF)
    after = held.state()
    assert np.array_equal(before['ring.odds'], after['ring.odds'])
    assert not held.resets


@pytest.mark.parametrize(
    ('stamp', 'moved', 'reason'),
    [
        (SECOND - 1, pose(), 'stamps went back'),
        (SECOND, pose(), 'stamps went back'),
        (12 * SECOND, pose(), 'gap longer than the memory'),
        (2 * SECOND, pose(50.0), 'pose jumped'),
        (SECOND + HALF // 5, pose(yaw=3.0), 'pose jumped'),
        (2 * SECOND, pose(20.0, yaw=1.0), ''),
    ],
)
def test_what_no_robot_does_resets_and_is_counted(
    stamp: int, moved: np.ndarray, reason: str
) -> None:
    held = memory()
    held.remember(cycle(wall(2.2, BUILDING), 2.2), WORDS, pose(), SECOND)
    result = cycle(empty_labels(), 3.9)
    found = held.remember(result, WORDS, moved, stamp)
    assert found.reset == reason
    assert dict(held.resets) == ({reason: 1} if reason else {})
    assert equal(found.occupancy, result.occupancy) == bool(reason) or not reason


def test_another_grid_resets() -> None:
    held = memory()
    held.remember(cycle(wall(2.2, BUILDING), 2.2), WORDS, pose(), 0)
    coarse = VoxelGrid(GRID.lower, GRID.upper, 1.0)
    result = cycle(empty_labels(coarse), 3.9, grid=coarse)
    found = held.remember(result, WORDS, BEHIND, HALF)
    assert found.reset == 'another grid'
    assert equal(found.occupancy, result.occupancy)


def test_clearing_is_counted_once_and_only_if_something_was_kept() -> None:
    held = memory()
    held.clear('asked')
    assert not held.resets and held.empty
    held.remember(cycle(wall(2.2, BUILDING), 2.2), WORDS, pose(), 0)
    assert not held.empty
    held.clear('asked')
    held.clear('asked')
    assert dict(held.resets) == {'asked': 1}


def test_the_window_follows_and_forgets_what_it_leaves() -> None:
    held = memory()
    held.remember(cycle(wall(2.2, BUILDING), 2.2), WORDS, pose(), 0)
    for number in range(1, 5):
        held.remember(cycle(empty_labels(), 0.0), WORDS, pose(10.0 * number), number * HALF)
    for number in range(5, 9):
        here = pose(10.0 * (8 - number))
        found = held.remember(cycle(empty_labels(), 0.0), WORDS, here, number * HALF)
    assert not held.resets
    assert not (found.occupancy.labels >= 0).any()


def test_state_goes_on_with_the_same_bits_and_never_grows() -> None:
    random = torch.Generator().manual_seed(3)
    results = [drawn_cycle(random) for _ in range(8)]
    whole, size = memory(), memory().nbytes
    found = [whole.remember(r, WORDS, pose(0.2 * n), n * HALF) for n, r in enumerate(results)]
    first = memory()
    for number in range(4):
        first.remember(results[number], WORDS, pose(0.2 * number), number * HALF)
    second = memory()
    second.restore(first.state())
    for number in range(4, 8):
        again = second.remember(results[number], WORDS, pose(0.2 * number), number * HALF)
        assert equal(again.occupancy, found[number].occupancy)
        assert torch.equal(again.age, found[number].age)
    assert whole.nbytes == second.nbytes == size


def test_a_state_of_another_grid_is_refused() -> None:
    coarse = memory(grid=VoxelGrid(GRID.lower, GRID.upper, 1.0))
    with pytest.raises(ValueError, match=r'ring\.size|ring\.odds'):
        memory().restore(coarse.state())


@pytest.mark.parametrize('ahead', [False, True])
def test_remembered_voxels_answer_in_new_words(ahead: bool) -> None:
    features = WORDS.prompt_vectors[[BUILDING, CAR]]
    labels = wall(2.2, BUILDING)
    labels[:, 8:] = torch.where(labels[:, 8:] >= 0, CAR, -1)
    of_voxels = features[(labels[labels >= 0] == CAR).long()]
    of_voxels = of_voxels + 0.01 * torch.randn(
        of_voxels.shape, generator=torch.Generator().manual_seed(0)
    )
    held = memory()
    for number in range(2):
        result = cycle(labels, 2.2, features=of_voxels)
        held.remember(result, WORDS, pose(), number * HALF)
    others = Vocabulary.build([Category('sedan'), Category('office building')])
    if ahead:
        held.relabel(others)
    found = held.remember(cycle(empty_labels(), 3.9), others, BEHIND, 2 * HALF).occupancy
    before = turned(labels)
    shown = (found.labels >= 0) & (before >= 0)
    assert shown.sum() > 10
    inner = shown.clone()
    inner[:, 7:9] = False  # where both lend their features
    assert (found.labels[inner] == torch.where(before[inner] == CAR, 0, 1)).all()
    assert not held.resets


def test_the_released_rule_is_refused() -> None:
    with pytest.raises(ValueError, match='ReleasedRule'):
        Evidence.from_card({}, 'model', ReleasedRule())


@pytest.mark.parametrize('table', [[0.0], 'none', [[1.0, 'x']]])
def test_a_damaged_card_is_named(table: object) -> None:
    card = {'calibration': {'lidar': {'evidence': table}}}
    with pytest.raises(ValueError, match='evidence of lidar'):
        Evidence.from_card(card, 'lidar', CalibratedRule())


@pytest.mark.parametrize('name', ['seconds', 'half_life', 'max_turn'])
@pytest.mark.parametrize('value', [0.0, -1.0, float('nan'), float('inf')])
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f'memory.{name}'):
        MemorySettings(**{name: value})


@pytest.mark.parametrize('bad', [np.full((4, 4), np.nan), np.eye(3), np.diag([2.0, 1, 1, 1])])
def test_a_pose_that_is_none_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match='fixed_from_ego'):
        memory().remember(cycle(empty_labels(), 3.9), WORDS, bad, 0)


def test_movable_is_known_of_usual_words_and_can_be_said() -> None:
    assert Category('person').movable and Category('thing', ('Sedan',)).movable
    assert not Category('building').movable
    assert replace(Category('building'), movable=True).movable
    with pytest.raises(ValueError, match='movable'):
        Category('car', movable='yes')  # type: ignore[arg-type]
