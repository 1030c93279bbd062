"""Depth in another unit is a warning with the number, and the map is made all the same."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from image_messages import raw
from log_lines import logged
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image

GRID = '/gausstr/occupancy_grid'


def ground(scale):
    """What a level camera 1.5 m above flat ground measures [90, 160], in metres times a scale."""
    rows = np.arange(90)[:, None] + 0.5 - 45
    depth = np.where(rows > 1, 1.5 * 100 / np.maximum(rows, 1), 0.0)
    return np.repeat(scale * depth, 160, axis=1).astype(np.float32)


def test_millimetres_taken_for_metres_are_named_with_their_ratio(start_node, tester):
    tester.listen(GRID, OccupancyGrid)
    start_node(depth_source='topic')
    depth = {c: tester.publisher(Image, f'/{c}/depth') for c in tester.cameras}
    tester.wait_matched()
    tester.wait(lambda: all(p.get_subscription_count() for p in depth.values()), what='match')
    tester.play_transforms()

    def play(index, scales):
        stamp = tester.play_set(index)
        for number, camera in enumerate(tester.cameras):
            message = raw(ground(scales.get(camera, 1.0)), '32FC1')
            at = stamp - (len(tester.cameras) - 1 - number) * 5_000_000
            message.header = tester.header(at, camera)
            depth[camera].publish(message)
        tester.wait(lambda: stamp in tester.stamps(GRID), what='map')

    with logged() as lines:
        play(0, {'CAM_B': 1000.0})
        said = 'camera CAM_B: measured depth has the wrong scale: it is 1e+03 times'
        status = tester.wait(
            lambda: said in (s := tester.status('CAM_B')).message and s, what='warning'
        )
        assert status.level == DiagnosticStatus.WARN
        assert [line for line in lines if said in line]
    assert tester.status('CAM_A').message == 'ok'
    play(10, {})
    tester.wait(lambda: tester.status('CAM_B').message == 'ok', what='ok again')
