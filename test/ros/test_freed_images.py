"""What becomes of a set that fails: its images are freed at once, not by the garbage collector.

A full collection comes once a quarter as many objects again have piled up as live for good. With
torch loaded that is hundreds of sets, each with megabytes of images.
"""

from __future__ import annotations

import gc
import logging

import pytest

pytest.importorskip('rclpy')

from nav_msgs.msg import OccupancyGrid

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_ros.listening.depth_pairing import Shot

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
SETS = 12


@pytest.fixture(autouse=True)
def no_garbage_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def images_alive():
    return sum(type(found) is Shot for found in gc.get_objects())


def play_sets(tester, first=0, **options):
    for index in range(first, first + SETS):
        tester.play_set(index, **options)
        tester.wait_for_text(f'received={index + 1}')


def assert_freed(tester, index):
    """After one more set at most two are held: each thread has its last one at hand."""
    tester.play_set(index)
    most = 2 * len(tester.cameras)
    tester.wait(lambda: images_alive() <= most, 5, f'{most} images or fewer')


def test_without_a_transform(start, tester):
    start(**{'sync.min_cameras': 3, 'transform_timeout': 0.05})
    tester.play_ego = lambda *_, **__: None
    play_sets(tester)
    tester.wait_for_text(f'sets dropped: no transform={SETS}')
    assert_freed(tester, SETS)


def test_without_the_transform_of_one_camera(start_node, tester):
    tester.listen(GRID, OccupancyGrid)
    start_node(transform_timeout=0.05)
    tester.wait_matched()
    tester.play_transforms(leave_out=['CAM_C'])
    play_sets(tester)
    assert_freed(tester, SETS)


@pytest.mark.parametrize('half', ['encode', 'map'])
def test_after_a_failure_in_the_pipeline(start, tester, monkeypatch, half):
    def fail(*_):
        raise RuntimeError('the device is upset')

    start()
    monkeypatch.setattr(OccupancyPipeline, half, fail)
    # pytest keeps what is logged, with the frames of the error
    monkeypatch.setattr(logging.getLogger('gausstr_ros.node.worker'), 'disabled', True)
    play_sets(tester)
    tester.wait_for_text('failure in the pipeline')
    assert_freed(tester, SETS)


def test_after_images_that_are_none(start, tester):
    start(**{'sync.min_cameras': 3})
    broken = tester.jpeg(1)
    broken.data = broken.data[:100]
    play_sets(tester, images={'CAM_B': broken})
    tester.wait_for_text('sets dropped: bad input')
    assert_freed(tester, SETS)
