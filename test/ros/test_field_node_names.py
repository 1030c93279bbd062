"""Two nodes on one machine are told apart in /diagnostics."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from gausstr_ros.demo.spinning import SpinningThread
from gausstr_ros.health.diagnostics import REPLAY, Health
from gausstr_ros.node.lifecycle_node import GaussTRNode
from gausstr_ros.settings.settings import read_settings

pytestmark = pytest.mark.ros


@pytest.fixture
def start_as(ros):
    running = []

    def start(*remappings, **given):
        rules = [part for rule in remappings for part in ('-r', rule)]
        node = GaussTRNode(cli_args=['--ros-args', *rules], **given)
        running.append((node, SpinningThread(node)))

    yield start
    for node, spinning in running:
        spinning.close()
        node.close()
        node.destroy_node()


@pytest.mark.parametrize(
    ('remappings', 'given', 'expected'),
    [
        ([], {}, 'gausstr'),
        (['__ns:=/robot1'], {}, 'robot1/gausstr'),
        (['__ns:=/fleet/robot2', '__node:=mapper'], {}, 'fleet/robot2/mapper'),
        (['__node:=mapper'], {}, 'mapper'),
        ([], {'namespace': 'robot3'}, 'robot3/gausstr'),
    ],
)
def test_statuses_have_the_full_name_of_their_node(start_as, tester, remappings, given, expected):
    """diagnostics 318, linux_peripheral_interfaces 3."""
    start_as(*remappings, **given)
    tester.wait(lambda: tester.heard['/diagnostics'], what='report')
    found = {
        (status.name, status.hardware_id)
        for report in tester.heard['/diagnostics']
        for status in report.status
    }
    assert found == {(f'{expected}: {task}', expected) for task in ('pipeline', 'clock')}


def test_two_nodes_share_no_name(start_as, tester):
    """diagnostics 318: aggregators would take the newer status for that of the other."""
    start_as('__ns:=/robot1')
    start_as('__ns:=/robot2', '__node:=mapper')
    names = {'robot1/gausstr: pipeline', 'robot2/mapper: pipeline'}
    tester.wait(
        lambda: names <= {s.name for r in tester.heard['/diagnostics'] for s in r.status},
        what='statuses of both',
    )


def test_cameras_have_the_name_of_their_node_too():
    """diagnostics 318; a replay, which has no graph, is called as the node is by default."""
    settings = read_settings({'cameras': ['left', 'right']})
    named, replayed = Health(node='/robot1/gausstr'), Health()
    for health, node in ((named, 'robot1/gausstr'), (replayed, 'gausstr')):
        health.configured(settings)
        health.state(REPLAY)
        found = {(s.name, s.hardware_id) for s in health.message(0).status}
        assert found == {(f'{node}: {task}', node) for task in ('pipeline', 'left', 'right')}
