"""The node as its own process: start, stop, and starts that cannot work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

pytestmark = pytest.mark.ros
PARAMETERS = ['preset:=tiny', 'weights:=untrained', 'diagnostics_period:=0.1']


def command(*parameters):
    given = [word for parameter in parameters for word in ('-p', parameter)]
    return [sys.executable, '-m', 'gausstr_ros.node.process', '--ros-args', *given]


def test_it_configures_itself_serves_and_stops_on_interrupt(tester):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(
        command(*PARAMETERS, 'cameras:=[CAM_A, CAM_B, CAM_C]'),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        tester.wait_for_text('state=active', timeout=120)
        tester.wait_matched()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    assert 'is ready' in output


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_of_a_set_ends_it_in_order(tester, number):
    """The worker publishes until it is stopped: the context must not end before it."""
    outputs = {'/gausstr/voxels': PointCloud2, '/gausstr/gaussians': MarkerArray}
    for camera in tester.cameras:
        outputs |= {f'/gausstr/{camera}/{kind}': Image for kind in ('depth', 'semantics')}
    for topic, kind in outputs.items():
        tester.listen(topic, kind)
    given = [*PARAMETERS, 'cameras:=[CAM_A, CAM_B, CAM_C]', 'sync.tolerance:=0.03']
    process = subprocess.Popen(
        command(*given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        tester.wait_for_text('state=active', timeout=120)
        tester.wait_matched()
        tester.play_transforms()
        # the node may find a publisher later than the publisher finds the node: what is sent
        # in between is lost, so sets are sent until one comes out
        for index in range(30):
            tester.play_set(index)
            with contextlib.suppress(AssertionError):
                tester.wait(lambda: len(tester.stamps('/gausstr/voxels')) >= 3, 2, 'outputs')
                break
        assert len(tester.stamps('/gausstr/voxels')) >= 3
        process.send_signal(number)  # the other outputs of the set are still to come
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert 'Traceback' not in output and 'context' not in output, output


@pytest.mark.parametrize(
    ('parameters', 'expected'),
    [
        (['weights:=/no/such.safetensors'], '/no/such.safetensors'),
        (['sync.timeout:=0.001'], 'sync.timeout must not be shorter than sync.tolerance'),
        (['device:=7'], 'parameter device'),
    ],
)
def test_a_start_that_cannot_work_says_why_and_ends(ros, parameters, expected):
    done = subprocess.run(
        command('preset:=tiny', *parameters), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert 'Traceback' not in done.stderr
