"""Which packages are asked for on which machine: where a wheel lacks, install goes on without."""

from __future__ import annotations

import ast
import importlib.util
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


@pytest.fixture
def no_caster(monkeypatch):
    """The raycast module of a machine without Embree."""
    from gausstr_training.streets.rendering import raycast

    monkeypatch.setattr(raycast, 'EmbreeScene', None)


def test_streets_say_what_is_missing_before_they_remove_anything(no_caster, tmp_path):
    """field_reports D14: on a Jetson only streets need embreex, and they say so in one line."""
    from gausstr_training.synthesize import main

    (tmp_path / 'made').mkdir()
    (tmp_path / 'made' / 'street.json').write_text('{}')
    with pytest.raises(SystemExit, match=r'gausstr-synthesize: making streets needs embreex') as e:
        main(['--seed', '1', '--output', str(tmp_path / 'made'), '--overwrite'])
    assert 'x86-64' in e.value.code and '\n' not in e.value.code
    assert (tmp_path / 'made' / 'street.json').is_file()


def test_everything_starts_without_the_caster():
    """field_reports D14: training from bags, evaluation, the demo on a given street, replay.

    gausstr-synthesize too, or it could not say what is missing.
    """
    modules = [
        'gausstr_training.evaluate',
        'gausstr_training.train',
        'gausstr_training.synthesize',
    ]
    if importlib.util.find_spec('rclpy'):
        modules += ['gausstr_ros.demo.command', 'gausstr_ros.replay.command']
    script = f"import sys; sys.modules['embreex'] = None; import {', '.join(modules)}"
    subprocess.run([sys.executable, '-c', script], cwd=REPOSITORY, check=True)
