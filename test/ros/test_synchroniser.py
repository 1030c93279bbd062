"""The synchroniser with fake stamped payloads: no graph, no clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_ros.synchroniser import CLOCK, DUPLICATE, LATE, TOO_FEW, Synchroniser

MS = 1_000_000
CAMERAS = ('A', 'B', 'C', 'D')


def synchroniser(**arguments):
    return Synchroniser(CAMERAS, **{'tolerance': 0.05, 'timeout': 0.2, **arguments})


def feed(sync, events):
    """Add (camera, stamp in ms) in order; returns the sets."""
    return [s for camera, ms in events for s in sync.add(camera, ms * MS, (camera, ms))]


def rounds(count, spread=40, period=100):
    step = spread // 3
    return [(c, n * period + i * step) for n in range(count) for i, c in enumerate(CAMERAS)]


def test_complete_sets_go_out_at_once_with_the_newest_stamp():
    sync = synchroniser()
    sets = feed(sync, rounds(3))
    assert [s.stamp for s in sets] == [39 * MS, 139 * MS, 239 * MS]
    assert sets[0].payloads == {'A': ('A', 0), 'B': ('B', 13), 'C': ('C', 26), 'D': ('D', 39)}
    assert not any(s.missing for s in sets) and not sync.drops


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(0, 50), st.integers(101, 200))
def test_separated_sets_are_found_whatever_the_order_of_arrival(seed, count, spread, period):
    """Sets narrower than the tolerance and farther apart than it: no order may mix them."""
    events = rounds(count, spread, period)
    by_round = [events[4 * n : 4 * n + 4] for n in range(count)]
    chance = random.Random(seed)
    for group in by_round:
        chance.shuffle(group)
    sets = feed(synchroniser(), [event for group in by_round for event in group])
    assert [sorted(s.payloads.values()) for s in sets] == [sorted(group) for group in by_round]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 1500)), max_size=80),
    st.integers(1, 4),
    st.lists(st.integers(0, 79), max_size=3),
)
def test_whatever_comes_every_image_is_in_one_set_or_counted(events, min_cameras, polls):
    sync = synchroniser(min_cameras=min_cameras)
    sets = []
    for number, (camera, ms) in enumerate(events):
        sets += sync.add(camera, ms * MS, number)
        if number in polls:
            sets += sync.poll(number * 100 * MS)
    sets += sync.flush()
    used = [number for s in sets for number in s.payloads.values()]
    assert len(set(used)) == len(used)
    assert len(used) + sum(sync.drops.values()) == len(events)
    for s in sets:
        assert len(s.payloads) >= min_cameras
        assert max(s.stamps.values()) - min(s.stamps.values()) <= 50 * MS
        assert s.stamp == max(s.stamps.values())
        assert set(s.payloads) | set(s.missing) == set(CAMERAS)
        for camera, number in s.payloads.items():
            assert events[number] == (camera, s.stamps[camera] // MS)
    stamps = [s.stamp for s in sets]
    assert stamps == sorted(set(stamps))


def test_a_silent_camera_makes_partial_sets_at_the_timeout_of_the_stamps():
    """ros_comm 800, 802, 2052: one missing topic must not stop the others."""
    sync = synchroniser()
    sets = feed(sync, [event for event in rounds(8) if event[0] != 'C'])
    assert len(sets) == 6
    assert all(s.missing == ('C',) for s in sets)


def test_a_stalled_stream_gives_its_partial_set_at_the_timeout_of_any_clock():
    sync = synchroniser()
    assert feed(sync, [('A', 0), ('B', 10)]) == []
    assert sync.poll(7_000 * MS) == []
    assert sync.poll(7_199 * MS) == []
    (partial,) = sync.poll(7_200 * MS)
    assert partial.missing == ('C', 'D')
    assert sync.poll(9_000 * MS) == []


def test_too_few_cameras_are_counted():
    sync = synchroniser(min_cameras=3)
    assert feed(sync, [('A', 0), ('B', 10), *rounds(1, 40)[:0]]) == []
    assert sync.flush() == []
    assert sync.drops == {('A', TOO_FEW): 1, ('B', TOO_FEW): 1}


def test_duplicates_and_late_images_are_counted():
    sync = synchroniser()
    sets = feed(sync, [('A', 0), ('A', 0), ('B', 1), ('C', 2), ('D', 3), ('B', 2)])
    assert len(sets) == 1
    assert sync.drops == {('A', DUPLICATE): 1, ('B', LATE): 1}


def test_phase_offsets_group_cameras_that_fire_far_apart():
    offsets = {'A': 0.0, 'B': 0.03, 'C': 0.06, 'D': 0.09}
    sync = synchroniser(tolerance=0.01, offsets=offsets)
    sets = feed(sync, [('A', 0), ('B', 31), ('C', 62), ('A', 100), ('D', 91), ('B', 130)])
    assert [sorted(s.payloads.values()) for s in sets] == [
        [('A', 0), ('B', 31), ('C', 62), ('D', 91)]
    ]
    assert sets[0].stamp == 91 * MS


def test_one_camera_with_a_wrong_clock_does_not_disturb_the_others():
    wrong = 3_600_000
    sync = synchroniser()
    events = [(c, ms + (wrong if c == 'D' else 0)) for c, ms in rounds(12)]
    sets = feed(sync, events)
    assert sum(set(s.payloads) == {'A', 'B', 'C'} for s in sets) >= 8
    assert sync.drops['D', CLOCK] >= 10
    assert all(s.stamp < wrong * MS for s in sets)


@pytest.mark.parametrize('start', [-3_600_000, 3_600_000])
def test_a_jump_of_all_clocks_starts_afresh(start):
    sync = synchroniser()
    sets = feed(sync, rounds(3) + [(c, ms + start) for c, ms in rounds(3)])
    assert len(sets) == 6 and not any(s.missing for s in sets)
    assert sync.jumps == 1 and not sync.drops


def test_cameras_that_come_back_alone_after_a_pause_are_heard():
    sync = synchroniser()
    sets = feed(sync, rounds(2) + [('A', ms) for ms in range(10_000, 12_000, 100)])
    sets += sync.flush()
    assert sum(set(s.payloads) == {'A'} for s in sets) >= 18


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({'tolerance': -1.0}, 'sync.tolerance'),
        ({'tolerance': float('nan')}, 'sync.tolerance'),
        ({'timeout': 0.01}, 'sync.timeout'),
        ({'min_cameras': 5}, 'sync.min_cameras'),
        ({'offsets': {'X': 1.0}}, 'X'),
    ],
)
def test_contradictory_settings_are_named(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        synchroniser(**arguments)


def test_an_unknown_camera_is_named():
    with pytest.raises(ValueError, match="no camera 'Z'"):
        synchroniser().add('Z', 0, None)
