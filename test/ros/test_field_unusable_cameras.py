"""Cameras that lack what an image needs besides itself are errors until they have it."""

from __future__ import annotations

import array
import contextlib

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image

from gausstr_ros.messages.stamps import header_message

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
ERROR = DiagnosticStatus.ERROR


class Rig:
    """Plays sets without some of what their cameras need."""

    def __init__(self, tester):
        self.tester = tester
        self.index = 0
        self.infos = dict(tester.infos)
        self.ego = tester.play_ego

    def break_off(self, lacks, cameras):
        """Send no transforms, odometry or CameraInfo of some cameras from now on."""
        if 'odometry' in lacks:
            self.tester.play_ego = lambda *_, **__: None
        if 'CameraInfo' in lacks:
            for camera in cameras:
                # it goes where nobody hears it
                elsewhere = f'/elsewhere/{camera}/camera_info'
                kind = type(self.tester.camera_info())
                self.tester.infos[camera] = self.tester.publisher(kind, elsewhere)
        self.tester.play_transforms(leave_out=cameras if 'transform' in lacks else ())

    def mend(self):
        self.tester.play_ego = self.ego
        self.tester.infos = self.infos
        self.tester.play_transforms()

    def play(self, **how):
        self.tester.play_set(self.index, **how)
        self.index += 1
        self.tester.wait_for_text(f'received={self.index}')

    def play_until(self, condition, **how):
        for _ in range(60):
            self.play(**how)
            with contextlib.suppress(AssertionError):
                self.tester.wait(condition, 0.5, 'what is waited for')
                return
        raise AssertionError(f'60 sets changed nothing: {self.tester.texts()[-12:]}')

    def broken(self, cameras, words):
        """Whether these cameras are errors that say why."""
        shown = [self.tester.status(camera) for camera in cameras]
        return all(s.level == ERROR and all(w in s.message for w in words) for s in shown)

    def assert_lasts(self, names):
        """In no report of some time is any of these anything but an error."""
        since = len(self.tester.heard['/diagnostics'])
        for _ in range(3):
            self.play()
            for _ in range(3):  # also between two sets
                self.tester.wait_for_report()
        shown = {
            (status.name.removeprefix('gausstr: '), status.level)
            for report in self.tester.heard['/diagnostics'][since:]
            for status in report.status
        }
        assert {level for name, level in shown if name in names} == {ERROR}


@pytest.fixture
def rig(tester):
    return Rig(tester)


@pytest.mark.parametrize('listened', [True, False])
@pytest.mark.parametrize(
    ('lacks', 'words'),
    [
        (('transform', 'odometry', 'CameraInfo'), ['camera CAM_']),
        (('transform',), ['no transform', 'base_link']),
        (('odometry',), ['no transform', 'odom']),
        (('CameraInfo',), ['no CameraInfo', '/camera_info']),
    ],
)
def test_all_cameras_are_errors_until_they_can_be_used(
    start_node, tester, rig, lacks, words, listened
):
    """field_reports R4: cameras were `ok`, and the pipeline OK in between."""
    if listened:
        tester.listen(GRID, OccupancyGrid)
    start_node(transform_timeout=0.05)
    tester.wait_matched()
    rig.break_off(lacks, tester.cameras)
    rig.play_until(lambda: rig.broken(tester.cameras, words))
    rig.assert_lasts((*tester.cameras, 'pipeline'))
    rig.mend()
    rig.play_until(
        lambda: (
            {tester.status(c).message for c in tester.cameras} == {'ok'}
            and tester.status('pipeline').level == DiagnosticStatus.OK
        )
    )


@pytest.mark.parametrize('listened', [True, False])
@pytest.mark.parametrize(
    ('lacks', 'words'),
    [('transform', ['no transform', 'CAM_B']), ('CameraInfo', ['/CAM_B/camera_info'])],
)
def test_one_camera_of_three_is_an_error_whether_anybody_listens(
    start_node, tester, rig, lacks, words, listened
):
    """field_reports R4: without a listener nothing told that it cannot be used."""
    if listened:
        tester.listen(GRID, OccupancyGrid)
    start_node(transform_timeout=0.05)
    tester.wait_matched()
    rig.break_off((lacks,), ['CAM_B'])
    rig.play_until(lambda: rig.broken(['CAM_B'], words))
    rig.assert_lasts(['CAM_B'])
    assert tester.status('CAM_A').message == tester.status('CAM_C').message == 'ok'
    assert tester.status('pipeline').level != ERROR
    rig.mend()
    rig.play_until(lambda: tester.status('CAM_B').message == 'ok')


def test_a_camera_that_has_come_is_no_error_though_its_set_still_lacks_others(
    start_node, tester, rig
):
    """field_reports R4, with sync.min_cameras: the sets are dropped before any image is read."""
    start_node(transform_timeout=0.05, **{'sync.min_cameras': 3})
    tester.wait_matched()
    rig.break_off(('transform',), tester.cameras)
    rig.play_until(lambda: rig.broken(tester.cameras, ['no transform']))
    tester.play_transforms(leave_out=['CAM_B', 'CAM_C'])
    rig.play_until(lambda: tester.status('CAM_A').message == 'ok')
    assert rig.broken(['CAM_B', 'CAM_C', 'pipeline'], ['no transform'])
    assert '1 cameras can be used, sync.min_cameras is 3' in tester.status('pipeline').message


def test_a_wrong_calibration_of_all_is_an_error_until_it_is_right(start, tester, rig):
    """field_reports R4: the pipeline was OK between two sets that could not be mapped."""
    start()
    wrong = {c: tester.camera_info(focal=float('nan')) for c in tester.cameras}
    rig.play_until(lambda: rig.broken((*tester.cameras, 'pipeline'), ['finite']), infos=wrong)
    for _ in range(5):
        tester.wait_for_report()
        assert rig.broken((*tester.cameras, 'pipeline'), ['finite'])
    rig.play_until(lambda: tester.status('pipeline').level == DiagnosticStatus.OK)
    assert {tester.status(camera).message for camera in tester.cameras} == {'ok'}


def test_cameras_without_depth_are_errors_until_it_comes(start, tester, rig):
    """field_reports R4, of what else an image may lack: it was a warning for a moment."""
    start(depth_source='topic')
    rig.play_until(lambda: rig.broken(tester.cameras, ['no depth image', '/depth']))
    rig.assert_lasts(tester.cameras)
    depth = {c: tester.publisher(Image, f'/{c}/depth') for c in tester.cameras}
    tester.wait(lambda: all(p.get_subscription_count() for p in depth.values()), what='match')

    def play_depth(number, camera):
        stamp = tester.start + rig.index * 10**8 + number * 5_000_000
        message = Image(
            header=header_message(stamp, camera), height=9, width=16, encoding='32FC1', step=64,
            data=array.array('B', np.full((9, 16), 5.0, np.float32).tobytes()),
        )  # fmt: skip
        depth[camera].publish(message)

    for _ in range(60):
        for number, camera in enumerate(tester.cameras):
            play_depth(number, camera)
        rig.play()
        if tester.stamps(GRID):
            break
    tester.wait(
        lambda: {tester.status(c).level for c in tester.cameras} <= {DiagnosticStatus.OK,
                                                                     DiagnosticStatus.WARN},
        what='no error',
    )  # fmt: skip
