"""Configured, activated, deactivated and cleaned up again and again, the node does not grow."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import OccupancyGrid

from gausstr_core.process.memory import resident_memory

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(900)]
GRID = '/gausstr/occupancy_grid'
ROUNDS = 200
WARM_UP = 100  # rounds; with the first few maps the heap grows in steps to its size, and stays
GROWTH = 0.02


class Process:
    """The node in a process of its own, and what it holds."""

    def __init__(self, log):
        parameters = ['preset:=tiny', 'weights:=untrained', 'autostart:=false', 'threads:=1']
        parameters += ['cameras:=[CAM_A, CAM_B, CAM_C]', 'sync.tolerance:=0.03']
        words = [word for parameter in parameters for word in ('-p', parameter)]
        with log.open('w') as output:
            self.running = subprocess.Popen(
                [sys.executable, '-m', 'gausstr_ros.node.process', '--ros-args', *words],
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def holds(self):
        """Open files, threads, bytes of main memory."""
        folder = Path(f'/proc/{self.running.pid}')
        files, threads = (len(list((folder / what).iterdir())) for what in ('fd', 'task'))
        return files, threads, resident_memory(self.running.pid)


@pytest.fixture
def process(ros, tmp_path):
    made = Process(tmp_path / 'log')
    yield made
    made.running.terminate()
    made.running.wait(60)
    assert 'Traceback' not in (tmp_path / 'log').read_text()


def map_something(tester, index):
    """Play sets until a map comes: the first are lost where the node finds a publisher late."""
    before = len(tester.stamps(GRID))
    for attempt in range(10):
        tester.play_set(index + attempt)
        with contextlib.suppress(AssertionError):
            tester.wait(lambda: len(tester.stamps(GRID)) > before, 2, 'map')
            return
    raise AssertionError(f'no map of the sets from {index} on')


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='reads /proc')
def test_two_hundred_rounds_hold_no_more_memory_threads_or_files(process, tester):
    tester.listen(GRID, OccupancyGrid)
    client = tester.node.create_client(ChangeState, '/gausstr/change_state')
    assert client.wait_for_service(120)

    def go(label):
        request = ChangeState.Request()
        request.transition.label = label
        for _ in range(3):  # a request before both ends have found each other is lost
            future = client.call_async(request)
            with contextlib.suppress(AssertionError):
                tester.wait(future.done, 40, label)
                break
        assert future.done() and future.result().success, label

    tester.play_transforms()
    held = []
    for number in range(ROUNDS):
        go('configure')
        go('activate')
        if number % 10 == 0:
            tester.wait_matched()
            tester.play_transforms()
            map_something(tester, 10 * number)
        go('deactivate')
        go('cleanup')
        held.append(process.holds())
    early, late = held[WARM_UP - 10 : WARM_UP], held[-10:]
    for number, what in enumerate(('files', 'threads')):
        before, after = (max(holds[number] for holds in some) for some in (early, late))
        assert after <= before, f'{what}: {before} -> {after}'
    sizes = [max(size for _, _, size in some) for some in (early, late)]
    figures = ' -> '.join(f'{size / 2**20:.1f} MiB' for size in sizes)
    print(f'files, threads: {early[-1][:2]} -> {late[-1][:2]}; memory {figures}')
    assert sizes[1] <= (1 + GROWTH) * sizes[0], figures
