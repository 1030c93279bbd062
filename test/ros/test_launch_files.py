"""The launch files and what they name, read without launch: see test_launch.py for the rest."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

pytest.importorskip('rclpy')

from installed_package import install

from gausstr_ros.publishing.outputs import Outputs
from gausstr_ros.rviz_view import fitted
from gausstr_ros.settings.parameter_file import read_parameter_file
from gausstr_ros.settings.settings import read_settings

ROOT = Path(__file__).parents[2]
LAUNCH = sorted((ROOT / 'launch').glob('*.launch.py'))
# Where rosdep's key is not the name of the module.
KEYS = {
    'apsw': 'python3-rosbags-pip',
    'cv2': 'python3-opencv',
    'huggingface_hub': 'python3-huggingface-hub-pip',
    'safetensors': 'python3-transformers-pip',
    'tf2_ros': 'tf2_ros_py',
    'torch': 'python3-pytorch-pip',
} | {
    n: f'python3-{n}'
    for n in (
        *('filelock', 'hypothesis', 'jinja2', 'numba', 'numpy', 'pytest', 'scipy', 'tqdm'),
        'yaml',
    )
}
KEYS |= {name: f'python3-{name}-pip' for name in ('rosbags', 'transformers')}
OURS = {'gausstr_core', 'gausstr_ros'}
OPTIONAL = {'gsplat', 'onnx', 'onnxruntime', 'open_clip'}  # extras of setup.py
FROM_PIP = {'pooch'}  # rosdep has no key; README and docs/ros.md name them
TESTS = [*(ROOT / 'test').glob('*.py')]
TESTS += [p for name in ('ros', 'soak', 'support') for p in (ROOT / 'test' / name).glob('*.py')]


def arguments(path):
    """Name -> (default, description) from the table in a launch file."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == 'ARGUMENTS':
            return ast.literal_eval(node.value)
    raise AssertionError(f'{path} has no ARGUMENTS')


@pytest.mark.parametrize('path', LAUNCH, ids=lambda path: path.name)
def test_every_launch_argument_is_documented_with_its_default(path):
    page = (ROOT / 'docs' / 'ros.md').read_text()
    section = page.partition('\n## Launch\n')[2].partition('\n## ')[0]
    assert f'`{path.name}`' in section
    rows = dict(re.findall(r'^\| `(\w+)` \| ([^|]*) \|', section, re.MULTILINE))
    for name, (default, _) in arguments(path).items():
        assert name in rows, name
        assert default is None or default in rows[name], (name, default, rows[name])


def test_the_issue_s_arguments_are_there():
    """Preset, rig file, bag, RViz, clock, namespace and log level are arguments (issue 5)."""
    offered = arguments(ROOT / 'launch' / 'gausstr.launch.py')
    wanted = {'preset', 'rig', 'bag', 'rviz', 'use_sim_time', 'namespace', 'log_level'}
    assert wanted <= set(offered)
    extra = set(arguments(ROOT / 'launch' / 'replay.launch.py')) - set(offered)
    assert not extra, 'replay.launch.py only changes defaults of gausstr.launch.py'


def test_all_that_the_launch_files_name_is_installed(tmp_path):
    prefix = install(tmp_path)
    share = prefix / 'share' / 'gausstr_ros'
    for folder in ('launch', 'config', 'rviz'):
        kept = sorted(path.name for path in (ROOT / folder).iterdir() if path.is_file())
        assert sorted(path.name for path in (share / folder).iterdir()) == kept
    text = ''.join(path.read_text() for path in LAUNCH)
    for program in re.findall(r"executable='(gausstr[^']*)'", text):
        assert (prefix / 'lib' / 'gausstr_ros' / program).is_file()
    named = re.findall(r"'(\w+)' / '([\w.]+\.(?:rviz|yaml|xml|launch\.py))'", text)
    named += re.findall(r"(launch) / '([\w.]+)'", text)
    assert len(named) >= 2
    assert all((share / folder / name).is_file() for folder, name in named), named
    assert (share / 'package.xml').is_file()
    assert (prefix / 'share/ament_index/resource_index/packages/gausstr_ros').is_file()


def test_the_rig_of_nuscenes_is_what_the_node_assumes():
    given = read_parameter_file(ROOT / 'config' / 'rig_nuscenes.yaml')
    assert given and read_settings(given) == read_settings({})


def test_the_template_works_and_its_examples_are_parameters():
    path = ROOT / 'config' / 'rig_template.yaml'
    given = read_parameter_file(path)
    settings = read_settings(given)
    assert settings.names == ('front', 'left', 'right')
    assert settings.cameras[1].image_topic == '/left/image_raw/compressed'
    # every line that could be uncommented, uncommented
    lines = re.findall(r'^    #(\w.*)$', path.read_text(), re.MULTILINE)
    examples = {k: v for line in lines for k, v in yaml.safe_load(line).items()}
    assert len(examples) > 12
    changed = read_settings(given | examples)
    assert changed.measured_depth and changed.cameras[0].rectified
    defaults = read_settings(given)
    for key in ('tolerance', 'timeout', 'min_cameras', 'grid', 'band', 'preset', 'reliable'):
        assert getattr(changed, key) == getattr(defaults, key), f'{key} is shown as the default'


def topics(view):
    displays = view['Visualization Manager']['Displays']
    inner = [child for display in displays for child in display.get('Displays', ())]
    return {d['Name']: d['Topic']['Value'] for d in (*displays, *inner) if 'Topic' in d}


def test_rviz_shows_images_voxels_gaussians_map_and_frames():
    view = yaml.safe_load((ROOT / 'rviz' / 'gausstr.rviz').read_text())
    settings = read_settings({})
    shown = topics(view)
    ours = {topic for topic in shown.values() if topic.startswith('/gausstr/')}
    assert ours == {f'/gausstr/{name}' for name in Outputs(settings).types}
    assert set(shown.values()) - ours == {camera.image_topic for camera in settings.cameras}
    classes = {d['Class'] for d in view['Visualization Manager']['Displays']}
    assert 'rviz_default_plugins/TF' in classes
    assert fitted(view, settings, '/gausstr') == view


def test_rviz_shows_cubes_where_something_is_remembered():
    """Points have one alpha; the cubes of what is remembered are paler."""
    view = yaml.safe_load((ROOT / 'rviz' / 'gausstr.rviz').read_text())
    on = {}
    for seconds in (0.0, 5.0):
        made = fitted(view, read_settings({'memory.seconds': seconds}), '/gausstr')
        displays = made['Visualization Manager']['Displays']
        on[seconds] = {d['Name'] for d in displays if d['Enabled'] and 'Voxels' in d['Name']}
    assert on == {0.0: {'Voxels'}, 5.0: {'Voxels by category'}}


def test_rviz_is_fitted_to_the_rig_and_the_namespace():
    view = yaml.safe_load((ROOT / 'rviz' / 'gausstr.rviz').read_text())
    settings = read_settings(
        read_parameter_file(ROOT / 'config' / 'rig_template.yaml') | {'base_frame': 'chassis'}
    )
    made = fitted(view, settings, '/robot/gausstr')
    shown = topics(made)
    ours = {topic for topic in shown.values() if topic.startswith('/robot/gausstr/')}
    assert ours == {f'/robot/gausstr/{name}' for name in Outputs(settings).types}
    assert shown['left image'] == '/left/image_raw/compressed'
    assert set(shown.values()) - ours == {camera.image_topic for camera in settings.cameras}
    assert 'base_link' not in yaml.safe_dump(made) and 'CAM_' not in yaml.safe_dump(made)


def declared(*tags):
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    return {element.text for tag in tags for element in root.iter(f'{tag}_depend')}


def imported_from_elsewhere(files):
    imported = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split('.')[0])
    ours = OURS | {'gausstr_training'} | {path.stem for path in TESTS}
    foreign = imported - set(sys.stdlib_module_names) - ours - OPTIONAL - FROM_PIP
    return {KEYS.get(name, name) for name in foreign}


def test_package_xml_names_all_that_is_imported():
    files = [*LAUNCH, *(p for name in OURS for p in (ROOT / name).rglob('*.py'))]
    needed = imported_from_elsewhere(files)
    assert needed <= declared('exec')
    assert imported_from_elsewhere(TESTS) <= declared('exec', 'test')
    started = set(re.findall(r"package='(\w+)'", ''.join(p.read_text() for p in LAUNCH)))
    assert started - {'gausstr_ros'} <= declared('exec') and 'ros2bag' in declared('exec')


def test_colcon_test_calls_pytest(monkeypatch):
    """As colcon-core decides it: an extra `test` that names pytest; else it runs no test."""
    given = {}
    monkeypatch.setattr('setuptools.setup', given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    assert 'pytest' in given['extras_require']['test']
