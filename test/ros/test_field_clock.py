"""The clock is compared with a stamp when its image comes, not when cameras have stopped since."""

from __future__ import annotations

import time

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus

from gausstr_ros.health import clock_check
from gausstr_ros.health.diagnostics import Health
from gausstr_ros.settings.settings import read_settings

pytestmark = pytest.mark.ros
SECOND = 10**9
NOON = 1_800_000_000 * SECOND


def test_cameras_that_stop_are_of_no_recording(start, tester, monkeypatch):
    """field_reports N6, with a tenth of the time."""
    # silence is named after 2 s; the images of a busy machine may come late themselves
    monkeypatch.setattr(clock_check, 'CLOCKS_APART', 1.9)
    start()
    for count in range(1, 4):
        tester.play_set(round((time.time_ns() - tester.start) / 10**8))
        tester.wait_for_text(f'received={count}')
    tester.wait_for_text('no image on /CAM_A/image_raw/compressed for 2.')
    levels = {
        status.level
        for report in tester.heard['/diagnostics']
        for status in report.status
        if status.name == 'gausstr: clock'
    }
    assert levels == {DiagnosticStatus.OK}


class Cameras:
    """A health whose clocks are the test's."""

    def __init__(self, *names):
        self.seconds = 0.0
        self.health = Health(clock=lambda: self.seconds)
        self.health.configured(read_settings({'cameras': list(names)}))
        self.health.state('active')

    def sends(self, camera, behind, *, clock=True):
        """An image that is some seconds behind the clock as it comes."""
        now = NOON + round(self.seconds * SECOND)
        stamp = now - round(behind * SECOND)
        self.health.received(camera, stamp, now if clock else 0)

    def shown(self, *, sim_time=False):
        now = NOON + round(self.seconds * SECOND)
        found = self.health.message(now, sim_time=sim_time).status
        return next(status for status in found if status.name.endswith(': clock'))


@pytest.mark.parametrize('silence', [12.0, 3600.0])
@pytest.mark.parametrize('sim_time', [True, False])
def test_silence_is_no_other_clock(silence, sim_time):
    """field_reports N6."""
    cameras = Cameras('A', 'B')
    cameras.sends('A', 0.1)
    cameras.seconds += silence
    shown = cameras.shown(sim_time=sim_time)
    assert shown.level == DiagnosticStatus.OK
    assert {p.key: p.value for p in shown.values}['images behind the clock [s]'] == '0.100'


@pytest.mark.parametrize(('behind', 'word'), [(3600.0, 'behind'), (-3600.0, 'ahead of')])
def test_another_clock_shows_however_long_ago_the_images_came(behind, word):
    """field_reports N6: what is right stays so."""
    cameras = Cameras('A', 'B')
    for camera in 'AB':
        cameras.sends(camera, behind)
    for _ in range(2):
        shown = cameras.shown()
        assert shown.level == DiagnosticStatus.WARN
        assert f'the images are 3600 s {word}' in shown.message
        cameras.seconds += 1800


def test_a_clock_that_was_set_right_is_forgotten_with_the_cameras_that_stopped_before():
    """field_reports N6: one camera's last word is not that of the others."""
    cameras = Cameras('A', 'B')
    cameras.sends('A', -3600.0)
    cameras.sends('B', -3600.0)
    assert cameras.shown().level == DiagnosticStatus.WARN
    cameras.seconds += 5
    cameras.sends('B', 0.1)
    assert cameras.shown().level == DiagnosticStatus.OK


def test_images_that_came_before_simulated_time_are_compared_with_nothing():
    """field_reports N6: /clock began 12 s after the images."""
    cameras = Cameras('A')
    cameras.sends('A', 0.0, clock=False)
    cameras.seconds += 12
    assert cameras.shown(sim_time=True).level == DiagnosticStatus.OK
