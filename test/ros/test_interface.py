"""What the outside sees, pinned: names, types, QoS and the definitions of our messages.

A change here breaks robots that run the node: their launch files, their RViz, their other
machines. Change it on purpose only, and say so in the changelog.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from ament_index_python.packages import get_package_share_directory
from node_graph import active_node, endpoints, eventually
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from gausstr_msgs.msg import Category
from gausstr_ros.replay.command import DEFAULT_OUTPUTS, OPTIONAL_OUTPUTS
from gausstr_ros.replay.command import NODE as REPLAYED_AS

# REP-2011 hashes: two machines understand each other only where these agree.
HASHES = {
    'msg/Categories': 'RIHS01_09729c55a299b2e93689775b7b8b776940baea970ee42ae36fed9dabd2d62db8',
    'msg/Category': 'RIHS01_bf50aae2153507d24b0642a7b848f55a652843a5c676fdf4305ed02d8bdbe5e9',
    'srv/GetCategories': 'RIHS01_6b620606df290c645e5e41307c8c62c65aa61a8d30b222b82519ceee098baa0f',
    'srv/SetCategories': 'RIHS01_5d0eb4d8da6b4bf1b78c01196ff9132bb98c0fc951194985cbc4108b1e412f11',
}
RELIABLE, LATCHED, BEST_EFFORT = 'reliable', 'reliable, latched', 'best effort'
IMAGE, MARKERS = 'sensor_msgs/msg/Image', 'visualization_msgs/msg/MarkerArray'
PUBLISHED = {
    '/diagnostics': ('diagnostic_msgs/msg/DiagnosticArray', RELIABLE),
    '/gausstr/categories': ('gausstr_msgs/msg/Categories', LATCHED),
    '/gausstr/gaussians': (MARKERS, RELIABLE),
    '/gausstr/occupancy_grid': ('nav_msgs/msg/OccupancyGrid', LATCHED),
    '/gausstr/voxel_markers': (MARKERS, RELIABLE),
    '/gausstr/voxels': ('sensor_msgs/msg/PointCloud2', RELIABLE),
} | {
    f'/gausstr/{camera}/{picture}': (IMAGE, RELIABLE)
    for camera in ('left', 'right')
    for picture in ('activation', 'depth', 'semantics')
}
HEARD = {
    '/left/image_raw/compressed': ('sensor_msgs/msg/CompressedImage', BEST_EFFORT),
    '/left/camera_info': ('sensor_msgs/msg/CameraInfo', BEST_EFFORT),
    '/left/depth': (IMAGE, BEST_EFFORT),
    '/right/image_raw/compressed': ('sensor_msgs/msg/CompressedImage', BEST_EFFORT),
    '/right/camera_info': ('sensor_msgs/msg/CameraInfo', BEST_EFFORT),
    '/right/depth': (IMAGE, BEST_EFFORT),
    '/tf': ('tf2_msgs/msg/TFMessage', RELIABLE),
    '/tf_static': ('tf2_msgs/msg/TFMessage', LATCHED),
}
SERVED = {
    '/gausstr/clear_memory': 'std_srvs/srv/Trigger',
    '/gausstr/get_categories': 'gausstr_msgs/srv/GetCategories',
    '/gausstr/set_categories': 'gausstr_msgs/srv/SetCategories',
}
# Of every lifecycle node in Jazzy: not ours to pin.
OF_ROS = ('/rosout', '/parameter_events', '/gausstr/transition_event')
OF_ROS_TYPES = ('lifecycle_msgs/', 'rcl_interfaces/', 'type_description_interfaces/')


def quality(profile):
    """Reliability and durability in words."""
    words = {ReliabilityPolicy.RELIABLE: 'reliable', ReliabilityPolicy.BEST_EFFORT: 'best effort'}
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return words[profile.reliability] + ', latched' * latched


def interface(node):
    """What a node publishes, hears, serves and calls beyond what every lifecycle node does."""
    found = endpoints(node)
    publishers, hearers = node.get_publishers_info_by_topic, node.get_subscriptions_info_by_topic
    published = {
        topic: (kind, {quality(info.qos_profile) for info in publishers(topic)})
        for topic, kind in found['publish'].items()
        if topic not in OF_ROS
    }
    heard = {
        topic: (kind, {quality(info.qos_profile) for info in hearers(topic)})
        for topic, kind in found['subscribe'].items()
    }
    served = {n: k for n, k in found['serve'].items() if not k.startswith(OF_ROS_TYPES)}
    return published, heard, served, found['call']


def pinned(table):
    return {topic: (kind, {qos}) for topic, (kind, qos) in table.items()}


def test_topics_services_types_and_qos_are_as_pinned(ros):
    expected = (pinned(PUBLISHED), pinned(HEARD), SERVED, {})
    with active_node(depth_source='topic', activation_category='car') as node:
        assert eventually(lambda: interface(node), expected) == expected


@pytest.mark.parametrize(
    ('parameters', 'topic', 'expected'),
    [
        (
            {'image_transport': 'raw'},
            '/left/image_raw',
            ('sensor_msgs/msg/Image', BEST_EFFORT),
        ),
        (
            {'image_reliability': 'reliable'},
            '/left/image_raw/compressed',
            ('sensor_msgs/msg/CompressedImage', RELIABLE),
        ),
        (
            {'depth_source': 'topic', 'cameras__left__depth_topic': '/d/compressedDepth'},
            '/d/compressedDepth',
            ('sensor_msgs/msg/CompressedImage', BEST_EFFORT),
        ),
        (
            {'depth_source': 'lidar', 'lidar__topic': '/front/points /rear/points'},
            '/rear/points',
            ('sensor_msgs/msg/PointCloud2', BEST_EFFORT),
        ),
    ],
)
def test_parameters_that_change_an_input_change_it_as_pinned(ros, parameters, topic, expected):
    wanted = pinned({topic: expected})[topic]
    with active_node(**parameters) as node:
        assert eventually(lambda: interface(node)[1].get(topic), wanted) == wanted


def test_a_namespace_moves_the_outputs_and_leaves_the_inputs(ros):
    wanted = [
        ('publish', '/robot/gausstr/voxels'),
        ('serve', '/robot/gausstr/set_categories'),
        ('subscribe', '/left/image_raw/compressed'),
        ('publish', '/diagnostics'),
    ]
    with active_node('/robot') as node:

        def missing():
            found = endpoints(node)
            return [(verb, name) for verb, name in wanted if name not in found[verb]]

        assert eventually(missing, []) == []


def test_replayed_bags_use_the_names_of_the_node():
    names = {f'{REPLAYED_AS}/{name}' for name in (*DEFAULT_OUTPUTS, *OPTIONAL_OUTPUTS)}
    assert names < set(PUBLISHED)


@pytest.mark.parametrize('name', HASHES)
def test_the_definitions_of_our_messages_are_as_pinned(name):
    path = Path(get_package_share_directory('gausstr_msgs')) / f'{name}.json'
    if not path.is_file():
        pytest.skip('this ROS has no type hashes: they came with Iron')
    hashes = {
        entry['type_name']: entry['hash_string']
        for entry in json.loads(path.read_text())['type_hashes']
    }
    assert hashes[f'gausstr_msgs/{name}'] == HASHES[name]


def test_the_roles_that_the_hash_does_not_cover_are_as_pinned():
    assert (Category.OBJECT, Category.GROUND, Category.SKY) == (0, 1, 2)
