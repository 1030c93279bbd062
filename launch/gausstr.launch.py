"""Start the node with its parameters and its transport, and RViz where it is asked for.

Example: ros2 launch gausstr_ros gausstr.launch.py rviz:=true use_sim_time:=true
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from gausstr_ros.transport import ENVIRONMENT, use_shared_memory_profile


def generate_launch_description():
    share = Path(get_package_share_directory('gausstr_ros'))
    arguments = [
        DeclareLaunchArgument(
            'params_file',
            default_value=str(share / 'config' / 'gausstr.yaml'),
            description='YAML with parameters of the node',
        ),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', description='follow /clock, as with a bag'
        ),
        DeclareLaunchArgument('namespace', default_value='', description='of the node'),
        DeclareLaunchArgument('log_level', default_value='info', description='of the node'),
        DeclareLaunchArgument('rviz', default_value='false', description='start RViz too'),
    ]
    environment = dict(os.environ)
    use_shared_memory_profile(environment)
    for name, value in ENVIRONMENT.items():
        environment.setdefault(name, value)
    added = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    node = Node(
        package='gausstr_ros',
        executable='gausstr-node',
        name='gausstr',
        namespace=LaunchConfiguration('namespace'),
        parameters=[LaunchConfiguration('params_file'), {'use_sim_time': use_sim_time}],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(share / 'rviz' / 'gausstr.rviz')],
        parameters=[{'use_sim_time': use_sim_time}],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return LaunchDescription(
        arguments
        + [SetEnvironmentVariable(name, value) for name, value in added.items()]
        + [node, rviz]
    )
