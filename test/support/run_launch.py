"""`ros2 launch FILE NAME:=VALUE ...` for tests, where ros2cli may be missing."""

from __future__ import annotations

import sys

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def main(path: str, *arguments: str) -> int:
    """Launch until it ends or is interrupted; the exit status."""
    given = [tuple(argument.split(':=', 1)) for argument in arguments]
    source = PythonLaunchDescriptionSource(path)
    service = LaunchService(argv=[])
    service.include_launch_description(
        LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given)])
    )
    return service.run()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
