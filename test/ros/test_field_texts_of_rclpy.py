"""Nothing depends on how rclpy words things: it words them otherwise from release to release.

In Kilted (rclpy 9.1.2) parameter types print as numbers and QoS errors as plain sentences.
"""

from __future__ import annotations

import ast
import enum
import re
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from rclpy import exceptions, qos
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2

from gausstr_ros.listening.connections import misfit
from gausstr_ros.settings.settings import read_settings

pytestmark = pytest.mark.ros
PACKAGE = Path(__file__).resolve().parents[2] / 'gausstr_ros'
GRID = '/gausstr/occupancy_grid'
# What looks into a text, as an operator or a method.
_LOOKS = {'startswith', 'endswith', 'find', 'index', 'split', 'count', 'match', 'search',
          'fullmatch', 'findall', 'sub'}  # fmt: skip
ENUMS = (
    Parameter.Type,
    qos.ReliabilityPolicy,
    qos.DurabilityPolicy,
    qos.LivelinessPolicy,
    qos.HistoryPolicy,
)


def of_rclpy(tree: ast.AST) -> set[str]:
    """Names that a file has of rclpy and of rcl_interfaces."""
    return {
        alias.asname or alias.name.split('.')[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
        if (getattr(node, 'module', None) or alias.name).split('.')[0]
        in ('rclpy', 'rcl_interfaces')
    }


def mentioned(node: ast.AST | None) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if node else set()


def is_text_of(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is str(x), repr(x), an f-string of x, x.args or x.name, x.msg."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ('str', 'repr', 'format') and (
            bool(mentioned(node) & names)
        )  # fmt: skip
    if isinstance(node, ast.JoinedStr):
        return bool(mentioned(node) & names)
    if isinstance(node, ast.Attribute):
        return node.attr in ('args', 'msg') and bool(mentioned(node) & names)
    return isinstance(node, ast.Subscript) and is_text_of(node.value, names)


def readings(source: str) -> list[int]:
    """Lines that look into a text of an error or a value of rclpy."""
    tree = ast.parse(source)
    ours = of_rclpy(tree)
    found = []
    scopes = [
        (handler, {handler.name})
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler)
        and handler.name
        and mentioned(handler.type) & ours
    ]
    for scope, names in [*scopes, (tree, ours)]:
        for node in ast.walk(scope):
            if isinstance(node, ast.Compare):
                if any(is_text_of(part, names) for part in (node.left, *node.comparators)):
                    found.append(node.lineno)
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _LOOKS
                and any(is_text_of(part, names) for part in (node.func.value, *node.args))
            ):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    'wrong',
    [
        'from rclpy.exceptions import E\ntry: f()\nexcept E as e:\n  ok = "QoS" in str(e)',
        'from rclpy.exceptions import E\ntry: f()\nexcept E as e:\n  ok = e.args[0] == "no"',
        'from rclpy.exceptions import E\ntry: f()\nexcept (E, OSError) as e:\n'
        '  ok = str(e).startswith("a")',
        'import re\nfrom rclpy.exceptions import E\ntry: f()\nexcept E as e:\n'
        '  ok = re.search("a", f"{e}")',
        'from rclpy.parameter import Parameter\nok = str(Parameter.Type.BOOL) == "BOOL"',
    ],
)
def test_a_reading_is_found(wrong):
    assert readings(wrong)


def test_no_file_reads_a_text_of_rclpy():
    """rclpy 9.1.2 (field_reports X4)."""
    found = {
        f'{path.relative_to(PACKAGE)}:{line}'
        for path in PACKAGE.rglob('*.py')
        for line in readings(path.read_text())
    }
    assert not found


@pytest.fixture
def reworded(monkeypatch):
    """Types and policies print as numbers, and errors say something else."""
    for kind in ENUMS:
        assert issubclass(kind, enum.Enum)
        for method in ('__str__', '__repr__', '__format__'):
            monkeypatch.setattr(kind, method, lambda value, *_: f'<{value.value}>')
    for name in dir(exceptions):
        kind = getattr(exceptions, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            monkeypatch.setattr(kind, '__str__', lambda _: 'it is not as it should be.')


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'cameras': ['A'], 'cameras.A.image_topic': '/a b'}, 'cameras.A.image_topic'),
        ({'cameras': ['A'], 'cameras.A.camera_info_topic': '/1a'}, 'cameras.A.camera_info_topic'),
        ({'cameras': ['bad name']}, 'cameras'),
    ],
)
def test_a_topic_that_is_none_is_named_whatever_rclpy_says(reworded, values, words):
    """rclpy 9.1.2 (field_reports X4)."""
    with pytest.raises(ValueError, match=re.escape(words)):
        read_settings(values)


@pytest.mark.parametrize(
    ('name', 'value'),
    [('threads', 'many'), ('sync.timeout', True), ('cameras', 3), ('map.min_height', 1e9)],
)
def test_a_parameter_of_another_type_is_named_whatever_rclpy_says(
    reworded, start_node, name, value
):
    """rclpy 9.1.2 (field_reports X4)."""
    with pytest.raises(ValueError, match=re.escape(name)):
        start_node(activate=False, **{name: value})


def test_policies_that_do_not_fit_are_named_by_us(reworded, start, tester):
    """rclpy 9.1.2 (field_reports X4): the names of policies are ours, as is all that we tell."""
    weak = qos.QoSProfile(depth=1, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
    strong = qos.QoSProfile(depth=1, reliability=qos.ReliabilityPolicy.RELIABLE)
    assert (misfit(weak, strong), misfit(strong, weak)) == ('reliability', '')
    start()
    lasting = qos.QoSProfile(depth=1, durability=qos.DurabilityPolicy.TRANSIENT_LOCAL)
    tester.listen('/gausstr/voxels', PointCloud2, lasting)
    tester.wait_for_text('~/voxels', 'incompatible durability')
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map')
