"""What gausstr_ros relies on in tf2_ros and tf_transformations, whoever provides them."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

rclpy = pytest.importorskip('rclpy')

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
    TransformListener,
)
from tf_transformations import quaternion_from_matrix, quaternion_matrix

pytestmark = pytest.mark.ros
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def transform(parent, child, seconds=0.0, xyz=(0.0, 0.0, 0.0), yaw=0.0) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = at(seconds).to_msg()
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = map(float, xyz)
    rotation.z, rotation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def at(seconds: float) -> Time:
    return Time(nanoseconds=START + round(seconds * SECOND))


def position(message: TransformStamped) -> tuple[float, float, float]:
    translation = message.transform.translation
    return translation.x, translation.y, translation.z


def yaw_of(message: TransformStamped) -> float:
    rotation = message.transform.rotation
    return 2 * math.atan2(rotation.z, rotation.w)


@pytest.fixture
def buffer() -> Buffer:
    """A vehicle that drives 10 m/s and turns 1 rad/s, with a camera 2 m ahead of its origin."""
    buffer = Buffer()
    for seconds in (0.0, 1.0):
        moving = transform('odom', 'base_link', seconds, (10 * seconds, 0, 0), yaw=seconds)
        buffer.set_transform(moving, 'test')
    buffer.set_transform_static(transform('base_link', 'camera', xyz=(2, 0, 0)), 'test')
    return buffer


def test_takes_points_of_the_source_to_the_target(buffer):
    message = buffer.lookup_transform('odom', 'camera', at(0.0))
    assert (message.header.frame_id, message.child_frame_id) == ('odom', 'camera')
    assert Time.from_msg(message.header.stamp).nanoseconds == START
    assert position(message) == pytest.approx((2, 0, 0))
    assert position(buffer.lookup_transform('camera', 'odom', at(0.0))) == pytest.approx(
        (-2, 0, 0)
    )


def test_interpolates_position_and_rotation(buffer):
    message = buffer.lookup_transform('odom', 'base_link', at(0.25))
    assert position(message) == pytest.approx((2.5, 0, 0))
    assert yaw_of(message) == pytest.approx(0.25)


def test_interpolates_the_short_way_round():
    buffer = Buffer()
    buffer.set_transform(transform('odom', 'base_link', 0, yaw=math.pi - 0.1), 'test')
    buffer.set_transform(transform('odom', 'base_link', 1, yaw=-math.pi + 0.1), 'test')
    message = buffer.lookup_transform('odom', 'base_link', at(0.5))
    assert abs(yaw_of(message)) == pytest.approx(math.pi)


@given(
    quarter=st.floats(0.01, 0.99),
    yaws=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    ends=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
)
def test_there_and_back_is_the_identity(quarter, yaws, ends):
    buffer = Buffer()
    buffer.set_transform(transform('a', 'b', 0, (ends[0], 1, 2), yaws[0]), 'test')
    buffer.set_transform(transform('a', 'b', 1, (ends[1], 3, 4), yaws[1]), 'test')
    buffer.set_transform_static(transform('b', 'c', xyz=(1, 2, 3), yaw=1.0), 'test')
    there = buffer.lookup_transform('a', 'c', at(quarter)).transform
    back = buffer.lookup_transform('c', 'a', at(quarter)).transform
    np.testing.assert_allclose(matrix(there) @ matrix(back), np.identity(4), atol=1e-9)


def matrix(transform) -> np.ndarray:
    q, t = transform.rotation, transform.translation
    result = quaternion_matrix([q.x, q.y, q.z, q.w])
    result[:3, 3] = t.x, t.y, t.z
    return result


@pytest.mark.parametrize(('seconds', 'nanoseconds'), [(-1, 0), (-(2**31), 0), (2**31 - 1, 2**31)])
def test_a_stamp_that_is_no_time_is_left_out(buffer, seconds, nanoseconds):
    message = transform('odom', 'base_link', xyz=(7, 7, 7))
    message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
    buffer.set_transform(message, 'test')
    buffer.set_transform(transform('base_link', 'camera', xyz=(3, 0, 0)), 'test')
    assert position(buffer.lookup_transform('odom', 'camera', at(0.0))) == pytest.approx((3, 0, 0))


@pytest.mark.parametrize('seconds', [-0.1, 1.1])
def test_does_not_extrapolate(buffer, seconds):
    with pytest.raises(ExtrapolationException, match='extrapolation'):
        buffer.lookup_transform('odom', 'camera', at(seconds))
    assert not buffer.can_transform('odom', 'camera', at(seconds))


def test_static_links_hold_at_every_time(buffer):
    message = buffer.lookup_transform('base_link', 'camera', at(1000.0))
    assert position(message) == pytest.approx((2, 0, 0))


def test_time_zero_is_the_newest_that_all_links_share(buffer):
    buffer.set_transform(transform('map', 'odom', 0.0), 'test')
    buffer.set_transform(transform('map', 'odom', 0.5), 'test')
    message = buffer.lookup_transform('map', 'base_link', Time())
    assert Time.from_msg(message.header.stamp).nanoseconds == START + SECOND // 2
    assert position(message) == pytest.approx((5, 0, 0))


def test_full_lookup_joins_two_times_through_the_fixed_frame(buffer):
    message = buffer.lookup_transform_full('base_link', at(0.0), 'camera', at(1.0), 'odom')
    expected = (10 + 2 * math.cos(1.0), 2 * math.sin(1.0), 0)
    assert position(message) == pytest.approx(expected)
    assert yaw_of(message) == pytest.approx(1.0)
    assert Time.from_msg(message.header.stamp).nanoseconds == START


def test_unknown_frame_is_named(buffer):
    with pytest.raises(LookupException, match='CAM_NOWHERE'):
        buffer.lookup_transform('base_link', 'CAM_NOWHERE', at(0.0))


def test_unconnected_trees_are_told_apart(buffer):
    buffer.set_transform_static(transform('island', 'tree'), 'test')
    with pytest.raises(ConnectivityException, match='tree'):
        buffer.lookup_transform('odom', 'tree', at(0.0))


def test_leading_slash_is_refused(buffer):
    with pytest.raises(InvalidArgumentException):
        buffer.lookup_transform('/odom', 'camera', at(0.0))


def test_every_error_is_a_transform_exception():
    kinds = (LookupException, ConnectivityException, ExtrapolationException)
    assert all(issubclass(kind, TransformException) for kind in kinds)


@pytest.mark.parametrize(
    'bad',
    [
        transform('base_link', 'base_link'),
        transform('base_link', 'camera', xyz=(math.nan, 0, 0)),
        transform('', 'camera', xyz=(9, 9, 9)),
        transform('base_link', ''),
    ],
    ids=['own parent', 'not a number', 'no parent', 'no child'],
)
def test_invalid_transforms_change_nothing(buffer, bad):
    buffer.set_transform_static(bad, 'test')
    assert position(buffer.lookup_transform('odom', 'camera', at(0.0))) == pytest.approx((2, 0, 0))


def test_a_quaternion_of_another_length_is_normalised(buffer):
    long = transform('base_link', 'camera', xyz=(9, 9, 9), yaw=1.0)
    long.transform.rotation.w *= 3
    long.transform.rotation.z *= 3
    buffer.set_transform_static(long, 'test')
    found = buffer.lookup_transform('odom', 'camera', at(0.0))
    assert position(found) == pytest.approx((9, 9, 9)) and yaw_of(found) == pytest.approx(1.0)


def test_a_quaternion_of_no_length_changes_nothing(buffer):
    bad = transform('base_link', 'camera', xyz=(9, 9, 9))
    bad.transform.rotation.w = 0.0
    buffer.set_transform_static(bad, 'test')
    assert position(buffer.lookup_transform('odom', 'camera', at(0.0))) == pytest.approx((2, 0, 0))


def test_forgets_what_is_older_than_ten_seconds():
    buffer = Buffer()
    for seconds in (0.0, 5.0, 12.0, 12.1):  # what is too old goes with the next one
        buffer.set_transform(transform('odom', 'base_link', seconds, (seconds, 0, 0)), 'test')
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform('odom', 'base_link', at(1.0))
    found = buffer.lookup_transform('odom', 'base_link', at(6.0))
    assert position(found) == pytest.approx((6, 0, 0))


def test_clear_forgets_what_moves_and_keeps_what_is_static(buffer):
    """geometry2: StaticCache::clearList does nothing. Time is free to go back after it."""
    buffer.clear()
    for moment in (at(0.0), at(1.0), Time()):
        assert not buffer.can_transform('odom', 'base_link', moment)
        with pytest.raises(TransformException):
            buffer.lookup_transform('odom', 'camera', moment)
    assert position(buffer.lookup_transform('base_link', 'camera', at(-500.0))) == (2, 0, 0)
    buffer.set_transform(transform('odom', 'base_link', -500.0, (7, 0, 0)), 'test')
    assert position(buffer.lookup_transform('odom', 'camera', at(-500.0))) == (9, 0, 0)


@pytest.mark.parametrize('apart', [1, 2, 100, 255])
def test_stamps_are_whole_nanoseconds(apart):
    """field_reports X5: as float64, stamps of today that lie 255 ns apart can be one."""
    buffer, middle = Buffer(), Time(nanoseconds=START + apart // 2)
    for number in (0, 1):
        moving = transform('odom', 'base_link', xyz=(number * apart, 0, 0))
        moving.header.stamp = Time(nanoseconds=START + number * apart).to_msg()
        buffer.set_transform(moving, 'test')
    found = buffer.lookup_transform('odom', 'base_link', middle)
    assert Time.from_msg(found.header.stamp).nanoseconds == middle.nanoseconds
    assert position(found) == pytest.approx((apart // 2, 0, 0))
    for outside in (-1, apart + 1):
        assert not buffer.can_transform('odom', 'base_link', Time(nanoseconds=START + outside))


def test_late_samples_are_sorted_in(buffer):
    buffer.set_transform(transform('odom', 'base_link', 0.5, (7, 0, 0), yaw=0.5), 'test')
    assert buffer.lookup_transform('odom', 'base_link', at(0.5)).transform.translation.x == 7
    assert position(buffer.lookup_transform('odom', 'base_link', at(1.0)))[0] == pytest.approx(10)


def test_timeout_ends_the_wait(buffer):
    started = time.monotonic()
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform('odom', 'camera', at(2.0), Duration(seconds=0.1))
    assert 0.09 < time.monotonic() - started < 2.0


@pytest.fixture
def node():
    # a context of its own: other tests of the session keep the default one
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('underlay_contract', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_listener_hears_late_static_and_moving_transforms(node):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = node.create_publisher(TFMessage, '/tf_static', latched)
    moving = node.create_publisher(TFMessage, '/tf', 10)
    static.publish(TFMessage(transforms=[transform('base_link', 'camera', xyz=(2, 0, 0))]))

    buffer = Buffer()
    listener = TransformListener(buffer, node)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + 20
    sent = False
    while not buffer.can_transform('odom', 'camera', at(1.0)):
        assert time.monotonic() < deadline, 'the transforms did not come'
        if moving.get_subscription_count() and not sent:
            moving.publish(TFMessage(transforms=[transform('odom', 'base_link', 1.0, (3, 0, 0))]))
            sent = True
        executor.spin_once(timeout_sec=0.05)
    message = buffer.lookup_transform('odom', 'camera', at(1.0))
    assert position(message) == pytest.approx((5, 0, 0))
    listener.unregister()
    executor.shutdown()


def test_quaternions_are_xyzw():
    half_about_x = np.diag([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(quaternion_matrix([1, 0, 0, 0]), half_about_x, atol=1e-12)
    quarter_about_z = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    half = math.sqrt(0.5)
    found = quaternion_from_matrix(quarter_about_z)
    np.testing.assert_allclose(found, [0, 0, half, half], atol=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_quaternion_round_trip(values):
    quaternion = np.array(values)
    length = np.linalg.norm(quaternion)
    if length < 1e-3:
        return
    quaternion /= length
    found = quaternion_from_matrix(quaternion_matrix(quaternion))
    assert abs(float(found @ quaternion)) == pytest.approx(1.0)
