"""The synchroniser with fake stamped payloads: no graph, no clock."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_ros.sets.limits import Grouping
from gausstr_ros.sets.synchroniser import (
    AHEAD,
    CLOCK,
    DUPLICATE,
    LATE,
    OPEN_SETS,
    TOO_FEW,
    Synchroniser,
)

MS = 1_000_000
CAMERAS = ('A', 'B', 'C', 'D')


def grouping(**arguments):
    return Grouping(CAMERAS, **{'tolerance': 0.05, 'timeout': 0.2, **arguments})


def synchroniser(**arguments):
    return Synchroniser(grouping(**arguments))


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
    assert sync.jumps_back or stamps == sorted(set(stamps))


def test_a_silent_camera_makes_partial_sets_at_the_timeout_of_the_stamps():
    """ros_comm 800, 802, 2052, autoware.universe 2175: one missing topic stops no other."""
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
    assert sync.jumps_back == (start < 0)


@pytest.mark.parametrize('step', [-400, -1000, -1900, 300, 1000, 1900])
def test_a_small_step_of_all_clocks_costs_two_cycles_at_most(step):
    """A loop of a short bag, or a clock that is set: not a pause as long as the step."""
    sync = synchroniser()
    sets = feed(sync, rounds(4) + [(c, ms + step) for c, ms in rounds(8)[16:]])
    assert sum(not s.missing for s in sets) >= 6
    assert sync.jumps_back == (step < 0)


def test_a_looped_bag_starts_afresh_in_every_round():
    sync = synchroniser()
    sets = [s for _ in range(5) for s in feed(sync, rounds(30))]
    assert sum(not s.missing for s in sets) >= 5 * 30 - 4
    assert sync.jumps_back == 4


def test_cameras_that_come_back_alone_after_a_pause_are_heard():
    sync = synchroniser()
    sets = feed(sync, rounds(2) + [('A', ms) for ms in range(10_000, 12_000, 100)])
    sets += sync.flush()
    assert sum(set(s.payloads) == {'A'} for s in sets) >= 18


def test_cameras_that_fall_silent_are_no_jump_of_the_clock():
    """Found here: a lone camera seemed to jump after 2 s, and all transforms were forgotten."""
    sync = synchroniser()
    alone = [('A', ms) for ms in range(200, 6000, 100)]
    sets = feed(sync, rounds(2) + alone) + sync.flush()
    assert sync.jumps == 0
    assert sum(set(s.payloads) == {'A'} for s in sets) >= len(alone) - 2
    feed(sync, [(c, ms) for c, ms in rounds(64) if ms >= 6000])
    assert sync.jumps == 0


def test_a_camera_at_half_the_rate_holds_up_no_set():
    sync = synchroniser(timeout=1.0)
    last = {}
    for camera, ms in rounds(40):
        if camera == 'C' and ms // 100 % 2:
            continue
        for s in sync.add(camera, ms * MS, ms):
            last[s.stamp] = ms, s.missing
    learned = [(ms * MS - stamp, missing) for stamp, (ms, missing) in last.items()][20:]
    assert all(wait == 0 for wait, _ in learned)
    assert [missing for _, missing in learned] == [(), ('C',)] * (len(learned) // 2)


def test_a_camera_that_stays_away_holds_up_ten_sets_and_comes_back_at_once():
    sync = synchroniser()
    before = feed(sync, rounds(5))
    without = [(c, ms) for c, ms in rounds(40)[20:] if c != 'B']
    waits = [ms - s.stamp // MS for c, ms in without for s in sync.add(c, ms * MS, (c, ms))]
    assert sum(wait > 0 for wait in waits) <= 11 and waits[-20:] == [0] * 20
    after = feed(sync, rounds(50)[160:])
    assert len(before) == 5
    assert [s.missing for s in after] == [()] * 10


def test_a_camera_that_is_last_of_all_is_waited_for_again_when_it_comes_back():
    """Found here: it was late for ever, as no set waited for it because it was late."""
    sync = synchroniser()
    feed(sync, [(c, ms) for c, ms in rounds(40) if c != 'D'])
    sets = feed(sync, rounds(50)[160:])
    assert [s.missing for s in sets] == [('D',)] + [()] * 9
    assert sync.drops == {('D', LATE): 1}


@pytest.mark.parametrize('ahead', [150, 400, 1500, 5000, 10**7])
def test_one_stamp_of_the_future_costs_one_image(ahead):
    """Found here: its set went out at the timeout, and all that was older was late."""
    sync = synchroniser()
    sets = []
    for number, (camera, ms) in enumerate(rounds(30)):
        wrong = ahead if number == 21 else 0
        sets += sync.add(camera, (ms + wrong) * MS, number)
        sets += sync.poll(ms * MS)
    assert sum(not s.missing for s in sets) == 29
    assert sum(sync.drops.values()) == 1
    assert {reason for _, reason in sync.drops} <= {AHEAD, CLOCK}
    assert sync.jumps == 0


def test_a_camera_that_was_held_up_delivers_late_images_and_no_jump():
    """Found here: two old images in a row of one camera were taken for a new clock."""
    sync = synchroniser()
    smooth = [(c, ms) for c, ms in rounds(60) if c != 'A' or ms < 1000]
    feed(sync, smooth)
    held_up = [('A', ms) for ms in range(1000, 5900, 100)]
    assert feed(sync, held_up) == []
    assert sync.drops['A', LATE] == len(held_up)
    assert sync.jumps == 0
    sets = feed(sync, rounds(70)[240:])
    assert [s.missing for s in sets] == [()] * 10


def test_an_image_that_comes_after_its_set_makes_no_set_of_its_own():
    """Found here: the map showed one camera for a cycle."""
    sync = synchroniser()
    feed(sync, rounds(6))
    partial = feed(sync, [('A', 600), ('C', 626), ('D', 639)])
    partial += sync.poll(0) + sync.poll(201 * MS)
    assert [s.missing for s in partial] == [('B',)]
    rest = feed(sync, [('B', 645), ('A', 700), ('B', 713), ('C', 726), ('D', 739)])
    assert [s.missing for s in rest] == [()]
    assert sync.drops == {('B', LATE): 1}


def test_a_frozen_camera_is_left_out():
    sync = synchroniser()
    feed(sync, rounds(5))
    sets = feed(sync, [(c, 426 if c == 'C' else ms) for c, ms in rounds(40)[20:]])
    assert all(s.missing == ('C',) for s in sets) and len(sets) >= 33
    assert sync.drops == {('C', DUPLICATE): 35}


def staggered(count, period=100.0, drift=0.0):
    """Four cameras evenly over the whole period, D running away by `drift` ms per cycle."""
    return [
        (c, n * period + i * period / 4 + (drift * n if c == 'D' else 0))
        for n in range(count)
        for i, c in enumerate(CAMERAS)
    ]


def test_phases_are_learned_where_the_tolerance_is_too_small_for_them():
    sync = synchroniser(tolerance=0.02, learn_offsets=True)
    sets = feed(sync, [(c, round(ms)) for c, ms in staggered(40)])
    assert [s.missing for s in sets[-25:]] == [()] * 25
    offsets = sorted(sync.offsets.values())
    assert offsets == pytest.approx([0, 0.025, 0.05, 0.075], abs=1e-3)
    unaided = synchroniser(tolerance=0.02)
    assert all(s.missing for s in feed(unaided, [(c, round(ms)) for c, ms in staggered(40)]))


def test_learned_phases_follow_a_camera_that_runs_away():
    sync = synchroniser(tolerance=0.02, learn_offsets=True)
    sets = feed(
        sync, sorted(((c, round(ms)) for c, ms in staggered(300, drift=0.2)), key=lambda m: m[1])
    )
    assert sum(not s.missing for s in sets) >= 0.9 * 300
    assert sync.offsets['D'] - sync.offsets['A'] != pytest.approx(0.075, abs=0.01)


def test_offsets_that_are_good_enough_stay():
    offsets = {'A': 0.0, 'B': 0.013, 'C': 0.026, 'D': 0.039}
    sync = synchroniser(offsets=offsets, learn_offsets=True)
    assert len(feed(sync, rounds(40))) == 40
    assert sync.offsets == offsets
    without = synchroniser(tolerance=0.1, learn_offsets=True)
    assert len(feed(without, rounds(40))) == 40
    assert not any(without.offsets.values())


def test_cameras_without_a_common_rhythm_teach_nothing():
    chance = random.Random(0)
    sync = synchroniser(tolerance=0.02, learn_offsets=True)
    free = sorted((int(chance.uniform(0, 5000)), c) for c in CAMERAS for _ in range(50))
    feed(sync, [(c, ms) for ms, c in free])
    assert not any(sync.offsets.values())


def test_what_is_held_is_bounded_with_whatever_timeout():
    sync = synchroniser(timeout=60.0, min_cameras=4)
    most = 0
    for camera, ms in rounds(2000):
        if camera != 'B':
            sync.add(camera, ms * MS, None)
            most = max(most, len(sync))
    assert most <= (OPEN_SETS + 1) * len(CAMERAS)


def test_an_image_costs_time_in_proportion_to_the_cameras():
    """16 times as many cameras: 16 times as long per image, and not 256 times."""

    def seconds_per_image(count):
        names = tuple(f'{i}' for i in range(count))
        sync = Synchroniser(Grouping(names, 0.05, 0.2))
        events = [(c, n * 100) for n in range(3200 // count) for c in names]
        started = time.perf_counter()
        assert len(feed(sync, events)) == 3200 // count
        return (time.perf_counter() - started) / 3200

    ratio = min(seconds_per_image(128) for _ in range(3)) / min(
        seconds_per_image(8) for _ in range(3)
    )
    print(f'128 cameras cost {ratio:.1f} times as much per image as 8')
    assert ratio < 40


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


def test_other_limits_hold_from_then_on_and_no_image_is_lost():
    sync = synchroniser()
    assert len(feed(sync, rounds(5))) == 5
    assert feed(sync, [('A', 500), ('B', 510)]) == []
    (cut,) = sync.regroup(grouping(tolerance=0.005, min_cameras=2))
    assert (set(cut.payloads), cut.missing) == ({'A', 'B'}, ('C', 'D'))
    sets = feed(sync, [('C', 520), ('D', 530), *((c, ms + 600) for c, ms in rounds(4))])
    later = [*sets, *sync.flush()]
    assert all(s.stamp > cut.stamp for s in later)
    assert all(max(s.stamps.values()) - min(s.stamps.values()) <= 5 * MS for s in later)
    assert all(len(s.payloads) >= 2 for s in later)
    given = sum(len(s.payloads) for s in (cut, *later))
    assert given + sum(sync.drops.values()) == 2 + 2 + 4 * len(CAMERAS)


def test_what_was_learned_of_the_phases_outlasts_other_limits_but_not_other_phases():
    limits = {'tolerance': 0.02, 'learn_offsets': True}
    sync = synchroniser(**limits)
    feed(sync, [(c, round(ms)) for c, ms in staggered(40)])
    learned = sync.offsets
    sync.regroup(grouping(**limits, timeout=0.3))
    assert sync.offsets == learned and any(learned.values())
    given = {'A': 0.01, 'B': 0.0, 'C': 0.0, 'D': 0.0}
    sync.regroup(grouping(**limits, offsets=given))
    assert sync.offsets == given
    sync.regroup(grouping(tolerance=0.02))
    assert not any(sync.offsets.values())


def test_the_cameras_of_a_synchroniser_stay():
    with pytest.raises(ValueError, match='cannot change'):
        synchroniser().regroup(Grouping(('A', 'B'), 0.05, 0.2))


def test_an_unknown_camera_is_named():
    with pytest.raises(ValueError, match="no camera 'Z'"):
        synchroniser().add('Z', 0, None)
