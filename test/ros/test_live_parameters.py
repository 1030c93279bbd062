"""Parameters that are set while the node runs: all of a request from one set on, or none of it."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from gausstr_core.stamps import nanoseconds
from gausstr_ros.settings.declaration import parameter_values
from gausstr_ros.settings.parameters import live_parameters
from gausstr_ros.settings.settings import read_settings

pytestmark = pytest.mark.ros
CAR = 'car'


def parameters(values):
    """As rclpy takes them, of name -> value."""
    return [Parameter(name, value=value) for name, value in values.items()]


def cells(tester, index):
    """The map of one more set; it is the one with the set's stamp."""
    stamp = tester.play_set(index, images={c: tester.jpeg(7) for c in tester.cameras})
    found = tester.wait(
        lambda: [
            m
            for m in tester.heard['/gausstr/occupancy_grid']
            if nanoseconds(m.header.stamp) == stamp
        ]
    )
    return np.asarray(found[0].data)


def test_the_next_map_is_by_the_new_values_and_no_set_is_lost(start, tester):
    node = start(**{'map.occupied_threshold': 0.01})
    first = cells(tester, 0)
    assert (first == 100).any()
    result = node.set_parameters_atomically(
        parameters({'map.min_height': 3.0, 'map.max_height': 4.5, 'map.occupied_threshold': 1e5})
    )
    assert result.successful, result.reason
    assert not (cells(tester, 1) == 100).any()
    (result,) = node.set_parameters(parameters({'map.occupied_threshold': 0.01}))
    assert result.successful, result.reason
    high = cells(tester, 2)
    assert (high == 100).any() and (high != first).any()
    back = parameters({'map.min_height': 0.2, 'map.max_height': 2.2})
    assert node.set_parameters_atomically(back).successful
    assert (cells(tester, 3) == first).all()
    tester.wait_for_text('sets complete=4')
    assert not [text for text in tester.texts() if 'sets partial' in text or 'dropped' in text]


def test_sets_are_made_by_the_new_limits(start, tester):
    node = start()
    cells(tester, 0)
    (result,) = node.set_parameters(parameters({'sync.min_cameras': 3}))
    assert result.successful, result.reason
    tester.play_set(1, leave_out=('CAM_B',))
    tester.wait_for_text('dropped: too few cameras at the timeout')
    (result,) = node.set_parameters(parameters({'sync.min_cameras': 1}))
    assert result.successful, result.reason
    stamp = tester.play_set(2, leave_out=('CAM_B',))
    tester.wait(lambda: stamp in tester.stamps('/gausstr/occupancy_grid'), what='partial map')


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'map.min_height': 1.0, 'grid.resolution': 0.2}, 'grid.resolution: read when'),
        ({'map.min_height': 5.0}, 'map.min_height must be below map.max_height'),
        ({'map.min_height': 0.5, 'sync.min_cameras': 4}, 'sync.min_cameras must be from 1'),
        ({'map.min_height': 0.5, 'sync.timeout': 0.02}, 'sync.timeout must not be shorter'),
        ({'activation_category': CAR}, 'is offered or not when the node is configured'),
    ],
)
def test_what_cannot_be_is_refused_whole_with_the_reason(start_node, values, reason):
    node = start_node()
    before = parameter_values(node)
    result = node.set_parameters_atomically(parameters(values))
    assert not result.successful and reason in result.reason
    assert parameter_values(node) == before


def test_a_threshold_that_the_rule_does_not_have_is_refused(start_node):
    node = start_node(**{'map.rule': 'released'})
    (result,) = node.set_parameters(parameters({'map.class_temperature': 2.0}))
    assert not result.successful and 'of the calibrated rule' in result.reason


def test_the_activation_follows_its_category(start, tester):
    node = start(**{'activation_category': CAR})
    tester.listen('/gausstr/CAM_A/activation', Image)
    cells(tester, 0)
    tester.wait(lambda: tester.heard['/gausstr/CAM_A/activation'], what='activation')
    assert node.set_parameters(parameters({'activation_category': 'building'}))[0].successful
    cells(tester, 1)
    tester.wait(lambda: len(tester.heard['/gausstr/CAM_A/activation']) == 2, what='activation')
    of_car, of_building = (np.asarray(m.data) for m in tester.heard['/gausstr/CAM_A/activation'])
    assert (of_car != of_building).any()


def test_changes_outlast_a_restart_of_the_cameras_and_of_the_node(start, tester):
    node = start(**{'map.occupied_threshold': 0.01})
    node.trigger_deactivate()
    assert node.set_parameters(parameters({'map.occupied_threshold': 1e5}))[0].successful
    node.trigger_activate()
    tester.wait_matched()
    tester.play_transforms()
    assert not (cells(tester, 0) == 100).any()
    for step in ('deactivate', 'cleanup'):
        getattr(node, f'trigger_{step}')()
    # nothing is fixed while nothing is configured
    assert node.set_parameters(parameters({'grid.resolution': 0.8}))[0].successful
    for step in ('configure', 'activate'):
        getattr(node, f'trigger_{step}')()
    assert not node.fault, node.fault
    tester.wait_matched()
    tester.play_transforms()
    assert not (cells(tester, 1) == 100).any()
    assert tester.heard['/gausstr/occupancy_grid'][-1].info.width == 50


def test_each_parameter_says_when_it_may_change(start_node):
    node = start_node(activate=False)
    live = live_parameters(read_settings(parameter_values(node)).names)
    assert {'map.min_height', 'cameras.CAM_A.time_offset', 'publish.max_cubes'} <= live
    for name in parameter_values(node):
        when = node.describe_parameter(name).additional_constraints.rpartition('; ')[2]
        assert when == ('may change while the node runs' if name in live else 'read at configure')
