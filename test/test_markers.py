"""Which packages are asked for on which machine: where a wheel lacks, install goes on without."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

packaging = pytest.importorskip('packaging.requirements')

REPOSITORY = Path(__file__).resolve().parent.parent
JETSON = {'platform_machine': 'aarch64', 'sys_platform': 'linux', 'python_version': '3.10'}
NEWEST = {'platform_machine': 'x86_64', 'sys_platform': 'linux', 'python_version': '3.14'}
USUAL = {**NEWEST, 'python_version': '3.12'}


def requirements() -> dict[str, list[packaging.Requirement]]:
    """'' for what is always installed, else the extra -> requirements, as setup.py has them."""
    tree = ast.parse((REPOSITORY / 'setup.py').read_text())
    (call,) = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == 'setup'
    ]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    extras = given['extras_require']
    lists = {'': given['install_requires']}
    lists |= {key.value: value for key, value in zip(extras.keys, extras.values, strict=True)}
    return {
        name: [
            packaging.Requirement(entry.value)
            for entry in getattr(value, 'elts', ())
            if isinstance(entry, ast.Constant)
        ]
        for name, value in lists.items()
    }


def wanted(extra: str, machine: dict[str, str]) -> set[str]:
    return {r.name for r in requirements()[extra] if not r.marker or r.marker.evaluate(machine)}


@pytest.mark.parametrize(
    ('package', 'machine', 'installed'),
    [
        ('embreex', USUAL, True),
        ('embreex', NEWEST, True),
        ('embreex', JETSON, False),  # no wheel
        ('backports.zstd', USUAL, True),
        ('backports.zstd', JETSON, True),
        ('backports.zstd', NEWEST, False),  # part of Python
    ],
)
def test_training_asks_for_what_the_machine_can_have(package, machine, installed):
    """field_reports D14, D15: install fails as a whole where one wheel lacks."""
    assert (package in wanted('training', machine)) == installed


def test_the_node_asks_for_the_same_everywhere():
    """field_reports D14: a Jetson's node lacks nothing."""
    assert wanted('', JETSON) == wanted('', USUAL) == wanted('', NEWEST)
    assert not {'embreex', 'ray', 'gsplat'} & wanted('', USUAL)


def test_what_holds_back_is_said():
    """field_reports D15: OpenCV 5 and Python 3.14 are out; the README says what of it."""
    text = (REPOSITORY / 'README.md').read_text()
    (opencv,) = [r for r in requirements()[''] if r.name == 'opencv-python-headless']
    assert str(opencv.specifier) == '<5' and '`opencv-python-headless<5`' in text
    marked = [r for rs in requirements().values() for r in rs if r.marker]
    assert {r.name for r in marked} == {'embreex', 'backports.zstd'}
    assert all(word in text for word in ('aarch64', '`embreex`', 'Python 3.14'))


WITHOUT = "import sys; sys.modules['embreex'] = None; from {} import main; main({!r})"


def test_streets_say_what_is_missing_before_they_remove_anything(tmp_path):
    """field_reports D14: on a Jetson only streets need embreex, and they say so in one line."""
    (tmp_path / 'made').mkdir()
    (tmp_path / 'made' / 'street.json').write_text('{}')
    arguments = ['--seed', '1', '--output', str(tmp_path / 'made'), '--overwrite']
    done = run(WITHOUT.format('gausstr_training.synthesize', arguments))
    assert done.returncode == 1
    assert done.stderr.startswith('gausstr-synthesize: making streets needs embreex')
    assert done.stderr.count('\n') == 1 and 'x86-64' in done.stderr
    assert (tmp_path / 'made' / 'street.json').is_file()


@pytest.mark.parametrize(
    'module', ['gausstr_training.evaluate', 'gausstr_training.train', 'gausstr_ros.demo.command']
)
def test_what_needs_no_rays_starts_without_the_caster(module):
    """field_reports D14: training from bags, evaluation and the demo on a given street."""
    if module.startswith('gausstr_ros'):
        pytest.importorskip('rclpy')
    done = run(WITHOUT.format(module, ['--help']))
    assert done.returncode == 0, done.stderr


def run(script):
    return subprocess.run(
        [sys.executable, '-c', script], cwd=REPOSITORY, capture_output=True, text=True
    )
