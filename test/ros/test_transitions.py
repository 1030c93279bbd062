"""Transitions that fail half-way leave nothing, and a worker that ends takes the node with it."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter

from gausstr_msgs.srv import GetCategories
from gausstr_ros.health.fault_log import EVERY, MOST, FaultLog
from gausstr_ros.node.lifecycle_node import GaussTRNode
from gausstr_ros.sets.arrivals import Arrivals
from gausstr_ros.vocabulary.services import VocabularyServices

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'


def ask(tester, label):
    request = ChangeState.Request()
    request.transition.label = label
    return tester.call('/gausstr/change_state', ChangeState, request).success


def open_ends(node):
    """Topics, services and timers."""
    publishers = sorted(publisher.topic_name for publisher in node.publishers)
    subscriptions = sorted(subscription.topic_name for subscription in node.subscriptions)
    return publishers, subscriptions, len(list(node.services)), len(list(node.timers))


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'cameras.CAM_B.image_topic': '/CAM B/image_raw'}, 'cameras.CAM_B.image_topic'),
        ({'cameras.CAM_B.camera_info_topic': '/1/info'}, 'cameras.CAM_B.camera_info_topic'),
        ({'cameras': ['CAM_A', 'front camera']}, "cameras: 'front camera'"),
        ({'base_frame': '/base_link'}, 'base_frame'),
        ({'fixed_frame': '/odom'}, 'fixed_frame'),
    ],
)
def test_names_that_nothing_can_have_are_refused_at_configure(start_node, values, reason):
    node = start_node(activate=False, **values)
    before = open_ends(node)
    node.trigger_configure()
    assert node.fault.startswith(f'configure failed: {reason}') and '\n' not in node.fault
    assert open_ends(node) == before


@pytest.mark.parametrize(
    ('owner', 'method', 'step'),
    [(VocabularyServices, 'open', 'configure'), (GaussTRNode, 'create_timer', 'activate')],
)
def test_a_transition_that_fails_half_way_leaves_nothing(
    start_node, tester, monkeypatch, owner, method, step
):
    node = start_node(activate=False)
    before = open_ends(node)
    if step == 'activate':
        node.trigger_configure()

    def fail(*_, **__):
        raise RuntimeError('half-way')

    with monkeypatch.context() as patched:
        patched.setattr(owner, method, fail)
        (node.trigger_configure if step == 'configure' else node.trigger_activate)()
    assert node.fault == f'{step} failed: RuntimeError: half-way'
    assert open_ends(node) == before
    assert ask(tester, 'configure') and ask(tester, 'activate')


@pytest.mark.parametrize('thread', ['encoding', 'mapping'])
def test_a_thread_that_ends_stops_the_node_with_the_reason(start, tester, monkeypatch, thread):
    node = start()
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map')

    def fail(*_, **__):
        raise RuntimeError('unforeseen')

    with monkeypatch.context() as patched:
        if thread == 'encoding':
            patched.setattr(Arrivals, 'find', fail)
        else:
            patched.setattr(node.health, 'mapped', fail)
            patched.setattr(node.health, 'dropped', fail)
        tester.play_set(1)
        tester.wait(lambda: tester.state() == 'inactive', what='stop')
    shown = tester.wait(
        lambda: (s := tester.status('pipeline')).message.startswith('stopped: ') and s,
        what='reason',
    )
    assert shown.level == DiagnosticStatus.ERROR
    assert shown.message == 'stopped: failure in the worker, RuntimeError: unforeseen'
    assert ask(tester, 'activate')
    tester.wait_matched()
    tester.play_transforms()
    stamp = tester.play_set(20)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map after the stop')


def test_diagnostics_tell_the_state_and_praise_no_camera_that_nobody_hears(start, tester):
    start()
    tester.wait(lambda: tester.status('pipeline').message == 'active', what='active')
    for label, then in (('deactivate', 'inactive'), ('shutdown', 'finalized')):
        assert ask(tester, label)
        shown = tester.wait(
            lambda s=then: (
                (last := tester.heard['/diagnostics'][-1].status)[0].message == s and last
            ),
            what=then,
        )
        cameras = [status for status in shown if 'CAM_' in status.name]
        assert len(cameras) == 3
        assert {camera.level for camera in cameras} == {DiagnosticStatus.STALE}


def test_an_image_whose_stamp_no_message_can_hold_is_refused(start, tester):
    start(fixed_frame='')
    for camera in tester.cameras:
        image = tester.jpeg(1)
        image.header.frame_id = camera
        image.header.stamp.sec, image.header.stamp.nanosec = 2**31 - 1, 2_000_000_000
        tester.images[camera].publish(image)
    tester.wait_for_text('camera CAM_C: the stamp of its image', 'is no time')
    tester.wait_for_text('dropped: cannot be used=1')
    known = tester.call('/gausstr/get_categories', GetCategories, GetCategories.Request())
    assert known.categories.categories
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map after it')


def test_a_lasting_fault_is_logged_once(start, tester):
    lines = []

    class Collect(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Collect(logging.WARNING)
    logging.getLogger('gausstr_ros').addHandler(handler)
    try:
        start(**{'sync.min_cameras': 3})
        infos = {camera: tester.camera_info(focal=float('nan')) for camera in tester.cameras}
        for index in range(5):
            tester.play_set(index, infos=infos)
            tester.wait_for_text(f'sets dropped: bad input={index + 1}')
    finally:
        logging.getLogger('gausstr_ros').removeHandler(handler)
    kinds = [line for line in lines if 'set at' in line]
    assert len(kinds) == 4, kinds  # one for each camera and one for the sets


def test_a_fault_is_logged_again_after_a_while_with_how_often_it_came(caplog):
    now = [0.0]
    log = FaultLog(logging.getLogger('gausstr_ros'), lambda: now[0])
    for second in range(int(2 * EVERY) + 1):
        now[0] = float(second)
        log.note(f'fault {second}')
    log.note('another', level=logging.WARNING)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [
        ('ERROR', 'fault 0'),
        ('ERROR', f'fault {EVERY:.0f} (59 more like this in {EVERY:.0f} s)'),
        ('ERROR', f'fault {2 * EVERY:.0f} (59 more like this in {EVERY:.0f} s)'),
        ('WARNING', 'another'),
    ]


def test_a_flood_of_different_faults_is_not_remembered_for_ever(caplog):
    log = FaultLog(logging.getLogger('gausstr_ros'), lambda: 0.0)
    names = [f'fault {"x" * length}' for length in range(MOST + 1)]
    for name in (*names, names[-1], names[0]):  # the last is known still, the first is not
        log.note(name)
    assert [record.getMessage() for record in caplog.records] == [*names, names[0]]


def test_parameters_can_be_set_right_after_a_refusal(start_node, tester):
    node = start_node(activate=False, **{'cameras.CAM_B.image_topic': '/CAM B/image_raw'})
    node.trigger_configure()
    assert node.fault
    node.set_parameters([Parameter('cameras.CAM_B.image_topic', value='')])
    assert ask(tester, 'configure') and ask(tester, 'activate')
