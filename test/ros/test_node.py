"""The node over real DDS: outputs, services, lifecycle."""

from __future__ import annotations

import numpy as np
import pytest
from gausstr_msgs.msg import Categories, Category
from gausstr_msgs.srv import GetCategories, SetCategories
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from gausstr_ros.conversions import VOXEL_POINT, stamp_of

pytestmark = pytest.mark.ros
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_every_output_of_a_set_arrives_with_its_stamp_in_the_base_frame(start_node, tester):
    topics = {
        '/gausstr/occupancy_grid': OccupancyGrid,
        '/gausstr/voxels': PointCloud2,
        '/gausstr/gaussians': MarkerArray,
        '/gausstr/voxel_markers': MarkerArray,
        '/gausstr/CAM_A/depth': Image,
        '/gausstr/CAM_C/semantics': Image,
    }
    for topic, kind in topics.items():
        tester.listen(topic, kind)
    start_node()
    tester.wait_matched()
    tester.play_transforms()
    stamp = tester.play_set(0)
    tester.wait(lambda: all(tester.heard[topic] for topic in topics), what='all outputs')
    for topic in topics:
        message = tester.heard[topic][0]
        header = message.markers[0].header if hasattr(message, 'markers') else message.header
        assert (stamp_of(header), header.frame_id) == (stamp, 'base_link'), topic
    grid = tester.heard['/gausstr/occupancy_grid'][0]
    assert (grid.info.width, grid.info.height) == (100, 100)
    assert set(np.unique(grid.data)) <= {-1, 0, 100}
    cloud = tester.heard['/gausstr/voxels'][0]
    points = np.frombuffer(cloud.data, VOXEL_POINT)
    assert cloud.width == len(points) > 0
    assert (np.abs(points['x']) < 20).all() and (points['label'] < 17).all()
