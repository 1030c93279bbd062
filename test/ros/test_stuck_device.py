"""A device call that does not return: transitions and interrupts end, and say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import OccupancyGrid

from gausstr_core.pipeline import OccupancyPipeline

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
REASON = 'stage foundation has not come to its end within 0.5 s'

# The node as it is, but for a second encode at images that takes a minute.
PROCESS = """
import threading
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_ros.node.process import main
encode, looks = OccupancyPipeline.encode, []

def stuck(*arguments):
    looks.append(1)
    if len(looks) > 1:  # the first is the warm-up
        threading.Event().wait(60)
    return encode(*arguments)

OccupancyPipeline.encode = stuck
main()
"""


def ask(tester, label):
    request = ChangeState.Request()
    request.transition.label = label
    return tester.call('/gausstr/change_state', ChangeState, request)


def test_deactivate_fails_with_the_stage_and_the_late_end_does_no_harm(
    start_node, tester, monkeypatch
):
    go_on, returned, encode = threading.Event(), threading.Event(), OccupancyPipeline.encode

    def stuck(*arguments):
        assert go_on.wait(60)
        encoded = encode(*arguments)
        returned.set()
        return encoded

    tester.listen(GRID, OccupancyGrid)
    node = start_node(watchdog_timeout=0.5)
    tester.wait_matched()
    tester.play_transforms()
    monkeypatch.setattr(OccupancyPipeline, 'encode', stuck)
    before = threading.active_count()
    try:
        tester.play_set(0)
        tester.wait_for_text('stage foundation has run for')
        assert not ask(tester, 'deactivate').success
        assert tester.state() == 'finalized'
        tester.wait_for_text('deactivate failed', REASON, 'restart the process')
        shown = tester.wait(
            lambda: (s := tester.status('pipeline')).message.startswith('deactivate failed') and s,
            what='reason',
        )
        assert shown.level == DiagnosticStatus.ERROR and 'foundation' in shown.message
        assert node.stuck and REASON in node.fault
    finally:
        go_on.set()
    assert returned.wait(60)
    tester.wait(lambda: threading.active_count() < before, what='end of the worker')
    tester.wait(lambda: REASON in tester.status('pipeline').message, what='lasting reason')
    assert not tester.heard[GRID]
    assert not [text for text in tester.texts() if 'failure in the pipeline' in text]


def test_a_start_that_does_not_end_is_told_although_it_holds_the_executor(
    start_node, tester, monkeypatch
):
    go_on, encode = threading.Event(), OccupancyPipeline.encode

    def stuck(*arguments):
        assert go_on.wait(60)
        return encode(*arguments)

    node = start_node(activate=False, watchdog_timeout=0.5)
    monkeypatch.setattr(OccupancyPipeline, 'encode', stuck)
    request = ChangeState.Request()
    request.transition.label = 'configure'
    client = tester.node.create_client(ChangeState, '/gausstr/change_state')
    assert client.wait_for_service(10)
    reply = client.call_async(request)
    try:
        tester.wait_for_text('configure has run for', 'watchdog_timeout is 0.5 s')
        assert tester.status('pipeline').level == DiagnosticStatus.ERROR
    finally:
        go_on.set()
    tester.wait(reply.done, what='reply')
    assert reply.result().success and not node.fault
    tester.wait(lambda: tester.status('pipeline').message == 'inactive', what='inactive')


@pytest.fixture
def process(tester):
    parameters = ['preset:=tiny', 'weights:=untrained', 'watchdog_timeout:=0.5']
    parameters += ['cameras:=[CAM_A, CAM_B, CAM_C]', 'sync.tolerance:=0.03']
    given = [word for parameter in parameters for word in ('-p', parameter)]
    tester.listen(GRID, OccupancyGrid)
    running = subprocess.Popen(
        [sys.executable, '-c', PROCESS, '--ros-args', *given],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    tester.wait_for_text('state=active', timeout=120)
    tester.wait_matched()
    tester.play_transforms()
    yield running
    running.kill()


@pytest.mark.parametrize('how', ['deactivate', 'interrupt'])
def test_the_process_ends_so_that_it_can_be_started_again(process, tester, how):
    for index in range(30):  # the first are lost where the node finds a publisher late
        tester.play_set(index)
        try:
            tester.wait_for_text('stage foundation has run for', timeout=1)
            break
        except AssertionError:
            continue
    if how == 'deactivate':
        assert not ask(tester, 'deactivate').success
        tester.wait_for_text('deactivate failed', REASON)
    else:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    assert f'gausstr-node: {"deactivate failed: " * (how == "deactivate")}{REASON}' in output
    assert 'Traceback' not in output
