"""What /diagnostics says about time, queues, clocks, connections and what is stuck."""

from __future__ import annotations

import threading

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2

from gausstr_core.pipeline import OccupancyPipeline

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'


def values(status):
    return {pair.key: pair.value for pair in status.values}


def play(tester, index, **given):
    stamp = tester.play_set(index, **given)
    tester.wait(lambda: stamp in tester.stamps(GRID), what=f'map of set {index}')


def test_latencies_queues_and_memory_are_shown(start, tester):
    """GaussTR 11, 24: frames per second that left out a stage. `total` is from end to end."""
    start()
    for index in range(5):
        play(tester, index)
    tester.wait_for_text('sets complete=5')
    shown = values(tester.status('pipeline'))
    for stage in ('decode', 'foundation', 'transformer', 'labelling', 'publishing', 'total'):
        low, high = float(shown[f'{stage} [ms] p50']), float(shown[f'{stage} [ms] p95'])
        assert 0 <= low <= high and float(shown[f'{stage} [ms]']) <= 2 * high + 1
    assert shown['queue: sets'] == shown['queue: images'] == shown['clock jumps'] == '0'
    assert shown['device'] == 'cpu' and shown['vocabulary']
    assert 50 < float(shown['resident memory [MiB]']) < 100_000
    camera = values(tester.status('CAM_B'))
    assert float(camera['rate [Hz]']) > 0 and float(camera['age [s]']) < 20


def test_a_partial_set_shows_though_a_newer_one_takes_its_place(start, tester):
    """A single lost image: the next set is complete at once, and the partial one is not mapped."""
    start()
    play(tester, 0)
    tester.play_set(1, leave_out=['CAM_B'])
    play(tester, 2)
    tester.wait(lambda: values(tester.status('CAM_B')).get('sets without it') == '1', what='count')
    assert values(tester.status('CAM_A'))['sets without it'] == '0'
    assert [text for text in tester.texts() if text == 'sets without it: 1']


def test_learned_phase_offsets_are_shown(start, tester):
    start(**{'sync.tolerance': 0.015, 'sync.learn_offsets': True})
    for index in range(16):
        tester.play_set(index)  # cameras fire 5 ms after each other
        tester.wait_for_text(f'received={index + 1}')
    for camera, offset in (('CAM_A', 0.0), ('CAM_B', 0.005), ('CAM_C', 0.01)):
        tester.wait(
            lambda c=camera, o=offset: (
                abs(float(values(tester.status(c)).get('phase offset [s]', 'nan')) - o) < 0.0005
            ),
            what=f'offset of {camera}',
        )


def test_a_stuck_stage_is_an_error_that_names_it_until_it_goes_on(start, tester, monkeypatch):
    start(watchdog_timeout=0.3)
    play(tester, 0)
    go_on, look = threading.Event(), OccupancyPipeline.encode

    def stuck(*arguments):
        assert go_on.wait(60)
        return look(*arguments)

    monkeypatch.setattr(OccupancyPipeline, 'encode', stuck)
    try:
        stamp = tester.play_set(1)
        tester.wait_for_text('stage foundation has run for', 'watchdog_timeout is 0.3 s')
        assert tester.status('pipeline').level == DiagnosticStatus.ERROR
    finally:
        go_on.set()
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map after the stall')
    tester.wait(
        lambda: tester.status('pipeline').level == DiagnosticStatus.OK, what='OK after the stall'
    )


def test_simulated_time_without_a_clock_is_named_with_the_fix(start_node, tester):
    """Polka 25, rviz_satellite 143: a silent stall with sim time."""
    start_node(use_sim_time=True)
    tester.wait_for_text('use_sim_time is true, but nothing comes on /clock', '--clock')


def test_stamps_of_a_recording_on_the_wall_clock_are_named_with_the_fix(start, tester):
    start()
    play(tester, 0)
    tester.wait_for_text('behind this machine', 'set use_sim_time to true')
    assert tester.status('clock').level == DiagnosticStatus.WARN


def test_a_subscription_that_cannot_be_served_is_named(start, tester):
    """message_filters 79, in the other direction."""
    start()
    lasting = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    tester.listen('/gausstr/voxels', PointCloud2, lasting)
    tester.wait_for_text('~/voxels', 'incompatible durability')
    assert 'QoS: voxels' in values(tester.status('pipeline'))
    assert 'QoS: occupancy_grid' not in values(tester.status('pipeline'))


@pytest.mark.parametrize(
    ('asked', 'policy'),
    [
        ({'deadline': Duration(seconds=1)}, 'deadline'),
        ({'liveliness': LivelinessPolicy.MANUAL_BY_TOPIC}, 'liveliness'),
        ({'liveliness_lease_duration': Duration(seconds=1)}, 'liveliness'),
        ({'durability': DurabilityPolicy.TRANSIENT_LOCAL}, 'durability'),
    ],
)
def test_a_subscription_that_is_gone_is_not_named_any_more(start, tester, asked, policy):
    start()
    subscription = tester.listen('/gausstr/voxels', PointCloud2, QoSProfile(depth=1, **asked))
    tester.wait_for_text('QoS: voxels=', f'incompatible {policy}')
    tester.node.destroy_subscription(subscription)
    tester.wait(
        lambda: 'QoS: voxels' not in values(tester.status('pipeline')), what='no word of it'
    )
    assert not [text for text in tester.texts() if 'incompatible' in text and policy not in text]


def test_a_frozen_picture_is_named(start, tester):
    start()
    for index in range(8):
        play(tester, index, images={'CAM_B': tester.jpeg(0)})
    tester.wait_for_text('CAM_B', 'the same to the byte')
    assert tester.status('CAM_A').message == 'ok'
    play(tester, 8)
    tester.wait(lambda: tester.status('CAM_B').message == 'ok', what='CAM_B ok again')
