"""Which scan an image goes with: by stamps alone, whenever it is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from cloud_messages import cloud

from gausstr_ros.listening.clouds import KEPT, NO_CLOUD, REFUSED, TOO_OLD, Clouds
from gausstr_ros.sets.waiting import NotReady

MS = 1_000_000
LIDAR = '/lidar_top/points'
START = 1_000_000 * MS


def clouds(*stamps, topics=(LIDAR,), max_age=0.15, sweeps=1):
    made = Clouds(topics, max_age, sweeps)
    for stamp in stamps:
        assert made.add(topics[0], cloud(np.ones((4, 3)), stamp=START + stamp * MS)) == ''
    return made


def chosen(made, at):
    """Milliseconds of the scans of each lidar, or the reason why there are none."""
    try:
        found = made.at('CAM_A', START + at * MS)
    except NotReady as error:
        return error
    return [[(scan.stamp - START) / MS for scan in scans] for scans in found]


def test_the_nearest_scan_is_taken_as_soon_as_none_can_be_nearer():
    made = clouds(0, 100, 200)
    assert chosen(made, 240) == [[200]]  # half a period: the next one cannot be nearer
    waiting = chosen(made, 260)
    assert waiting.reason == NO_CLOUD and not waiting.final
    assert waiting.newest == START + 200 * MS
    assert f'camera CAM_A: no cloud for its image at 1000.260 s has come on {LIDAR}' in str(
        waiting
    )
    made.add(LIDAR, cloud(np.ones((4, 3)), stamp=START + 300 * MS))
    assert chosen(made, 260) == [[300]] and chosen(made, 240) == [[200]]
    assert chosen(made, 120) == [[100]] and chosen(made, 0) == [[0]]


@given(
    period=st.integers(20, 120),
    jitter=st.lists(st.integers(-4, 4), min_size=12, max_size=12),
    lost=st.sets(st.integers(3, 11), max_size=3),
    at=st.integers(250, 1200),
)
@settings(max_examples=150, deadline=None)
def test_what_comes_later_changes_nothing(period, jitter, lost, at):
    """A node that asks at once and a replay that has everything take the same scan."""
    stamps = [i * period + shift for i, shift in enumerate(jitter) if i not in lost]
    answers = []
    for count in range(1, len(stamps) + 1):
        answer = chosen(clouds(*stamps[:count]), at)
        if not isinstance(answer, NotReady) or answer.final:
            answers.append(str(answer))
    assert len(set(answers)) <= 1


def test_an_old_scan_is_none():
    made = clouds(0, 100, 1000)
    old = chosen(made, 400)
    assert old.reason == TOO_OLD and old.final
    assert f'the nearest cloud on {LIDAR} is 0.300 s older than its image at 1000.400 s' in str(
        old
    )
    young = chosen(made, 700)
    assert '0.300 s younger' in str(young) and 'lidar.max_age is 0.15 s' in str(young)
    never = chosen(clouds(), 0)
    assert never.reason == NO_CLOUD and never.newest is None


def test_at_the_end_of_a_recording_nothing_is_waited_for():
    made = clouds(0)
    assert chosen(made, 90).reason == NO_CLOUD
    made.end()
    assert chosen(made, 90) == [[0]]
    assert chosen(made, 200).reason == TOO_OLD


def test_sweeps_are_the_last_scans_before_the_nearest():
    made = clouds(0, 100, 200, 300, sweeps=3)
    assert chosen(made, 210) == [[200, 100, 0]]
    assert chosen(made, 100) == [[100, 0]]  # more have not come yet


def test_each_lidar_has_its_scan_and_one_that_stopped_is_not_waited_for():
    made = clouds(0, 100, 200, topics=(LIDAR, '/rear'))
    made.add('/rear', cloud(np.ones((4, 3)), stamp=START + 95 * MS))
    assert chosen(made, 90) == [[100], [95]]
    assert chosen(made, 101).reason == NO_CLOUD  # the rear one may be on its way
    for stamp in (300, 400):
        made.add(LIDAR, cloud(np.ones((4, 3)), stamp=START + stamp * MS))
    assert chosen(made, 101) == [[100], [95]]
    assert chosen(made, 248) == [[200]]  # the rear one's is too old, and it has stopped


def test_what_cannot_be_read_is_refused_and_counted():
    made = clouds(0)
    text = made.add(LIDAR, cloud(np.ones((4, 3)), names='xyi', stamp=START + 100 * MS))
    assert text.startswith(f'lidar {LIDAR}: expected a cloud with the fields x, y and z')
    assert made.drops == {(LIDAR, REFUSED): 1}
    assert text in str(chosen(made, 100))  # the image says why it has none
    made.add(LIDAR, cloud(np.ones((4, 3)), stamp=START))
    assert made.drops[LIDAR, 'duplicate'] == 1
    no_time = cloud(np.ones((4, 3)))
    no_time.header.stamp.sec = -5
    assert 'is no time' in made.add(LIDAR, no_time)


def test_a_cloud_without_finite_points_is_named_when_it_is_read():
    made = Clouds((LIDAR,), 0.1, 1)
    made.add(LIDAR, cloud(np.full((7, 3), np.nan), stamp=START))
    ((scan,),) = made.at('CAM_A', START)
    for _ in range(2):  # each camera of the set asks
        with pytest.raises(ValueError, match=f'lidar {LIDAR}: .*none of its 7 points is finite'):
            scan.points()


def test_few_scans_are_kept_and_none_of_another_time():
    made = clouds(*range(0, 100 * (KEPT + 10), 100))
    assert chosen(made, 300).reason == TOO_OLD  # forgotten: the oldest that is kept is younger
    made.start_afresh(START)
    assert chosen(made, 0).newest is None
    large = Clouds((LIDAR,), 0.1, 1)
    for stamp in range(0, 1000, 100):
        message = cloud(np.ones((4, 3)), tail=12 * 2**20, stamp=START + stamp * MS)  # 48 MiB
        large.add(LIDAR, message)
    assert chosen(large, 300).reason == TOO_OLD and chosen(large, 600) == [[600]]
