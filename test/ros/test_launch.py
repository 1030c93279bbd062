"""The launch files at work, wherever launch_ros is installed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')
pytest.importorskip('launch_ros')

import yaml
from installed_package import add_package, add_recorder, environment, install, recorded
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters

from gausstr_ros.transport import ALLOCATOR, PROFILE, VARIABLES

PARAMETERS = """\
/**:
  ros__parameters:
    weights: untrained
    autostart: false
    cameras: [left, right]
    base_frame: chassis
"""


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    """The installed package, with `ros2` and RViz that only record how they were started."""
    made = install(tmp_path_factory.mktemp('installed'))
    add_recorder(made / 'bin' / 'ros2', made / 'ros2.json')
    add_recorder(made / 'lib' / 'rviz2' / 'rviz2', made / 'rviz2.json')
    add_package(made, 'rviz2')
    return made


@pytest.fixture
def launch(prefix, tmp_path, ros):
    """Launch a file of the installed package; stopped by an interrupt at the end."""

    @contextlib.contextmanager
    def run(name, *arguments):
        for record in prefix.glob('*.json'):
            record.unlink()
        script = Path(__file__).parents[1] / 'support' / 'run_launch.py'
        path = prefix / 'share' / 'gausstr_ros' / 'launch' / name
        process = subprocess.Popen(
            [sys.executable, str(script), str(path), *arguments],
            env=environment(prefix) | {'ROS_LOG_DIR': str(tmp_path / 'log')},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
            # as a terminal does: to the launch and to all that it started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            process.output = process.communicate(timeout=30)[0]
        finally:
            process.kill()

    return run


@pytest.fixture
def rig(tmp_path):
    path = tmp_path / 'rig.yaml'
    path.write_text(PARAMETERS)
    return str(path)


def change(tester, label):
    request = ChangeState.Request()
    request.transition.label = label
    assert tester.call('/robot/gausstr/change_state', ChangeState, request, 60).success, label


def test_the_node_runs_as_asked_and_the_bag_waits_for_it(launch, prefix, rig, tester):
    arguments = [f'rig:={rig}', 'preset:=tiny', 'bag:=drive', 'rate:=0.5', 'loop:=true']
    arguments += ['namespace:=robot', 'enclave:=/robot/gausstr']
    with launch('gausstr.launch.py', *arguments) as process:
        client = tester.node.create_client(GetState, '/robot/gausstr/get_state')
        tester.wait(client.service_is_ready, 60, 'lifecycle services')
        names = ['preset', 'weights', 'cameras', 'base_frame', 'use_sim_time']
        reply = tester.call(
            '/robot/gausstr/get_parameters', GetParameters, GetParameters.Request(names=names)
        )
        preset, weights, cameras, frame, simulated = reply.values
        assert (preset.string_value, weights.string_value) == ('tiny', 'untrained')
        assert list(cameras.string_array_value) == ['left', 'right']
        assert frame.string_value == 'chassis' and simulated.bool_value
        known = tester.node.get_node_names_and_namespaces_with_enclaves()
        assert ('gausstr', '/robot', '/robot/gausstr') in known
        record = prefix / 'ros2.json'
        change(tester, 'configure')
        assert not record.exists()
        change(tester, 'activate')
        tester.wait(record.exists, 30, 'the bag')
        player = recorded(record)
        played = 'bag play drive --clock 100 --rate 0.5 --loop'
        assert ' '.join(player['arguments']) == played
        assert ALLOCATOR.items() <= player['environment'].items()
        for variable in VARIABLES:
            profile = Path(player['environment'][variable])
            assert profile.name == PROFILE and profile.is_file()
        assert not (prefix / 'rviz2.json').exists()
        assert process.poll() is None
    assert process.returncode == 0 and 'exception' not in process.output, process.output
    assert 'failed to terminate' not in process.output


def test_a_replay_shows_the_cameras_of_the_rig_in_rviz(launch, prefix, rig, tester):
    arguments = [f'rig:={rig}', 'preset:=tiny', 'bag:=drive', 'namespace:=robot']
    with launch('replay.launch.py', *arguments):
        record = prefix / 'rviz2.json'
        tester.wait(record.exists, 60, 'RViz')
        started = recorded(record)
        view = yaml.safe_load(Path(started['arguments'][1]).read_text())
        assert ALLOCATOR.items() <= started['environment'].items()
        files = started['arguments'][started['arguments'].index('--params-file') + 1 :]
        assert 'use_sim_time: true' in Path(files[0]).read_text()
    assert view['Visualization Manager']['Global Options']['Fixed Frame'] == 'chassis'
    text = yaml.safe_dump(view)
    assert '/robot/gausstr/right/depth' in text and '/left/image_raw/compressed' in text


def test_what_cannot_work_is_named(launch, rig):
    for name, arguments, expected in (
        ('gausstr.launch.py', ['rig:=mars'], "rig 'mars' is neither a file nor one of nuscenes"),
        ('gausstr.launch.py', [f'rig:={rig}', 'rviz:=perhaps'], 'rviz must be true or false'),
        ('replay.launch.py', [f'rig:={rig}'], "'bag'"),
        ('gausstr.launch.py', ['bag:=drive', 'respawn:=true'], 'respawn is for live cameras'),
    ):
        with launch(name, *arguments) as process:
            process.wait(60)
        assert process.returncode == 1
        assert expected in process.output


def test_a_replay_ends_with_the_reason_where_the_node_cannot_start(launch, tmp_path):
    path = tmp_path / 'rig.yaml'
    path.write_text(PARAMETERS.replace('untrained', '/no/such.file').replace('false', 'true'))
    with launch('replay.launch.py', f'rig:={path}', 'preset:=tiny', 'bag:=drive') as process:
        process.wait(60)
    assert '/no/such.file' in process.output, process.output
