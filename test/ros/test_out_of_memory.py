"""Too little memory on the device: less is asked of it in stated steps, or the node stops."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

import torch
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter

from gausstr_core.pipeline import OccupancyPipeline

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'


class FullDevice:
    """Makes the half of the pipeline with a name fail until it has been called `times` times."""

    def __init__(self, monkeypatch, half, times):
        self.left, work = times, getattr(OccupancyPipeline, half)

        def fail_or_work(*arguments):
            if self.left:
                self.left -= 1
                raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
            return work(*arguments)

        monkeypatch.setattr(OccupancyPipeline, half, fail_or_work)


def dropped(tester, count):
    tester.wait_for_text(f'sets dropped: out of device memory={count}')


@pytest.mark.parametrize('half', ['encode', 'map'])
def test_less_is_asked_of_the_device_step_by_step_and_each_is_stated(
    start, tester, monkeypatch, half
):
    start()
    FullDevice(monkeypatch, half, 2)
    tester.play_set(0)
    dropped(tester, 1)
    tester.wait_for_text('memory profile=the network encodes one camera at a time')
    tester.play_set(1)
    dropped(tester, 2)
    stamp = tester.play_set(2)
    tester.wait(lambda: tester.stamps(GRID) == [stamp], what='map in the smaller profile')
    assert tester.heard[GRID][0].info.resolution == pytest.approx(0.8)
    tester.wait_for_text('memory profile=one camera at a time, and voxels of 0.8 m')
    shown = tester.wait(
        lambda: (s := tester.status('pipeline')).level == DiagnosticStatus.WARN and s,
        what='warning',
    )
    assert 'out of device memory, from now on: one camera at a time' in shown.message


@pytest.mark.parametrize(
    ('parameters', 'errors'),
    [
        ({}, 3),
        # voxels of 0.8 m would have none in this band, and no set could be mapped
        ({'map.min_height': 0.3, 'map.max_height': 0.5}, 2),
    ],
)
def test_the_node_stops_with_the_reason_when_nothing_smaller_is_left(
    start, tester, monkeypatch, parameters, errors
):
    start(**parameters)
    FullDevice(monkeypatch, 'encode', errors)
    for index in range(errors):
        tester.play_set(index)
        dropped(tester, index + 1)
    tester.wait(lambda: tester.state() == 'inactive', what='stop')
    assert_stopped(tester, 'nothing smaller is left')


def test_a_band_that_the_smaller_profile_has_nothing_of_is_refused(start, tester, monkeypatch):
    node = start()
    FullDevice(monkeypatch, 'encode', 2)
    for index in range(2):
        tester.play_set(index)
        dropped(tester, index + 1)
    values = {'map.min_height': 0.3, 'map.max_height': 0.5}
    result = node.set_parameters_atomically([Parameter(n, value=v) for n, v in values.items()])
    assert not result.successful and 'holds no voxel centre' in result.reason
    stamp = tester.play_set(2)
    tester.wait(lambda: tester.stamps(GRID) == [stamp], what='map in the smaller profile')


def test_the_node_stops_at_once_where_it_is_told_so_and_can_be_activated_again(
    start, tester, monkeypatch
):
    start(on_out_of_memory='stop')
    FullDevice(monkeypatch, 'map', 1)
    tester.play_set(0)
    tester.wait(lambda: tester.state() == 'inactive', what='stop')
    assert_stopped(tester, 'on_out_of_memory is stop')
    assert not tester.heard[GRID]
    request = ChangeState.Request()
    request.transition.label = 'activate'
    assert tester.call('/gausstr/change_state', ChangeState, request).success
    tester.wait_matched()
    tester.play_transforms()
    stamp = tester.play_set(20)
    tester.wait(lambda: tester.stamps(GRID) == [stamp], what='map after the stop')
    assert tester.heard[GRID][0].info.resolution == pytest.approx(0.4)
    tester.wait(
        lambda: tester.status('pipeline').level == DiagnosticStatus.OK, what='OK after the stop'
    )


def assert_stopped(tester, why):
    tester.wait_for_text('stopped: out of device memory', why, '2.00 GiB')
    for _ in range(2):  # it lasts
        tester.wait_for_report()
        assert tester.status('pipeline').level == DiagnosticStatus.ERROR
        assert why in tester.status('pipeline').message
