"""Play a bag into the node and look at it in RViz, all in one.

Example: ros2 launch gausstr_ros replay.launch.py bag:=bags/mini/scene-0061 rate:=0.5
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

# What differs from gausstr.launch.py, whose other arguments may be given here too.
ARGUMENTS = {
    'bag': (None, 'rosbag2 bag to play: a folder, an .mcap or a .db3 file.'),
    'rviz': ('true', 'Start RViz too.'),
}


def generate_launch_description():
    launch = Path(get_package_share_directory('gausstr_ros')) / 'launch'
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    source = PythonLaunchDescriptionSource(str(launch / 'gausstr.launch.py'))
    return LaunchDescription([*arguments, IncludeLaunchDescription(source)])
