"""The node as its own process: start, stop, and starts that cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ros
PARAMETERS = ['preset:=tiny', 'weights:=untrained', 'diagnostics_period:=0.1']


def command(*parameters):
    given = [word for parameter in parameters for word in ('-p', parameter)]
    return [sys.executable, '-m', 'gausstr_ros.node', '--ros-args', *given]


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
