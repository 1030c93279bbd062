"""Make ROS from PyPI usable in this virtual environment.

`make setup` runs this with the environment's own Python, only where no ROS is installed. The
wheels bring rclpy, DDS and the common interfaces. What is missing is built here: `gausstr_msgs`
from this repository, and `tf2_msgs`, whose one message is generated from the definitions that
`rosbags` ships. Running it again with nothing changed costs a fraction of a second.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
MESSAGES = REPOSITORY / 'gausstr_msgs'
PREFIX = Path(sys.prefix)
BUILD = PREFIX / 'build' / 'gausstr_underlay'
STAMP = PREFIX / 'share' / 'gausstr_underlay' / 'stamp'

# The hash of tf2_msgs/msg/TFMessage in every Jazzy install: two nodes understand each other's
# transforms only when their hashes agree.
TF_MESSAGE_HASH = 'RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087'

# rcl finds message packages through AMENT_PREFIX_PATH, which a ROS install sets in setup.bash.
# site-packages/*.pth lines run at the start of every Python of the environment, in alphabetical
# order: this one comes before ros_wheels_bootstrapper.pth, which starts Python a second time
# with LD_LIBRARY_PATH (our libraries lie in the environment's lib, which it includes).
ENVIRONMENT_PTH = 'gausstr_underlay.pth'
ENVIRONMENT_LINE = (
    'import os, sys; p = os.environ.get("AMENT_PREFIX_PATH", ""); '
    'sys.prefix in p.split(os.pathsep) or os.environ.update('
    'AMENT_PREFIX_PATH=os.pathsep.join(filter(None, (sys.prefix, p))))\n'
)


def main() -> None:
    """Build and install what the wheels lack, unless it is there already."""
    if sys.prefix == sys.base_prefix:
        raise SystemExit('bootstrap: run it with the Python of a virtual environment')
    _link_share()
    wanted = _fingerprint()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        print('bootstrap: gausstr_msgs and tf2_msgs are up to date')
        return
    _check_tools()
    print('bootstrap: pointing the CMake exports of the ROS wheels at this environment')
    _patch_exports()
    _write_environment_pth()
    for source in (_write_tf2_msgs(BUILD / 'source' / 'tf2_msgs'), MESSAGES):
        print(f'bootstrap: building {source.name}', flush=True)
        _build(source)
    _verify()
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    STAMP.write_text(wanted)
    shutil.rmtree(BUILD)
    print('bootstrap: done')


def _fingerprint() -> str:
    """Hash of everything that the result depends on."""
    digest = hashlib.sha256(f'{sys.version} {sys.prefix}'.encode())
    for path in (Path(__file__), *sorted(MESSAGES.rglob('*'))):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    names = {item.name: item.version for item in metadata.distributions()}
    for name in sorted(name for name in names if name.startswith(('ros-', 'ros_', 'rosbags'))):
        digest.update(f'{name}=={names[name]}'.encode())
    return digest.hexdigest()


def _link_share() -> None:
    """Link what ament looks up by package name: pip's editable install leaves data files out.

    File by file, in folders of its own: `ros2 launch` walks through the share directory for a
    launch file, and does not enter a folder that is a link.
    """
    index = PREFIX / 'share' / 'ament_index' / 'resource_index' / 'packages'
    share = PREFIX / 'share' / 'gausstr_ros'
    for folder in (index, share):
        folder.mkdir(parents=True, exist_ok=True)
    links = {index / 'gausstr_ros': REPOSITORY / 'resource' / 'gausstr_ros'}
    links[share / 'package.xml'] = REPOSITORY / 'package.xml'
    for name in ('config', 'launch', 'rviz'):
        _empty_of_links(share / name)
        links |= {share / name / p.name: p for p in (REPOSITORY / name).iterdir() if p.is_file()}
    for link, target in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _empty_of_links(folder: Path) -> None:
    """Make a folder that has no link of an earlier setup, nor is one."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_symlink():
            entry.unlink()


def _check_tools() -> None:
    """Name everything that the build lacks, with the way to get it."""
    missing = []
    # DDS' side of every message is C++, so a C compiler alone does not do. CMake takes CC and
    # CXX, else cc and c++, which gcc and clang both provide.
    for variable, command in (('CC', 'cc'), ('CXX', 'c++'), ('MAKE', 'make')):
        program = os.environ.get(variable, command).split()[0]
        if not shutil.which(program):
            missing.append(f'{program} (Debian, Ubuntu: apt install build-essential)')
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.is_file():
        missing.append(f'{header} (Debian, Ubuntu: apt install python3-dev)')
    if missing:
        raise SystemExit('bootstrap: building the ROS messages needs ' + '\n  and '.join(missing))


def _patch_exports() -> None:
    """Replace the wheel builder's Python in the CMake exports by this environment's."""
    import numpy

    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    places = (
        (rf'/opt/python/cp\d+-cp\d+/include/{python}', sysconfig.get_path('include')),
        (r'/opt/python/cp\d+-cp\d+/lib/python[\d.]+/site-packages/numpy/_?core/include',
         numpy.get_include()),
        (r'/opt/python/cp\d+-cp\d+', sys.base_prefix),
    )  # fmt: skip
    for path in (PREFIX / 'share').glob('*/cmake/*.cmake'):
        old = path.read_text()
        if '/opt/python/' not in old:
            continue
        new = old
        for pattern, place in places:
            new = re.sub(pattern, lambda _, place=place: place, new)
        # pip may have hard-linked the file from its cache: write a new one.
        aside = path.with_suffix('.cmake.new')
        aside.write_text(new)
        os.replace(aside, path)


def _write_environment_pth() -> None:
    pth = Path(sysconfig.get_path('purelib')) / ENVIRONMENT_PTH
    pth.write_text(ENVIRONMENT_LINE)


def _write_tf2_msgs(folder: Path) -> Path:
    """Write the source package of tf2_msgs, reduced to TFMessage, and return its folder."""
    from rosbags.typesys import Stores, get_typestore

    # rosbags gives the message and, below a line of '=', the messages that it contains.
    text, _ = get_typestore(Stores.ROS2_JAZZY).generate_msgdef('tf2_msgs/msg/TFMessage')
    definition = text.split('=' * 80)[0]
    (folder / 'msg').mkdir(parents=True, exist_ok=True)
    (folder / 'msg' / 'TFMessage.msg').write_text(definition)
    for name in ('CMakeLists.txt', 'package.xml'):
        shutil.copy(HERE / 'tf2_msgs' / name, folder / name)
    return folder


def _build(source: Path) -> None:
    build = BUILD / source.name
    # cmake comes from PyPI; LD_LIBRARY_PATH names the wheels' libraries and is not for compilers.
    environment = {key: value for key, value in os.environ.items() if key != 'LD_LIBRARY_PATH'}
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    environment['AMENT_PREFIX_PATH'] = str(PREFIX)
    environment['PATH'] = f'{PREFIX / "bin"}{os.pathsep}{environment.get("PATH", "")}'
    cmake = str(PREFIX / 'bin' / 'cmake')
    _run([cmake, '-S', str(source), '-B', str(build), '-G', 'Unix Makefiles',
          f'-DCMAKE_INSTALL_PREFIX={PREFIX}', f'-DCMAKE_PREFIX_PATH={PREFIX}',
          '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF',
          f'-DPython3_EXECUTABLE={sys.executable}', f'-DPYTHON_EXECUTABLE={sys.executable}'],
         environment)  # fmt: skip
    _run([cmake, '--build', str(build), '--parallel', str(os.cpu_count() or 1)], environment)
    _run([cmake, '--install', str(build)], environment)


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run quietly; on failure show the output and stop."""
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise SystemExit(f'bootstrap: failed with status {done.returncode}: {" ".join(command)}')


def _verify() -> None:
    """Load the new messages the way a node does, in a fresh interpreter."""
    code = (
        'from rclpy.type_support import check_for_type_support as check\n'
        'from gausstr_msgs.msg import Categories, Category\n'
        'from gausstr_msgs.srv import GetCategories, SetCategories\n'
        'from tf2_msgs.msg import TFMessage\n'
        'for kind in (Categories, Category, GetCategories, SetCategories, TFMessage): check(kind)'
    )
    environment = {key: value for key, value in os.environ.items() if key != 'AMENT_PREFIX_PATH'}
    _run([sys.executable, '-c', code], environment)
    found = re.search(
        r'RIHS01_[0-9a-f]{64}', (PREFIX / 'share/tf2_msgs/msg/TFMessage.json').read_text()
    )
    if not found or found[0] != TF_MESSAGE_HASH:
        raise SystemExit(
            f'bootstrap: the type hash of TFMessage should be {TF_MESSAGE_HASH}, '
            f'but is {found and found[0]}: other ROS machines would not understand our transforms'
        )


if __name__ == '__main__':
    main()
