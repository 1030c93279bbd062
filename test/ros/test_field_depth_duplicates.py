"""Depth topics on which one stamp comes twice, images likewise: field_reports R15."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

import numpy as np
from image_messages import raw
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image

from gausstr_ros.listening.depth_pairing import UNPAIRED, DepthPairing
from gausstr_ros.messages.stamps import header_message
from gausstr_ros.sets.synchroniser import DUPLICATE

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'


def message(stamp, value=0):
    made = raw(np.full((9, 16), value, np.float32), '32FC1')
    made.header = header_message(stamp, 'A')
    return made


@pytest.mark.parametrize(
    ('order', 'duplicates'),
    [
        ('iD', 0),
        ('iiD', 1),
        ('DDi', 1),
        ('iDD', 1),
        ('iDi', 1),
        ('DiD', 1),
        ('Dii', 1),
        ('iiDD', 2),
        ('DDDiii', 4),
    ],
)
def test_of_two_with_one_stamp_the_first_is_used_and_the_other_is_counted(order, duplicates):
    pairing, shots = DepthPairing(), []
    for frame in range(3):
        for number, kind in enumerate(order):
            add = pairing.add_image if kind == 'i' else pairing.add_depth
            shots.append(add(message(frame * 10**8, number)))
    shots = [shot for shot in shots if shot is not None]
    assert len(shots) == 3
    for shot in shots:
        assert np.frombuffer(shot.image.data, np.float32)[0] == order.index('i')
        assert np.frombuffer(shot.depth.data, np.float32)[0] == order.index('D')
    assert pairing.drops[DUPLICATE] == 3 * duplicates and not pairing.drops[UNPAIRED]


def test_a_bag_that_loops_sends_no_duplicates():
    pairing = DepthPairing()
    for _ in range(3):
        for stamp in range(0, 10**9, 10**8):
            pairing.add_image(message(stamp))
            assert pairing.add_depth(message(stamp)) is not None
    assert not pairing.drops


@pytest.mark.parametrize('twice', ['image', 'depth'])
def test_the_node_counts_it_under_its_camera(start_node, tester, twice):
    tester.listen(GRID, OccupancyGrid)
    start_node(depth_source='topic')
    depths = {camera: tester.publisher(Image, f'/{camera}/depth') for camera in tester.cameras}
    tester.wait_matched()
    tester.wait(lambda: all(p.get_subscription_count() for p in depths.values()), what='depth')
    tester.play_transforms()
    for index in range(2):
        stamp = tester.start + index * 10**8
        for number, (camera, publisher) in enumerate(depths.items()):
            depth = raw(np.full((90, 160), 5.0, np.float32), '32FC1')
            depth.header = header_message(stamp + number * 5_000_000, camera)
            again = twice == 'depth' and camera == 'CAM_B'
            for _ in range(1 + again):
                publisher.publish(depth)
            if twice == 'image' and camera == 'CAM_B':
                image = tester.jpeg(index)
                image.header = depth.header
                tester.images[camera].publish(image)
        last = tester.play_set(index)
        tester.wait(lambda s=last: s in tester.stamps(GRID), what=f'map {index}')
    found = tester.wait(
        lambda: {
            camera: pairs.get('dropped: duplicate', '0')
            for camera in tester.cameras
            if (pairs := {pair.key: pair.value for pair in tester.status(camera).values})
        },
        what='statuses',
    )
    tester.wait_for_text('dropped: duplicate=2')
    assert {camera for camera, count in found.items() if count != '0'} <= {'CAM_B'}
