"""Who may import whom, and where the heavy optional libraries may appear."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ('gausstr_core', 'gausstr_ros', 'gausstr_training')
ROS = {
    'ament_index_python', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs', 'gausstr_msgs',
    'geometry_msgs', 'launch', 'launch_ros', 'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces',
    'rclpy', 'sensor_msgs', 'sensor_msgs_py', 'std_msgs', 'tf2_msgs', 'tf2_ros',
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


def test_files_are_named_after_what_they_hold():
    nameless = [p for package in PACKAGES for p in sources(package) if p.stem in NAMELESS]
    assert not nameless


def test_training_needs_no_renderer():
    """A GPU machine that trains on finished streets may lack the ray caster."""
    block = "import sys; sys.modules['embreex'] = None; import gausstr_training.train"
    subprocess.run([sys.executable, '-c', block], check=True, cwd=REPOSITORY)
