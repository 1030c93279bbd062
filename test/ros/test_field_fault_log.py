"""The log has a line for each camera that is at fault, whatever the cameras are called."""

from __future__ import annotations

import logging
import re

import pytest

pytest.importorskip('rclpy')

from log_lines import logged

from gausstr_ros.health.fault_log import FaultLog

pytestmark = pytest.mark.ros
DECIMAL = re.compile(r'\d+\.\d+')
RIGS = [
    ['cam0', 'cam1', 'cam2', 'cam3', 'cam4', 'cam5'],
    ['left_2', 'left_3', 'left'],
    ['1', '2', '10'],
    ['cam1', 'cam10', 'cam11'],
    ['cam_1_rgb', 'cam_2_rgb'],
]
FAULTS = [
    'camera {}: the image has 200x120 pixels, its CameraInfo is for 160x90',
    'set at {stamp:.3f} s: camera {}: truncated JPEG, {count} bytes',
    'set dropped, camera {}: no CameraInfo for its image at {stamp:.3f} s has come on /{}/info',
]


@pytest.mark.parametrize('names', RIGS, ids='-'.join)
def test_one_line_per_camera_and_reason(names, caplog):
    """field_reports R11: digits were left out of the comparison, and with them the camera."""
    log = FaultLog(logging.getLogger('gausstr_ros'), lambda: 0.0)
    for second in range(20):
        for name in names:
            for fault in FAULTS:
                log.note(fault.format(name, name, stamp=1.7e9 + second, count=1000 + second))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(names) * len(FAULTS)
    for name in names:
        assert sum(f'camera {name}:' in text for text in told) == len(FAULTS)


def test_sets_that_lack_other_cameras_are_other_faults(caplog):
    """field_reports R11, in the line on a whole set."""
    log = FaultLog(logging.getLogger('gausstr_ros'), lambda: 0.0)
    for second in range(10):
        for name in ('cam0', 'cam1'):
            log.note(f'set at {second} s not mapped: 5 cameras can be used: camera {name}: empty')
    assert len(caplog.records) == 2


@pytest.fixture
def numbered(tester):
    made = type(tester)(('cam0', 'cam1', 'cam10'))
    yield made
    made.close()


def test_each_of_a_numbered_rig_is_named_in_the_log(start_node, numbered):
    """field_reports R11: six faults made one line."""
    with logged() as lines:
        start_node(cameras=list(numbered.cameras), transform_timeout=0.05)
        numbered.wait_matched()
        for index in range(3):  # without any transform
            numbered.play_set(index)
            numbered.wait_for_text(f'sets dropped: no transform={index + 1}')
    for name in numbered.cameras:
        # the first set may be looked up before or after the pose of the ego comes: two faults
        said = [DECIMAL.sub('', line) for line in lines if f'camera {name}: no transform' in line]
        assert said and len(set(said)) == len(said), lines
