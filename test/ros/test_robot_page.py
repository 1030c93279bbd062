"""docs/robot.md works as printed: its rig, its publisher and its commands make a map."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from operator import attrgetter

import pytest
import yaml

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from docs_snippets import ROOT, blocks
from nav_msgs.msg import OccupancyGrid
from node_graph import active_node

from gausstr_ros.call.command import main as call
from gausstr_ros.demo.spinning import SpinningThread
from gausstr_ros.settings.parameter_file import read_parameter_file
from gausstr_ros.settings.settings import read_settings


@pytest.fixture
def rig(tmp_path):
    """my_rig.yaml as printed."""
    (text,) = blocks('robot.md', 'yaml')
    (tmp_path / 'my_rig.yaml').write_text(text)
    return tmp_path / 'my_rig.yaml'


@pytest.fixture
def robot(ros, tmp_path):
    """The publisher as printed, running."""
    (text,) = blocks('robot.md', 'python')
    (tmp_path / 'robot.py').write_text(text)
    process = subprocess.Popen([sys.executable, 'robot.py'], cwd=tmp_path)
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_a_robot_of_ones_own_is_mapped(rig, robot, tester, tmp_path, monkeypatch, capsys):
    """field_reports N17: rig, publisher and commands of the page, one after the other."""
    monkeypatch.chdir(tmp_path)
    tester.listen('/gausstr/occupancy_grid', OccupancyGrid)
    with active_node(**read_parameter_file(rig)) as node:
        spinning = SpinningThread(node)
        try:
            tester.wait(lambda: tester.heard['/gausstr/occupancy_grid'], 30, 'map')
            names = read_settings(read_parameter_file(rig)).names
            tester.wait(lambda: all(is_ok(tester, name) for name in names), what='cameras ok')
            commands = [line for line in shell() if line[0] == 'gausstr-call']
            assert len(commands) == 3
            for _, *arguments in commands:
                call(arguments)
        finally:
            spinning.close()
    said = capsys.readouterr().out
    assert re.search(r'OK +\S*gausstr: left +ok', said) and 'applies from' in said
    assert (tmp_path / 'maps/now/map.yaml').is_file()


def is_ok(tester, name):
    reports = tester.heard['/diagnostics'][-1:]
    found = [s for report in reports for s in report.status if s.name.endswith(f'gausstr: {name}')]
    return bool(found) and found[0].level == DiagnosticStatus.OK


def shell():
    """The commands of the page, in words."""
    lines = [line for block in blocks('robot.md', 'sh') for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_page_starts_the_node_without_launch():
    """field_reports N17: the start where there is no ros2 launch, with the rig of the page."""
    node = next(line for line in shell() if line[0] == 'gausstr-node')
    assert node == ['gausstr-node', '--ros-args', '--params-file', 'my_rig.yaml']


def topics(values):
    return [
        (c.image_topic, c.camera_info_topic, c.depth_topic) for c in read_settings(values).cameras
    ]


def test_page_template_and_readme_name_the_same_topics(rig):
    """field_reports N17: README and rig_template.yaml differed."""
    template = ROOT / 'config' / 'rig_template.yaml'
    given = read_parameter_file(template)
    names = read_settings(given).names
    assert (
        topics(given)
        == topics(read_parameter_file(rig))
        == [
            (f'/{name}/image_raw/compressed', f'/{name}/camera_info', f'/{name}/depth')
            for name in names
        ]
    )
    # the examples in the comments, too
    lines = re.findall(r'^    #(cameras\.\w+\.\w+_topic: .*)$', template.read_text(), re.MULTILINE)
    shown = {key: value for line in lines for key, value in yaml.safe_load(line).items()}
    assert len(shown) == 7 and topics(given | shown) == topics(given)
    readme = (ROOT / 'README.md').read_text()
    for topic in ('image_raw/compressed', 'camera_info', 'depth'):
        assert f'`/<camera>/{topic}`' in readme


@pytest.mark.parametrize(
    'template', sorted((ROOT / 'config').glob('rig_*.yaml')), ids=attrgetter('stem')
)
def test_a_template_can_be_read_with_what_its_comments_show(template):
    given = read_parameter_file(template)
    lines = re.findall(r'^    #([a-z][\w.]*: .*)$', template.read_text(), re.MULTILINE)
    shown = {key: value for line in lines for key, value in yaml.safe_load(line).items()}
    read_settings(given)
    read_settings(given | shown)


def test_a_low_robot_has_fine_voxels_and_a_floor_that_is_no_obstacle():
    settings = read_settings(read_parameter_file(ROOT / 'config' / 'rig_low_robot.yaml'))
    grid = settings.grid
    assert (grid.shape, grid.resolution) == ((160, 160, 24), 0.1)
    assert grid.lower[2] < 0 and grid.lower[:2] == (-8, -8) and grid.upper[:2] == (8, 8)
    low, high = settings.band
    assert high < grid.upper[2]
    floor = -grid.lower[2] / grid.resolution  # in voxels, from below
    assert floor % 1 == pytest.approx(0.5)
    # what the floor fills above its own voxel, one more, is below the band
    assert low > ((int(floor) + 1.5) * grid.resolution + grid.lower[2])
