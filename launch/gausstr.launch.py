"""Start the node for a rig, with its transport; a bag and RViz where they are asked for.

Examples:
    ros2 launch gausstr_ros gausstr.launch.py rviz:=true
    ros2 launch gausstr_ros gausstr.launch.py rig:=/path/to/my_rig.yaml namespace:=robot
    ros2 launch gausstr_ros gausstr.launch.py bag:=bags/mini/scene-0061 depth_source:=lidar
"""

import os
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.logging import launch_config
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition

from gausstr_ros.transport import ALLOCATOR, ENVIRONMENT, use_shared_memory_profile

SHARE = Path(get_package_share_directory('gausstr_ros'))
ARGUMENTS = {
    'rig': ('nuscenes', 'Cameras and frames: path of a YAML file, or the name of a shipped one.'),
    'preset': (
        '',
        'Model: compact, surface, talk2dino or featup; empty: what the rig says, else compact.',
    ),
    'depth_source': ('', 'Depth: model, topic or lidar; empty: what the rig says, else model.'),
    'params_file': ('', 'YAML with more parameters of the node, which win over the rig.'),
    'bag': ('', 'rosbag2 bag to play once the node is active; empty: live cameras.'),
    'rate': ('1.0', 'Speed of the bag.'),
    'loop': ('false', 'Play the bag again and again.'),
    'rviz': ('false', 'Start RViz too.'),
    'use_sim_time': ('', 'Follow /clock; empty: where a bag is given.'),
    'namespace': ('', 'Namespace of the node.'),
    'enclave': ('', 'SROS2 enclave of the node, as in docs/security.md; empty: none is chosen.'),
    'respawn': ('false', 'Start the node again whenever it ends; not with a bag.'),
    'log_level': ('info', 'Log level of the node: debug, info, warn, error or fatal.'),
}
RESPAWN_DELAY = 2.0  # seconds: a node that cannot start must not fill the machine


def generate_launch_description():
    environment = dict(os.environ)
    use_shared_memory_profile(environment)
    for name, value in ENVIRONMENT.items():
        environment.setdefault(name, value)
    added = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    variables = [SetEnvironmentVariable(name, value) for name, value in added.items()]
    return LaunchDescription([*arguments, *variables, OpaqueFunction(function=_processes)])


def _processes(context):
    given = {name: context.launch_configurations[name] for name in ARGUMENTS}
    bag = given['bag']
    respawn = _truth('respawn', given['respawn'])
    if respawn and bag:
        raise ValueError('respawn is for live cameras: with a bag the launch ends with the node')
    clock = {'use_sim_time': _truth('use_sim_time', given['use_sim_time'] or str(bool(bag)))}
    files = [_rig_file(given['rig'])]
    if given['params_file']:
        files.append(given['params_file'])
    chosen = clock | {n: given[n] for n in ('preset', 'depth_source') if given[n]}
    enclave = ['--enclave', given['enclave']] if given['enclave'] else []
    # A LifecycleNode makes launch a ROS node of its own, which needs an enclave as well.
    node = (LifecycleNode if bag else Node)(
        package='gausstr_ros',
        executable='gausstr-node',
        name='gausstr',
        namespace=given['namespace'],
        parameters=[*files, chosen],
        arguments=['--ros-args', '--log-level', given['log_level'], *enclave],
        output='screen',
        on_exit=_end if bag else None,
        respawn=respawn,
        respawn_delay=RESPAWN_DELAY,
    )
    actions = [node]
    if bag:
        # handlers come first: a node that is active before we look would wait for ever
        actions.insert(0, _play_when_active(node, bag, given))
    if _truth('rviz', given['rviz']):
        actions.append(_rviz(files, clock, given['namespace']))
    return actions


def _end(event, context):
    # what is shutting down already complains about a second time
    return None if context.is_shutdown else Shutdown(reason='the node ended')


def _play_when_active(node, bag, given):
    loop = ['--loop'] if _truth('loop', given['loop']) else []
    player = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', bag, '--clock', '100', '--rate', given['rate'], *loop],
        additional_env=ALLOCATOR,
        output='screen',
    )
    return RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node, goal_state='active', entities=[player], handle_once=True
        )
    )


def _rviz(files, clock, namespace):
    # These import torch: seconds, which only RViz has to pay.
    from gausstr_ros.rviz_view import fitted
    from gausstr_ros.settings.parameter_file import full_name, read_parameter_files
    from gausstr_ros.settings.settings import read_settings

    node = full_name(namespace)
    values = read_parameter_files([Path(path) for path in files], node)
    shipped = yaml.safe_load((SHARE / 'rviz' / 'gausstr.rviz').read_text())
    view = Path(launch_config.log_dir) / 'gausstr.rviz'
    view.write_text(yaml.safe_dump(fitted(shipped, read_settings(values), node), sort_keys=False))
    return Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(view)],
        parameters=[clock],
        additional_env=ALLOCATOR,
    )


def _rig_file(rig):
    """Path of the rig's file: its own, or of a shipped one by its name."""
    shipped = SHARE / 'config' / f'rig_{rig}.yaml'
    for path in (Path(rig).expanduser(), shipped):
        if path.is_file():
            return str(path)
    known = sorted(path.stem.removeprefix('rig_') for path in shipped.parent.glob('rig_*.yaml'))
    raise ValueError(f'rig {rig!r} is neither a file nor one of {", ".join(known)}')


def _truth(name, text):
    if text.lower() not in ('true', 'false'):
        raise ValueError(f'{name} must be true or false, got {text!r}')
    return text.lower() == 'true'
