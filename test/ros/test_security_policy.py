"""The SROS2 policy: exactly what the node opens, and what it refuses where DDS can refuse."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip('rclpy')

from node_graph import SMALL, active_node, endpoints, eventually

from gausstr_ros.security_policy import main, policy
from gausstr_ros.settings.settings import read_settings

ROOT = Path(__file__).parents[2]
VERBS = {('topics', 'publish'): 'publish', ('topics', 'subscribe'): 'subscribe',
         ('services', 'reply'): 'serve', ('services', 'request'): 'call'}  # fmt: skip


def allowed(text):
    """verb -> full names, of the one profile in a policy."""
    (profile,) = ET.fromstring(text.encode()).iter('profile')
    place = profile.get('ns').rstrip('/')
    rights = {verb: set() for verb in VERBS.values()}
    for group in profile:
        for right, value in group.items():
            assert value == 'ALLOW'
            for entry in group:
                name = entry.text.replace('~', f'{place}/{profile.get("node")}', 1)
                rights[VERBS[group.tag, right]].add(name)
    return rights


@pytest.mark.parametrize(
    ('namespace', 'parameters'),
    [
        ('', {}),
        (
            '/robot/one',
            {
                'use_sim_time': True,
                'depth_source': 'topic',
                'image_transport': 'raw',
                'activation_category': 'car',
                'cameras__left__camera_info_topic': '/elsewhere/info',
            },
        ),
        ('/robot', {'depth_source': 'lidar', 'lidar__topic': '/front/points /rear/points'}),
    ],
)
@pytest.mark.ros
def test_the_policy_allows_exactly_what_the_node_opens(ros, namespace, parameters):
    values = SMALL | {name.replace('__', '.'): value for name, value in parameters.items()}
    simulated = values.pop('use_sim_time', False)
    text = policy(read_settings(values), namespace, sim_time=simulated)

    with active_node(namespace, **parameters) as node:

        def opened():
            return {verb: set(names) for verb, names in endpoints(node).items()}

        assert eventually(opened, allowed(text)) == allowed(text)
    (enclave,) = ET.fromstring(text.encode()).iter('enclave')
    assert enclave.get('path') == f'{namespace}/gausstr'


def test_the_shipped_policy_is_that_of_the_default_rig_and_names_no_wildcard(capsys):
    shipped = (ROOT / 'config' / 'gausstr.policy.xml').read_text()
    main([])
    assert capsys.readouterr().out == shipped
    names = set().union(*allowed(shipped).values())
    assert len(names) > 40 and not any(set(name) & set('*?[') for name in names)


def test_the_command_writes_the_policy_of_a_rig_and_names_what_is_wrong(tmp_path):
    target = tmp_path / 'mine.policy.xml'
    rig = str(ROOT / 'config' / 'rig_template.yaml')
    main(['--params-file', rig, '--namespace', 'robot', '--output', str(target)])
    assert '/left/image_raw/compressed' in allowed(target.read_text())['subscribe']
    assert '/robot/gausstr/voxels' in allowed(target.read_text())['publish']
    assert [path.name for path in tmp_path.iterdir()] == ['mine.policy.xml']
    with pytest.raises(SystemExit, match=r'gausstr-policy: .*absent\.yaml'):
        main(['--params-file', str(tmp_path / 'absent.yaml')])
    (tmp_path / 'wide.yaml').write_text('/**: {ros__parameters: {cameras: [left, "*"]}}')
    with pytest.raises(SystemExit, match=r"""gausstr-policy: cameras: '\*': .* is no topic"""):
        main(['--params-file', str(tmp_path / 'wide.yaml')])
