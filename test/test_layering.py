"""Who may import whom, and where the heavy optional libraries may appear."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ('gausstr_core', 'gausstr_ros', 'gausstr_training')
ROS = {
    'ament_index_python', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs', 'gausstr_msgs',
    'geometry_msgs', 'launch', 'launch_ros', 'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces',
    'rclpy', 'sensor_msgs', 'sensor_msgs_py', 'std_msgs', 'std_srvs', 'tf2_msgs', 'tf2_ros',
    'tf_transformations', 'visualization_msgs',
}  # fmt: skip
FORBIDDEN = {
    'gausstr_core': ROS | {'gausstr_ros', 'gausstr_training'},
    'gausstr_training': ROS | {'gausstr_ros'},
    'gausstr_ros': {'gausstr_training'},
}
IN_ONE_FILE_ONLY = (
    'embreex', 'gsplat', 'jinja2', 'onnxruntime', 'open_clip', 'ray', 'tensorboard',
    'transformers', 'zstd',
)  # fmt: skip
NAMELESS = ('common', 'helpers', 'misc', 'util', 'utils')


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob('*.py'))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, at whatever depth and condition."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno} imports relatively: use the full name'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


@pytest.mark.parametrize('package', PACKAGES)
def test_imports_go_one_way(package: str):
    wrong = {
        f'{path.relative_to(REPOSITORY)} imports {name}'
        for path in sources(package)
        for name in imported(path)
        if name.split('.')[0] in FORBIDDEN[package]
    }
    assert not wrong


@pytest.mark.parametrize('library', IN_ONE_FILE_ONLY)
def test_heavy_library_is_wrapped_in_one_file(library: str):
    users = [
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in sources(package)
        if any(library in name.split('.') for name in imported(path))
    ]
    assert len(users) <= 1, f'{library} is imported in {users}'


@pytest.mark.parametrize('part', ['Reader', 'Writer'])
def test_bags_are_opened_and_written_in_one_file(part: str):
    users = [
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in sources(package)
        if f'rosbags.rosbag2.{part}' in imported(path)
    ]
    assert len(users) == 1, f'rosbags.rosbag2.{part} is imported in {users}'


def needs(package: str) -> dict[str, set[str]]:
    """Rooms (folders) and single files of a package, each with the others that it imports."""
    folder = REPOSITORY / package
    found: dict[str, set[str]] = {}
    for path in sources(package):
        own = path.relative_to(folder).with_suffix('').parts[0]
        names = (name.split('.') for name in imported(path))
        others = {part for top, *rest in names if top == package for part in rest[:1]}
        found.setdefault(own, set()).update(others - {own})
    return found


@pytest.mark.parametrize('package', PACKAGES)
def test_rooms_do_not_need_each_other(package: str):
    TopologicalSorter(needs(package)).prepare()  # raises CycleError


@pytest.mark.parametrize('package', ['gausstr_core', 'gausstr_ros'])
def test_a_room_holds_twelve_files_at_most(package: str):
    rooms = Counter(path.parent for path in sources(package))
    assert {str(room): count for room, count in rooms.items() if count > 12} == {}


def test_sets_are_made_without_ros():
    """The synchroniser's logic is tested, and read, without a graph."""
    names = {n for p in sources('gausstr_ros') if p.parent.name == 'sets' for n in imported(p)}
    assert not {name.split('.')[0] for name in names} & ROS
    assert not needs('gausstr_ros')['sets']


def test_engine_knows_no_model():
    assert not needs('gausstr_training')['engine'] & {'compact', 'full'}


def test_nothing_imports_a_command_of_the_training():
    commands = {path.stem for path in (REPOSITORY / 'gausstr_training').glob('[!_]*.py')}
    assert commands
    assert not commands & set().union(*needs('gausstr_training').values())


def test_files_are_named_after_what_they_hold():
    nameless = [p for package in PACKAGES for p in sources(package) if p.stem in NAMELESS]
    assert not nameless


def test_training_needs_no_renderer():
    """A GPU machine that trains on finished streets may lack the ray caster."""
    block = "import sys; sys.modules['embreex'] = None; import gausstr_training.train"
    subprocess.run([sys.executable, '-c', block], check=True, cwd=REPOSITORY)
