"""The commands of docs/ros.md, typed as they stand there, wherever ros2cli is installed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

pytestmark = [pytest.mark.ros, pytest.mark.slow]
DOCUMENT = Path(__file__).parents[2] / 'docs' / 'ros.md'
# command, without ros2 and the node's name -> what it must print
EXPECTED = {
    'lifecycle get': r'^active \[3\]',
    'lifecycle set deactivate': 'Transitioning successful',
    'lifecycle set activate': 'Transitioning successful',
    'param describe map.occupied_threshold': 'may change while the node runs',
    'param set map.occupied_threshold 0.5': 'Set parameter successful',
    'param set preset tiny': 'preset: read when the node is configured; clean it up first',
    'service call /gausstr/get_categories': "name='barrier'",
    'service call /gausstr/set_categories': r'success=True.*nanosec=\d+',
    'topic echo --once /gausstr/categories': 'name: van',
    'topic hz /gausstr/occupancy_grid': r'average rate: \d',
    'topic info --verbose /gausstr/voxels': r'sensor_msgs/msg/PointCloud2(.|\n)*RELIABLE',
}


def documented():
    """The lines of the section's block, comments taken off."""
    section = DOCUMENT.read_text().partition('## With the ROS 2 tools\n')[2]
    return [line.partition(' # ')[0].strip() for line in section.split('```')[1].splitlines()[1:]]


def key_of(command):
    words = [word for word in shlex.split(command)[1:] if word != '/gausstr']
    known = [key for key in EXPECTED if words[: len(key.split())] == key.split()]
    assert len(known) == 1, f'{command}: {known}'
    return known[0]


def test_each_documented_command_is_tried():
    assert [key_of(command) for command in documented()] == list(EXPECTED)


@contextlib.contextmanager
def playing(tester):
    """Ten sets a second from now on."""
    ended = threading.Event()

    def play():
        index = 0
        while not ended.wait(0.1):
            tester.play_set(index)
            index += 1

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(command, expected, timeout=60):
    """What a command prints until it has ended or printed what was expected."""
    process = subprocess.Popen(
        shlex.split(command),
        env=os.environ | {'PYTHONUNBUFFERED': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watch = threading.Timer(timeout, process.kill)
    watch.start()
    printed = ''
    for line in process.stdout:
        printed += line
        if re.search(expected, printed, re.MULTILINE) and 'hz' in command:
            process.send_signal(signal.SIGINT)  # it never ends by itself
    process.wait()
    watch.cancel()
    return printed


@pytest.fixture
def daemon(ros):
    """The tools' daemon, of this test's domain; it learns of a node a moment after it starts."""
    run('ros2 daemon start', '')

    def knows(node):
        for _ in range(60):
            if node in run('ros2 node list', node).split():
                return
        raise AssertionError(f'ros2 node list never shows {node}')

    yield knows
    run('ros2 daemon stop', '')


@pytest.mark.skipif(shutil.which('ros2') is None, reason='ros2cli is not installed')
@pytest.mark.timeout(600)
def test_the_documented_commands_work(start, tester, daemon):
    start()
    daemon('/gausstr')
    with playing(tester):
        tester.wait(lambda: tester.heard['/gausstr/occupancy_grid'], what='map')
        for command in documented():
            begun = time.monotonic()
            expected = EXPECTED[key_of(command)]
            printed = run(command, expected)
            print(f'{time.monotonic() - begun:4.1f} s  {command}')
            assert re.search(expected, printed, re.MULTILINE), f'{command}: {printed}'
            if 'activate' in command.split()[-1:]:
                tester.wait_matched()
                tester.play_transforms()
