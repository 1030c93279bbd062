"""CameraInfo that is latched, and which one an image goes with when many have come since.

astrobee PR 519 and kachaka-api 22 (latched once), field_reports R16 (pushed out).
"""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from image_messages import camera_info
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from gausstr_ros.listening.calibrations import CHANGES, Calibrations
from gausstr_ros.messages.stamps import header_message

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
ONCE = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
UNRELIABLE = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.BEST_EFFORT,
)
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Nobody:
    """In place of a publisher."""

    def publish(self, message):
        pass

    def get_subscription_count(self):
        return 1


@pytest.fixture
def rig(tester):
    """The tester, which sends no CameraInfo by itself; rig.latch(camera) publishes one."""
    made = []

    def latch(camera, stamp=0, qos=ONCE, publisher=None, size=(90, 160)):
        topic = f'/{camera}/camera_info'
        publisher = publisher or tester.node.create_publisher(CameraInfo, topic, qos)
        message = tester.camera_info(size)
        message.header = header_message(stamp, camera)
        publisher.publish(message)
        made.append(publisher)
        return publisher

    for camera, publisher in tester.infos.items():
        tester.node.destroy_publisher(publisher)
        tester.infos[camera] = Nobody()
    tester.latch = latch
    tester.listen(GRID, OccupancyGrid)
    return tester


def assert_complete(rig, index, timeout=20.0):
    """One more map, of all cameras."""
    count = len(rig.heard[GRID])
    stamp = rig.play_set(index)
    rig.wait(lambda: len(rig.heard[GRID]) > count, timeout, f'map of set {index}')
    assert rig.stamps(GRID)[-1] == stamp
    rig.wait_for_report()
    rig.wait(
        lambda: {rig.status(camera).message for camera in rig.cameras} == {'ok'},
        what='all cameras ok',
    )


def begin(rig, start_node, **parameters):
    node = start_node(**{'sync.min_cameras': 3, **parameters})
    rig.wait_matched()
    rig.play_transforms()
    return node


@pytest.mark.parametrize('reliability', ['best_effort', 'reliable'])
@pytest.mark.parametrize('when', ['unset', 'before', 'with the first image', 'after'])
def test_a_calibration_latched_before_the_node_starts_is_heard(rig, start_node, reliability, when):
    """astrobee PR 519, kachaka-api 22. Its stamp is none, or of when its publisher started."""
    stamp = {'unset': 0, 'before': rig.start - 10**12, 'after': rig.start + 10**12}.get(when)
    for number, camera in enumerate(rig.cameras):
        rig.latch(camera, rig.start + number * 5_000_000 if stamp is None else stamp)
    begin(rig, start_node, image_reliability=reliability)
    for index in (0, 1, 30):  # and it lasts
        assert_complete(rig, index)


def test_a_latched_calibration_is_heard_again_after_deactivate(rig, start_node):
    for camera in rig.cameras:
        rig.latch(camera)
    begin(rig, start_node)
    assert_complete(rig, 0)
    for label in ('deactivate', 'activate'):
        request = ChangeState.Request()
        request.transition.label = label
        assert rig.call('/gausstr/change_state', ChangeState, request).success
    rig.wait_matched()
    assert_complete(rig, 10)


def test_one_that_is_latched_later_is_heard(rig, start_node):
    node = begin(rig, start_node)
    for camera in rig.cameras:
        rig.latch(camera)
    # the graph is looked at twice a second
    rig.wait(
        lambda: all(node.count_subscribers(f'/{c}/camera_info') == 2 for c in rig.cameras),
        what='subscriptions',
    )
    assert_complete(rig, 0)


def test_a_latched_calibration_lasts_until_the_next(rig, start_node):
    """The second is of another size, which cannot be of these images."""
    publishers = {camera: rig.latch(camera, rig.start) for camera in rig.cameras}
    begin(rig, start_node, **{'sync.min_cameras': 1})
    for index in range(0, 40, 4):
        assert_complete(rig, index)
    rig.latch('CAM_B', rig.start + 5 * 10**9, publisher=publishers['CAM_B'], size=(45, 80))
    rig.play_set(52)
    rig.wait_for_text('camera CAM_B: CameraInfo: the image has 160x90', '80x45')


@pytest.mark.parametrize('first', ['latched', 'volatile'])
def test_publishers_of_either_durability_are_heard_on_one_topic(rig, start_node, first):
    """A bridge that latches, and a driver that sends with each image."""
    node = begin(rig, start_node, **{'sync.min_cameras': 1})
    kinds = {'latched': ONCE, 'volatile': SENSOR}
    order = [first, *(kind for kind in kinds if kind != first)]
    sizes = {order[0]: (90, 160), order[1]: (45, 80)}
    for number, kind in enumerate(order):
        publishers = {}
        for camera in rig.cameras:
            topic = f'/{camera}/camera_info'
            made = publishers[camera] = rig.node.create_publisher(CameraInfo, topic, kinds[kind])
            wanted = 2 if kind == 'latched' and not number else 1
            rig.wait(lambda p=made, n=wanted: p.get_subscription_count() >= n, what='matched')
            rig.wait(lambda t=topic, n=number: node.count_publishers(t) > n, what='known')
            stamp = rig.start + number * 10**9
            rig.latch(camera, stamp, publisher=made, size=sizes[kind])
        if not number:
            assert_complete(rig, 1)
    rig.play_set(20)
    rig.wait_for_text('camera CAM_B: CameraInfo: the image has 160x90', '80x45')


def test_one_that_keeps_but_is_unreliable_is_heard_as_any_other(rig, start_node):
    """Nothing is sent again for it: it is a publisher that keeps nothing."""
    begin(rig, start_node)
    for camera in rig.cameras:
        made = rig.node.create_publisher(CameraInfo, f'/{camera}/camera_info', UNRELIABLE)
        rig.wait(made.get_subscription_count, what='matched')
        rig.latch(camera, publisher=made)
    assert_complete(rig, 0)


def test_no_publisher_is_asked_for_what_it_does_not_offer(rig, start_node):
    """Else the log of each camera's driver would complain of an incompatible durability."""
    node = start_node()
    for camera in rig.cameras:
        rig.node.create_publisher(CameraInfo, f'/{camera}/camera_info', SENSOR)
    topic = '/CAM_A/camera_info'
    rig.wait(lambda: node.count_publishers(topic), what='publisher')
    for _ in range(10):
        rig.wait_for_report()
    durability = {i.qos_profile.durability for i in node.get_subscriptions_info_by_topic(topic)}
    assert durability == {DurabilityPolicy.VOLATILE}


def at(stamp, focal):
    return camera_info(header=header_message(stamp, 'A'), focal=float(focal))


def focal(known, stamp):
    found = known.at(stamp)
    return None if found is None else found.k[0]


@pytest.mark.parametrize('newer', [0, 1, 15, 16, 17, 100])
@pytest.mark.parametrize('zooms', [False, True], ids=['one change', 'other each time'])
def test_newer_calibrations_push_out_none_that_an_image_waits_for(newer, zooms):
    """field_reports R16: the one with its stamp, else the last before it, never a later one."""
    known = Calibrations()
    for stamp in (10, 20):
        known.heard(stamp)
        known.add(at(stamp, stamp))
    for number in range(newer):
        stamp = 30 + 10 * number
        known.heard(stamp)
        known.add(at(stamp, stamp if zooms else 7))
    assert [focal(known, stamp) for stamp in (10, 20)] == [10, 20]
    assert focal(known, 15) == 10
    if newer > 1:
        assert focal(known, 25) == 20
        assert focal(known, 35) == (30 if zooms else 7)


def test_any_number_that_say_the_same_are_one():
    known = Calibrations()
    known.add(at(5, 5))
    for stamp in range(10, 100_000, 10):
        known.add(at(stamp, 7))
    assert [focal(known, stamp) for stamp in (5, 9, 10, 50_003)] == [5, 5, 7, 7]


def test_an_image_waits_when_no_calibration_before_it_is_known():
    """One that came with a later image is not its own."""
    known = Calibrations()
    known.heard(10)
    known.heard(20)
    known.add(at(20, 20))
    assert focal(known, 20) == 20 and focal(known, 10) is None
    known.add(at(10, 10))  # late
    assert [focal(known, stamp) for stamp in (10, 20)] == [10, 20]


def test_of_too_many_changes_the_first_are_waited_for_and_no_later_one_is_given():
    known = Calibrations()
    for stamp in range(1, CHANGES + 11):
        known.add(at(stamp, stamp))
    assert focal(known, 10) is None
    assert [focal(known, stamp) for stamp in (11, CHANGES + 10)] == [11, CHANGES + 10]


def test_a_calibration_without_a_stamp_holds_from_when_it_came():
    known = Calibrations()
    known.add(at(1000, 1))
    for stamp in (2000, 3000):
        known.heard(stamp)
    known.add(at(0, 2))
    known.heard(4000)
    assert [focal(known, stamp) for stamp in (2000, 3000, 4000)] == [1, 1, 2]


def test_one_that_latches_it_is_waited_for_once_it_sends_it_with_each_image():
    known = Calibrations()
    for stamp in (10, 20):
        known.heard(stamp)
        known.add(at(stamp, stamp))
        known.add(at(stamp, stamp), latched=True)  # both subscriptions hear it
    known.heard(30)
    assert focal(known, 30) is None
    once = Calibrations()
    once.heard(10)
    once.add(at(10, 10), latched=True)
    for stamp in (20, 30, 40):
        once.heard(stamp)
        assert focal(once, stamp) == 10
    once.add(at(40, 40), latched=True)  # the next, after images that had none
    once.heard(50)
    assert [focal(once, stamp) for stamp in (30, 40, 50)] == [10, 40, 40]


def test_a_loop_of_a_bag_begins_with_the_calibration_of_its_begin():
    known = Calibrations()
    for _ in range(3):
        for stamp in range(100, 200, 10):
            known.heard(stamp)
            known.add(at(stamp, 1 if stamp < 150 else 2))
            assert focal(known, stamp) == (1 if stamp < 150 else 2)
