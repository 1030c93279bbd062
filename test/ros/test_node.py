"""The node over real DDS: outputs, services, lifecycle."""

from __future__ import annotations

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from visualization_msgs.msg import MarkerArray

from gausstr_core.device_memory import DeviceMemory
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.stamps import nanoseconds
from gausstr_msgs.msg import Categories, Category
from gausstr_msgs.srv import GetCategories, SetCategories

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
        assert (nanoseconds(header.stamp), header.frame_id) == (stamp, 'base_link'), topic
    grid = tester.heard['/gausstr/occupancy_grid'][0]
    assert (grid.info.width, grid.info.height) == (100, 100)
    assert set(np.unique(grid.data)) <= {-1, 0, 100}
    cloud = tester.heard['/gausstr/voxels'][0]
    points = read_points(cloud)
    assert cloud.width == len(points) > 0
    assert (np.abs(points['x']) < 20).all() and (points['label'] < 17).all()


def test_set_categories_applies_from_the_set_that_the_reply_names(start_node, tester):
    tester.listen('/gausstr/voxel_markers', MarkerArray)
    tester.listen('/gausstr/categories', Categories, LATCHED)
    start_node()
    tester.wait_matched()
    tester.play_transforms()
    first = tester.play_set(0)
    tester.wait(lambda: tester.heard['/gausstr/voxel_markers'], what='map with the first words')

    client = tester.node.create_client(SetCategories, '/gausstr/set_categories')
    assert client.wait_for_service(10)
    categories = [Category(name='automobile'), Category(name='tarmac', role=Category.GROUND)]
    future = client.call_async(SetCategories.Request(categories=categories))
    index = 1
    while not future.done():  # images go on while the words are encoded
        tester.play_set(index)
        index += 1
        count = len(tester.heard['/gausstr/voxel_markers'])
        tester.wait(
            lambda count=count: len(tester.heard['/gausstr/voxel_markers']) > count, what='map'
        )
    reply = future.result()
    assert reply.success, reply.message
    changed = nanoseconds(reply.first_stamp)
    assert changed > first

    by_stamp = {
        nanoseconds(m.markers[0].header.stamp): {marker.ns for marker in m.markers[1:]}
        for m in tester.heard['/gausstr/voxel_markers']
    }
    new = {'automobile', 'tarmac'}
    assert changed in by_stamp
    assert all(names <= new for stamp, names in by_stamp.items() if stamp >= changed)
    assert not any(names & new for stamp, names in by_stamp.items() if stamp < changed)
    tester.wait(
        lambda: (
            [nanoseconds(m.header.stamp) for m in tester.heard['/gausstr/categories']][-1]
            == changed
        ),
        what='categories with the stamp of the first set',
    )
    announced = tester.heard['/gausstr/categories'][-1]
    assert announced.vocabulary_id == reply.vocabulary_id
    assert [c.name for c in announced.categories] == ['automobile', 'tarmac']
    known = tester.call('/gausstr/get_categories', GetCategories, GetCategories.Request())
    assert known.categories == announced
    tester.wait_for_text(f'vocabulary={reply.vocabulary_id}')


def test_impossible_categories_are_refused_by_name(start_node, tester):
    start_node()
    old = tester.call('/gausstr/get_categories', GetCategories, GetCategories.Request())
    for names, expected in (
        ([], 'at least one category'),
        (['car', 'Car'], 'twice'),
        (['x' * 10_000], '10000'),
        ([' '], 'must not be empty'),
    ):
        request = SetCategories.Request(categories=[Category(name=name) for name in names])
        reply = tester.call('/gausstr/set_categories', SetCategories, request)
        assert not reply.success
        assert expected in reply.message and len(reply.message) < 400
        assert reply.vocabulary_id == old.categories.vocabulary_id
        tester.wait_for_text('set_categories refused', expected)
    now = tester.call('/gausstr/get_categories', GetCategories, GetCategories.Request())
    assert now == old


def test_set_categories_before_any_image_replies_and_applies_to_the_first_set(start_node, tester):
    tester.listen('/gausstr/voxel_markers', MarkerArray)
    start_node()
    request = SetCategories.Request(categories=[Category(name='automobile')])
    reply = tester.call('/gausstr/set_categories', SetCategories, request)
    assert reply.success and (reply.first_stamp.sec, reply.first_stamp.nanosec) == (0, 0)
    tester.wait_matched()
    tester.play_transforms()
    tester.play_set(0)
    markers = tester.wait(lambda: tester.heard['/gausstr/voxel_markers'], what='map')[0].markers
    assert {marker.ns for marker in markers[1:]} <= {'automobile'}


def test_a_partial_set_goes_out_after_the_timeout_and_the_silent_camera_is_named(
    start_node, tester
):
    tester.listen('/gausstr/occupancy_grid', OccupancyGrid)
    start_node(**{'sync.min_cameras': 2})
    tester.wait_matched()
    tester.play_transforms()
    stamp = tester.play_set(0, leave_out=['CAM_B'])
    tester.wait(lambda: stamp in tester.stamps('/gausstr/occupancy_grid'), what='partial map')
    tester.wait_for_text('a set without CAM_B')
    tester.wait_for_text('no image on /CAM_B/image_raw/compressed since the start')


def test_outputs_that_nobody_listens_to_are_not_computed(start_node, tester):
    """rviz 790: what is heavy is off until somebody asks for it."""
    start_node()
    tester.wait_matched()
    tester.play_transforms()
    tester.play_set(0)
    tester.wait_for_text('sets unwanted (nobody listens)=1')
    assert not [text for text in tester.texts() if text.startswith('sets complete')]


def test_configure_activate_deactivate_and_cleanup_may_be_repeated(start_node, tester):
    tester.listen('/gausstr/occupancy_grid', OccupancyGrid)
    node = start_node()
    tester.play_transforms()
    for round_ in range(2):
        tester.wait_matched()
        stamp = tester.play_set(10 * round_)
        tester.wait(lambda s=stamp: s in tester.stamps('/gausstr/occupancy_grid'), what='map')
        for transition in ('deactivate', 'cleanup', 'configure', 'activate'):
            change_state(tester, transition)
    assert node.fault == ''


def test_the_device_is_left_after_the_last_set_and_entered_before_the_next(
    start_node, tester, monkeypatch
):
    """On a CPU both do nothing; that the node calls them in this order is seen anywhere."""
    calls, working = [], []

    def noted(owner, name):
        work = getattr(owner, name)

        def note(*arguments):
            calls.append((name, len(working)))
            working.append(name)
            try:
                return work(*arguments)
            finally:
                working.remove(name)

        monkeypatch.setattr(owner, name, note)

    tester.listen('/gausstr/occupancy_grid', OccupancyGrid)
    start_node()
    tester.play_transforms()
    for owner, name in (
        (DeviceMemory, 'enter'),
        (DeviceMemory, 'leave'),
        (OccupancyPipeline, 'encode'),
        (OccupancyPipeline, 'map'),
    ):
        noted(owner, name)
    for round_ in range(2):
        tester.wait_matched()
        stamp = tester.play_set(10 * round_)
        tester.wait(lambda s=stamp: s in tester.stamps('/gausstr/occupancy_grid'), what='map')
        change_state(tester, 'deactivate')
        change_state(tester, 'activate')
    encodings = ['encode'] * len(tester.cameras)
    assert [name for name, _ in calls] == [*encodings, 'map', 'leave', 'enter'] * 2
    assert not any(at_once for _, at_once in calls)


def change_state(tester, label):
    from lifecycle_msgs.srv import ChangeState

    request = ChangeState.Request()
    request.transition.label = label
    assert tester.call('/gausstr/change_state', ChangeState, request, 60).success, label


def test_contradictory_parameters_leave_the_node_unconfigured_and_are_named(start_node, tester):
    node = start_node(activate=False, **{'map.min_height': 3.0, 'map.max_height': 1.0})
    node.trigger_configure()
    assert 'map.min_height' in node.fault and 'map.max_height' in node.fault
    tester.wait_for_text('configure failed', 'map.min_height')
    node = start_node(activate=False, cammeras=['A'])
    node.trigger_configure()
    assert 'no parameter cammeras' in node.fault
