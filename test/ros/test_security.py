"""The policy in force: wherever sros2 is installed and DDS has its security plug-ins."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')
keystores = pytest.importorskip('sros2.keystore')

from node_graph import SMALL

from gausstr_ros.security_policy import policy
from gausstr_ros.settings.settings import read_settings

SCRIPT = Path(__file__).parents[1] / 'support' / 'secured.py'
# Where DDS was built without them, rmw_fastrtps says so.
NO_PLUGINS = ("doesn't have the security libraries", 'security is not supported')
OPERATOR = """\
<policy version="0.2.0"><enclaves><enclave path="/operator"><profiles>
  <profile ns="/" node="operator">
    <topics publish="ALLOW"><topic>/rosout</topic><topic>/parameter_events</topic></topics>
    <services reply="ALLOW">{own}</services>
    <services request="ALLOW"><service>/gausstr/get_state</service></services>
  </profile>
</profiles></enclave></enclaves></policy>
"""
OWN_SERVICES = (
    'describe_parameters', 'get_parameter_types', 'get_parameters', 'get_type_description',
    'list_parameters', 'set_parameters', 'set_parameters_atomically',
)  # fmt: skip


@pytest.fixture(scope='module')
def secured(ros, tmp_path_factory):
    """The environment in which DDS enforces the policy of the node with two cameras."""
    folder = tmp_path_factory.mktemp('security')
    own = ''.join(f'<service>~/{name}</service>' for name in OWN_SERVICES)
    policies = {'/gausstr': policy(read_settings(SMALL)), '/operator': OPERATOR.format(own=own)}
    keystore = folder / 'keystore'
    keystores.create_keystore(keystore)
    for enclave, text in policies.items():
        path = folder / f'{enclave[1:]}.policy.xml'
        path.write_text(text)
        keystores.create_enclave(keystore, enclave)
        keystores.create_permission(keystore, enclave, path)
    found = os.environ | {
        'ROS_SECURITY_KEYSTORE': str(keystore),
        'ROS_SECURITY_ENABLE': 'true',
        'ROS_SECURITY_STRATEGY': 'Enforce',
        'OMP_NUM_THREADS': '1',
    }
    tried = run(found, '/gausstr', 'gausstr', 'publish')
    if any(text in tried.stderr for text in NO_PLUGINS):
        pytest.skip('this DDS was built without its security plug-ins')
    assert not tried.returncode, tried.stderr
    return found


def run(environment, *arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def opened(environment, verb, *topics):
    """Topic -> whether a process in the node's enclave may open it."""
    done = run(environment, '/gausstr', 'gausstr', verb, *topics)
    assert not done.returncode, done.stderr
    answers = re.findall(r'\[(allowed|refused) (/\S+)\]', done.stdout)
    return {topic: answer == 'allowed' for answer, topic in answers}


def test_an_unlisted_topic_is_refused(secured):
    found = opened(secured, 'publish', '/gausstr/voxels', '/cmd_vel', '/left/camera_info')
    assert found == {'/gausstr/voxels': True, '/cmd_vel': False, '/left/camera_info': False}
    found = opened(secured, 'subscribe', '/tf', '/cmd_vel', '/gausstr/voxels', '/clock')
    assert found == {'/tf': True, '/cmd_vel': False, '/gausstr/voxels': False, '/clock': False}


def node(environment, *parameters):
    values = [f'{k}:={v}' for k, v in SMALL.items() if k != 'cameras']
    given = [w for v in ('cameras:=[left, right]', *values, *parameters) for w in ('-p', v)]
    command = [
        sys.executable,
        '-m',
        'gausstr_ros.node.process',
        '--ros-args',
        '--enclave',
        '/gausstr',
    ]
    return subprocess.Popen(
        [*command, *given],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_node_works_under_its_policy_and_answers_who_may_ask(secured):
    process = node(secured)
    try:
        asked = run(secured, '/operator', 'operator', 'state')
        assert '[active]' in asked.stdout, asked.stderr
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and 'not found in allow rule' not in output, output


def test_a_parameter_cannot_make_it_listen_elsewhere(secured):
    process = node(secured, 'cameras.left.image_topic:=/cabin/image_raw')
    try:
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 1
    assert 'rt/cabin/image_raw/compressed topic not found in allow rule' in output, output
