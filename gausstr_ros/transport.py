"""The shared-memory profile of Fast DDS that images of six cameras need."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

# Fast DDS 2 (Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second.
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
PROFILE = 'fastdds_shared_memory.xml'

# Read by OpenMP when it is loaded, so launch and demo set it for their children.
ENVIRONMENT = {
    # Its threads sleep between loops: spinning takes the core that decoding needs (splatting
    # forward used 40 ms of CPU spinning, 13 ms sleeping, at the same wall time).
    'OMP_WAIT_POLICY': 'passive',
}

# For the processes beside the node that send and receive images, such as RViz and a bag's player:
# glibc keeps what is freed, so that not every image faults its pages in anew. The node and our
# commands do it for themselves (gausstr_core.process.memory), with one heap for all threads.
ALLOCATOR = {
    'MALLOC_MMAP_THRESHOLD_': '67108864',
    'MALLOC_TRIM_THRESHOLD_': '536870912',
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
    if path is not None and not any(name in environment for name in VARIABLES):
        environment.update(dict.fromkeys(VARIABLES, str(path)))
