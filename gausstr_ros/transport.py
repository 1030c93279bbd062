"""The shared-memory profile of Fast DDS that images of six cameras need."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
PROFILE = 'fastdds_shared_memory.xml'

# Read by OpenMP when it is loaded, so launch and demo set it for their children.
ENVIRONMENT = {
    # Its threads sleep between loops: spinning takes the core that decoding needs (splatting
    # forward used 40 ms of CPU spinning, 13 ms sleeping, at the same wall time).
    'OMP_WAIT_POLICY': 'passive',
}


def profile_path() -> Path | None:
    """The shipped profile, in the source tree or in the installed share folder."""
    source = Path(__file__).resolve().parent.parent / 'config' / PROFILE
    if source.is_file():
        return source
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        installed = Path(get_package_share_directory('gausstr_ros')) / 'config' / PROFILE
    except PackageNotFoundError:
        return None
    return installed if installed.is_file() else None


def use_shared_memory_profile(environment: MutableMapping[str, str]) -> None:
    """Set the profile unless the user chose one; before rclpy starts, or for a child process."""
    path = profile_path()
    if path is not None:
        environment.setdefault(VARIABLE, str(path))
