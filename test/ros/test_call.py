"""gausstr-call over real DDS: words, diagnostics and maps where no ROS 2 tools are installed."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from node_graph import eventually
from rclpy.parameter import Parameter

from gausstr_ros.call.command import main
from gausstr_ros.call.map_files import write_map
from gausstr_ros.call.reports import statuses_of, worst
from gausstr_ros.call.words import parse_category

WORDS = ('car', 'van=van,delivery van', 'ground=road,pavement:ground', 'sky:sky')


def refusal(*arguments: str) -> str:
    """The one line with which a command ends."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, str) and '\n' not in ended.value.code
    return ended.value.code


def test_words_are_set_and_read_back(start_node, capsys):
    """field_reports N2: without a ROS install there is no `ros2 service call`."""
    start_node(activate=False).trigger_configure()
    main(['set', *WORDS])
    said = capsys.readouterr().out
    identity = re.fullmatch(r'vocabulary (\w+) applies from the next set on(; .*)?\n', said)[1]
    main(['get'])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == f'vocabulary {identity}'
    assert [re.split(r'  +', row.strip()) for row in rows] == [
        ['0', 'car', 'object', 'car'],
        ['1', 'van', 'object', 'van, delivery van'],
        ['2', 'ground', 'ground', 'road, pavement'],
        ['3', 'sky', 'sky', 'sky'],
    ]
    assert 'listed twice' in refusal('set', 'car', 'Car')
    main(['get'])
    assert capsys.readouterr().out.startswith(head)  # what was refused changed nothing


def test_the_memory_is_cleared(start_node, capsys):
    node = start_node(activate=False)
    assert 'not configured' in refusal('clear-memory')
    node.trigger_configure()
    assert 'memory.seconds is 0' in refusal('clear-memory')
    node.set_parameters([Parameter('memory.seconds', value=5.0)])
    main(['clear-memory'])
    assert capsys.readouterr().out == 'the memory is empty\n'


def test_words_come_from_a_vocabulary_file(start_node, tmp_path, capsys):
    """field_reports N2."""
    start_node(activate=False).trigger_configure()
    words = tmp_path / 'words.yaml'
    words.write_text('categories: [{name: tram}, {name: floor, role: ground}]')
    main(['set', '--file', str(words)])
    main(['get'])
    assert re.search(r'0  tram +object.*\n +1  floor +ground', capsys.readouterr().out)


@pytest.mark.parametrize(
    ('arguments', 'parts'),
    [
        (['set', 'car:wall'], ['car:wall', 'object, ground, sky']),
        (['set', 'a:b:ground'], ['a:b:ground', 'object, ground, sky']),
        (['set', 'car='], ['car=', 'prompts']),
        (['set', ''], ['name of a category', 'empty']),
        (['set'], ['at least one category', '--file']),
        (['set', 'car', '--file', 'words.yaml'], ['not both']),
        (['set', '--file', 'missing.yaml'], ['missing.yaml']),
        (['get', '--node', 'bad name!'], ['bad name!', '/robot/gausstr']),
        (['get', '--node', ''], ['--node']),
        (['get', '--ros-args', '--bogus'], ['ROS does not start', '--bogus']),
        (['get', '--ros-args', '--enclave', 'x'], ['ROS does not start', 'Enclave']),
    ],
)
def test_what_cannot_be_is_refused_before_anybody_is_asked(ros, arguments, parts):
    """field_reports N2: a refusal is one line that says what was expected."""
    text = refusal(*arguments)
    assert all(part in text for part in ('gausstr-call: ', *parts)), text


@pytest.mark.parametrize(
    'verb', [['get'], ['set', 'car'], ['diagnostics'], ['clear-memory'], ['save-map', 'maps']]
)
def test_nobody_there(ros, verb, tmp_path, monkeypatch):
    """field_reports N2: which node, how long it was waited for, which domain."""
    monkeypatch.chdir(tmp_path)
    text = refusal(*verb, '--node', '/robot/gausstr', '--timeout', '0.3')
    assert '/robot/gausstr' in text and 'within 0.3 s' in text and 'ROS_DOMAIN_ID' in text
    assert not list(tmp_path.iterdir())


def test_another_name_is_suggested(start_node):
    """field_reports N2: the node is there, under another name."""
    start_node(activate=False)

    def suggested():  # once it is discovered
        text = refusal('get', '--node', '/robot/gausstr', '--timeout', '0.5')
        return 'but /gausstr: choose by --node' in text

    assert eventually(suggested, True)
    assert 'not configured' in refusal('get')
    assert 'not configured' in refusal('set', 'car')


def test_diagnostics_say_which_camera_is_at_fault(start_node, tester, capsys):
    """field_reports N2: nothing showed /diagnostics; a script goes by the exit code."""
    start_node()
    tester.wait_for_text('no image on /CAM_A')
    with pytest.raises(SystemExit) as ended:
        main(['diagnostics', '--seconds', '0'])
    said = capsys.readouterr().out
    assert ended.value.code == 1
    assert re.search(r'^ERROR  \S*gausstr: CAM_B +no image on /CAM_B', said, re.M)
    assert re.search(r'^ +topic: /CAM_B/image_raw/compressed$', said, re.M)


def test_diagnostics_of_a_node_without_faults_end_well(start_node, capsys):
    """field_reports N2."""
    start_node(activate=False)
    main(['diagnostics', '--brief', '--seconds', '0'])
    assert re.fullmatch(r'(\w+ +\S*gausstr: .+\n)+', capsys.readouterr().out)


def test_a_fault_of_a_moment_is_not_overlooked():
    """The node tells it in one report; of other nodes nothing is told."""

    def report(*entries):
        statuses = [DiagnosticStatus(name=n, level=v, message=m) for n, v, m in entries]
        return DiagnosticArray(status=statuses)

    ok, error = DiagnosticStatus.OK, DiagnosticStatus.ERROR
    reports = [
        report(('/robot/gausstr: a', ok, 'before'), ('gausstr: a', error, 'of another')),
        report(('/robot/gausstr: a', error, 'fault'), ('battery: a', error, 'of another')),
        report(('/robot/gausstr: a', ok, 'after'), ('/robot/gausstr: b', ok, 'new')),
    ]
    found = worst(statuses_of('/robot/gausstr', each) for each in reports)
    assert [status.message for status in found] == ['fault', 'new']
    assert statuses_of('/gausstr', reports[0])[0].message == 'of another'


def test_the_map_is_saved_as_map_saver_does(start, tester, tmp_path, capsys):
    """field_reports N2: map.pgm and map.yaml, which map_server loads, of the newest map."""
    start()
    tester.play_set(0)
    last = tester.play_set(1)
    tester.wait(lambda: last in tester.stamps('/gausstr/occupancy_grid'), what='map')
    main(['save-map', str(tmp_path / 'map')])
    said = capsys.readouterr().out
    grid = tester.heard['/gausstr/occupancy_grid'][-1]
    assert f'base_link at {last / 1e9:.3f} s, made' in said and 'no newer one came' in said
    content = yaml.safe_load((tmp_path / 'map/map.yaml').read_text())
    assert content == {
        'image': 'map.pgm',
        'mode': 'trinary',
        'resolution': 0.4,
        'origin': [-20.0, -20.0, 0.0],
        'negate': 0,
        'occupied_thresh': 0.65,
        'free_thresh': 0.196,
    }
    assert (loaded(tmp_path / 'map') == list(grid.data)).all()
    assert '--overwrite' in refusal('save-map', str(tmp_path / 'map'))
    assert 'expected a folder' in refusal('save-map', str(tmp_path / 'map' / 'map.pgm'))
    main(['save-map', str(tmp_path / 'map'), '--overwrite'])


def loaded(folder):
    """What Nav2's map_server makes of the files: cells, row by row from the lowest y."""
    content = yaml.safe_load((folder / 'map.yaml').read_text())
    grey = cv2.imread(str(folder / content['image']), cv2.IMREAD_UNCHANGED)
    occupied = (255 - grey[::-1].ravel() / 1.0) / 255
    cells = np.full(occupied.size, -1)
    cells[occupied > content['occupied_thresh']] = 100
    cells[occupied < content['free_thresh']] = 0
    return cells


@pytest.mark.parametrize('turned', [0.0, 0.7])
def test_every_kind_of_cell_survives(tmp_path, turned):
    """Grids of others too: cells between free and occupied, a turned origin, another size."""
    grid = OccupancyGrid()
    grid.info.width, grid.info.height, grid.info.resolution = 3, 2, 0.05
    grid.info.origin.position.x = -1.25
    grid.info.origin.orientation.z = float(np.sin(turned / 2))
    grid.info.origin.orientation.w = float(np.cos(turned / 2))
    grid.data = [0, 25, 26, 64, 65, -1]
    write_map(grid, tmp_path)
    assert loaded(tmp_path).tolist() == [0, 0, -1, -1, 100, -1]
    assert (tmp_path / 'map.pgm').read_bytes().startswith(b'P5')
    content = yaml.safe_load((tmp_path / 'map.yaml').read_text())
    assert content['resolution'] == 0.05 and content['origin'][2] == pytest.approx(turned)


def test_a_map_whose_cells_are_missing_is_refused(tmp_path):
    grid = OccupancyGrid()
    grid.info.width, grid.info.height = 3, 2
    with pytest.raises(ValueError, match=r'0 cells, expected 3 x 2'):
        write_map(grid, tmp_path / 'map')
    assert not (tmp_path / 'map').exists()


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    assert 'gausstr-call set car person ground:ground' in capsys.readouterr().out
    assert parse_category('ground:ground').role == 'ground'
