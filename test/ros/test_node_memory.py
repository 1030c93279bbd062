"""The node remembers: ages, words, resets and what it refuses, over real DDS."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

import tf2_ros
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from std_srvs.srv import Trigger

from gausstr_core.stamps import SECOND, nanoseconds
from gausstr_msgs.msg import Category
from gausstr_msgs.srv import SetCategories
from gausstr_ros.listening.transforms import fixed_from_ego
from gausstr_ros.sets.waiting import NotReady
from gausstr_ros.vocabulary.messages import category_from_message, category_message

pytestmark = pytest.mark.ros
VOXELS, CLEAR = '/gausstr/voxels', '/gausstr/clear_memory'
# everything a camera looks at is occupied, more or less: there is something to remember
DENSE = {'map.occupied_threshold': 0.01}
ON = {**DENSE, 'memory.seconds': 5.0, 'memory.movable_seconds': 5.0}


@pytest.fixture
def play(start_node, tester):
    """Start a node with some parameters; then play(index, ...) gives the points of a set."""

    def begin(**parameters):
        tester.listen(VOXELS, PointCloud2)
        tester.node_under_test = start_node(**parameters)
        tester.wait_matched()
        tester.play_transforms()
        return play

    def play(index, **options):
        options.setdefault('images', {c: tester.jpeg(7) for c in tester.cameras})
        heard = len(tester.heard[VOXELS])
        stamp = tester.play_set(index, **options)
        found = tester.wait(
            lambda: [
                m for m in tester.heard[VOXELS][heard:] if nanoseconds(m.header.stamp) == stamp
            ],
            what=f'map of set {index}',
        )
        return read_points(found[0])

    return begin


def set_values(node, **values):
    """One request; parameters with __ for a dot."""
    parameters = [Parameter(n.replace('__', '.'), value=v) for n, v in values.items()]
    result = node.set_parameters_atomically(parameters)
    assert result.successful, result.reason


def test_what_a_missing_camera_saw_stays_with_its_age_until_it_is_cleared(play, tester):
    play = play(**ON)
    first = play(0)
    assert first.dtype.names == ('x', 'y', 'z', 'rgb', 'label', 'confidence', 'age')
    assert len(first) and not first['age'].any()
    # two cameras give the set's stamp, 5 ms after the first
    second = play(1, leave_out=('CAM_C',))
    remembered = second[second['age'] > 0]
    assert len(remembered) > 50
    assert np.allclose(remembered['age'], 0.095, atol=0.002)
    assert (remembered['y'] < 0).mean() > 0.9  # where CAM_C looks, to the right and back
    third = play(3, leave_out=('CAM_C',))
    assert np.isclose(third['age'].max(), 0.295, atol=0.002)

    reply = tester.call(CLEAR, Trigger, Trigger.Request())
    assert reply.success, reply.message
    tester.wait_for_text('memory: reset, asked for=1')
    assert not play(4, leave_out=('CAM_C',))['age'].any()


def test_without_a_memory_the_cloud_is_as_it_was_and_there_is_nothing_to_clear(play, tester):
    play = play(**DENSE)
    assert play(0).dtype.names == ('x', 'y', 'z', 'rgb', 'label', 'confidence')
    reply = tester.call(CLEAR, Trigger, Trigger.Request())
    assert not reply.success and 'memory.seconds is 0' in reply.message
    assert not [text for text in tester.texts() if text.startswith('memory')]


def test_it_is_switched_on_and_off_and_changed_while_it_runs(play, tester):
    play = play(**DENSE)
    node = tester.node_under_test
    seen = len(play(0, leave_out=('CAM_C',)))
    set_values(node, memory__seconds=5.0, memory__movable_seconds=5.0)
    play(1)
    assert len(play(2, leave_out=('CAM_C',))) > seen
    set_values(node, memory__half_life=50.0, map__min_height=0.3)  # costs nothing of it
    after = play(3, leave_out=('CAM_C',))
    assert np.isclose(after['age'].max(), 0.195, atol=0.002)
    set_values(node, memory__seconds=0.1)
    assert play(4, leave_out=('CAM_C',))['age'].max() <= 0.1
    set_values(node, memory__seconds=0.0)
    assert 'age' not in play(5).dtype.names
    tester.wait_for_text('memory [s]=off')


def test_remembered_voxels_answer_in_the_new_words(play, tester):
    play = play(**ON)
    play(0)
    client = tester.node.create_client(SetCategories, '/gausstr/set_categories')
    assert client.wait_for_service(10)
    words = [Category(name='lorry'), Category(name='tarmac', role=Category.GROUND)]
    future = client.call_async(SetCategories.Request(categories=words))
    tester.wait(future.done, what='reply')  # without a set it takes two seconds
    assert future.result().success, future.result().message
    points = play(1, leave_out=('CAM_C',))
    assert (points['age'] > 0).sum() > 50
    assert set(np.unique(points['label'])) <= {0, 1}
    assert not [text for text in tester.texts() if text.startswith('memory: reset')]
    tester.node.destroy_client(client)


@pytest.mark.parametrize(
    ('sets', 'reason', 'values'),
    [
        ((0, 10), 'pose jumped', {'memory.max_speed': 0.2}),  # 1 m in 1 s
        ((0, 15), 'gap longer than the memory', {'memory.seconds': 1.0}),
        ((0, 100), 'clock jumped', {'memory.seconds': 60.0}),
        ((60, 61, 0), 'clock jumped', {}),
    ],
)
def test_it_starts_afresh(play, tester, sets, reason, values):
    play = play(**{**ON, **values})
    *before, last = sets
    for index in before:
        play(index)
    points = play(last, leave_out=('CAM_C',) if last else ())
    assert not points['age'].any()
    tester.wait_for_text(f'memory: reset, {reason}=1')


def test_it_starts_afresh_after_deactivate(play, tester):
    play = play(**ON)
    play(0)
    node = tester.node_under_test
    node.trigger_deactivate()
    tester.wait_for_text('memory: reset, deactivated=1')
    node.trigger_activate()
    tester.wait_matched()
    tester.play_transforms()
    assert not play(1, leave_out=('CAM_C',))['age'].any()


@pytest.mark.parametrize(
    ('values', 'parts'),
    [
        ({'fixed_frame': ''}, ('memory.seconds is 5', 'fixed_frame is empty')),
        ({'map.rule': 'released'}, ('memory.seconds is 5', 'ReleasedRule')),
        ({'memory.half_life': 0.0}, ('memory.half_life',)),
    ],
)
def test_what_cannot_be_remembered_is_refused_at_configure(start_node, values, parts):
    wanted = {'memory.seconds': 5.0, **values}
    try:
        node = start_node(activate=False, **wanted)
    except ValueError as error:  # out of the range that the parameter declares
        text = str(error)
    else:
        node.trigger_configure()
        text = node.fault
    assert text and all(part in text for part in parts), text


def test_what_can_move_goes_out_and_comes_back_in_messages():
    pedestrian, tram = Category(name='pedestrian'), Category(name='tram')
    assert category_from_message(pedestrian).movable and not category_from_message(tram).movable
    pedestrian.fixed = tram.movable = True
    for message, movable in ((pedestrian, False), (tram, True)):
        category = category_from_message(message)
        assert category.movable is movable
        sent = category_message(category)
        assert (sent.movable, sent.fixed) == (movable, not movable)
        assert category_from_message(sent) == category
    tram.fixed = True
    with pytest.raises(ValueError, match="category 'tram': movable and fixed are both true"):
        category_from_message(tram)


def test_where_the_ego_was_comes_from_the_fixed_frame(tester):
    stamp, buffer = tester.start, tf2_ros.Buffer()

    def look_up():
        return fixed_from_ego(buffer, 'base_link', 'odom', stamp + SECOND // 2)

    with pytest.raises(NotReady, match='no transform from base_link to odom'):
        look_up()
    for seconds, x in ((0, 1.0), (1, 2.0)):
        pose = tester.camera_pose(0.5)
        pose[0, 3] = x
        buffer.set_transform(
            tester.transform('odom', 'base_link', stamp + seconds * SECOND, pose), 'test'
        )
    found = look_up()
    assert np.isclose(found[0, 3], 1.5)
    assert np.allclose(found[:3, :3], tester.camera_pose(0.5)[:3, :3])
    pose[1, 3] = 1e12
    buffer.set_transform(tester.transform('odom', 'base_link', stamp + SECOND // 2, pose), 'test')
    with pytest.raises(ValueError, match=r'must be finite and within 1e\+08 m'):
        look_up()
