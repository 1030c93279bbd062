"""Parameter files and the node's command line: read as rcl reads them, or refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy')

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.parameter import Parameter

from gausstr_ros.node.arguments import check_arguments, check_files
from gausstr_ros.replay.command import main as replay
from gausstr_ros.security_policy import main as write_policy
from gausstr_ros.settings.parameter_file import (
    full_name,
    read_parameter_file,
    read_parameter_files,
)

pytestmark = pytest.mark.ros
REPOSITORY = Path(__file__).parents[2]


def as_the_node_gets_it(path, name='/gausstr', *more):
    """Name -> value of a real node that is started with the file."""
    namespace, _, own = name.rpartition('/')
    given = [word for file in (path, *more) for word in ('--params-file', str(file))]
    node = rclpy.create_node(
        own,
        namespace=namespace or '/',
        cli_args=['--ros-args', *given],
        use_global_arguments=False,
        enable_rosout=False,
        start_parameter_services=False,
    )
    try:
        found = dict(node._parameter_overrides)
    finally:
        node.destroy_node()
    return {
        key: [] if value.type_ == Parameter.Type.NOT_SET else plain(value.value)
        for key, value in found.items()
    }


def plain(value):
    return value if isinstance(value, bool | int | float | str) else list(value)


def written(path, text):
    path.write_text(text)
    return path


MATCHING = {
    'in its namespace': '/robot/gausstr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'nested': 'robot:\n  gausstr:\n    ros__parameters: {grid.resolution: 0.8}\n',
    'slashes': '/robot/:\n  gausstr:\n    ros__parameters: {grid: {resolution: 0.8}}\n',
    'without a slash': 'robot/gausstr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'any': '/**:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'any in any namespace': '/**/gausstr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'in one namespace': '/*:\n  gausstr:\n    ros__parameters: {grid.resolution: 0.8}\n',
    'any node of a namespace': '/robot/*:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'two names': '/*/*:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'a wild node': 'robot:\n  "*":\n    ros__parameters: {grid.resolution: 0.8}\n',
    'wild and nested': '/**:\n  gausstr:\n    ros__parameters: {grid.resolution: 0.8}\n',
}
OTHER = {
    'another node': 'front_mapper:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'misspelt': 'gaustr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'no namespace': 'gausstr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'another namespace': '/fleet/gausstr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'too deep': '/robot/arm/gausstr:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'one name': '/*:\n  ros__parameters: {grid.resolution: 0.8}\n',
    'of a namespace in that': '/robot/robot/*:\n  ros__parameters: {grid.resolution: 0.8}\n',
}


@pytest.mark.parametrize('text', MATCHING.values(), ids=MATCHING)
def test_sections_match_as_in_rcl(ros, tmp_path, text):
    """rcl 954; ros2 569, 1092: keys by namespace, nested, with wildcards."""
    path = written(tmp_path / 'own.yaml', text)
    found = read_parameter_file(path, '/robot/gausstr')
    assert found == as_the_node_gets_it(path, '/robot/gausstr') == {'grid.resolution': 0.8}


@pytest.mark.parametrize('text', OTHER.values(), ids=OTHER)
def test_a_file_for_others_is_refused_with_the_keys_it_has(ros, tmp_path, text):
    """rcl 954; ros2 569, 1092: it was read as empty, and the policy made for nuScenes' cameras."""
    path = written(tmp_path / 'theirs.yaml', text)
    assert as_the_node_gets_it(path, '/robot/gausstr') == {}
    with pytest.raises(ValueError) as refused:
        read_parameter_file(path, '/robot/gausstr')
    section = text.partition(':')[0]
    assert all(part in str(refused.value) for part in (str(path), '/robot/gausstr', section))
    with pytest.raises(SystemExit, match=r'gausstr-policy: .*theirs\.yaml: nothing in it is for'):
        write_policy(['--params-file', str(path), '--namespace', 'robot'])
    with pytest.raises(ValueError, match=r'theirs\.yaml: nothing in it is for the node /robot'):
        check_files(['--ros-args', '--params-file', str(path)], '/robot/gausstr')


def test_the_replay_reads_the_section_of_the_node_it_is_told(tmp_path):
    """field_reports R10: a robot's own file, keyed by its namespace."""
    path = written(tmp_path / 'robot.yaml', '/robot/gausstr: {ros__parameters: {preset: huge}}\n')
    given = [str(tmp_path), str(tmp_path / 'out'), '--params-file', str(path)]
    with pytest.raises(SystemExit, match='nothing in it is for the node /gausstr; it has /robot/'):
        replay(given)
    with pytest.raises(SystemExit, match=r"preset must be one of .*'huge'"):
        replay([*given, '--node', '/robot/gausstr'])


def test_of_sections_that_match_the_later_wins(ros, tmp_path):
    """field_reports R10: rcl's order is that of the file, whatever is more specific."""
    text = 'gausstr: {ros__parameters: {a: 1, b: 1}}\n/**: {ros__parameters: {a: 2}}\n'
    path = written(tmp_path / 'order.yaml', text)
    assert read_parameter_file(path) == as_the_node_gets_it(path) == {'a': 2, 'b': 1}
    more = written(tmp_path / 'more.yaml', 'gausstr: {ros__parameters: {a: 3, b: 3}}\n')
    found = read_parameter_files([path, more])
    assert found == as_the_node_gets_it(path, '/gausstr', more) == {'a': 2, 'b': 3}


@pytest.mark.parametrize('namespace', ['', '/', 'robot', '/robot', 'robot/', '/fleet/robot'])
def test_a_namespace_is_one_however_it_is_written(namespace):
    parts = [part for part in namespace.split('/') if part]
    assert full_name(namespace) == '/'.join(['', *parts, 'gausstr'])


SCALARS = [
    '1', '-3', '+4', '0x10', '010', '08', '0o17', '1_000', '99999999999999999999', '0.5', '.5',
    '5.', '1e3', '1E-2', '-1.5e+3', '1e999', '0x1p3', 'inf', '.inf', '-.inf', '.nan', 'nan', 'NaN',
    'true', 'True', 'yes', 'y', 'N', 'off', 'ON', 'oN', 'null', '~', '1:30', '2026-01-01', 'text',
    '"5"', "'true'", '""', '!!str 5', 'a b', '/CAM/image_raw', 'cuda:0', '[]', '[1, 2]',
    '[1.0, 2.5]', '[a, b]', '[true, no]', '["1", x]', '[1, 2.0]', '[a, 1]', '["5", 6]', '=', '<<',
]  # fmt: skip
NAMES = [
    'gausstr',
    'robot',
    '*',
    '**',
    '/robot',
    '/**',
    '/*',
    '/gausstr',
    'other',
    '/robot/gausstr',
]


@pytest.mark.parametrize('scalar', SCALARS)
def test_values_have_the_types_that_rcl_gives_them(ros, tmp_path, scalar):
    """field_reports R10: 1e3 is a number and 2026-01-01 a text, unlike in YAML."""
    path = written(tmp_path / 'value.yaml', f'/**:\n  ros__parameters:\n    a.b: {scalar}\n')
    expected = outcome(as_the_node_gets_it, path)
    assert outcome(read_parameter_file, path) == expected
    if expected is not None and scalar != '[]':
        (value,) = read_parameter_file(path).values()
        assert type(value) is type(as_the_node_gets_it(path)['a.b'])


def outcome(read, path, *more):
    """What is read, as text because nan is not itself; None where it is refused."""
    try:
        return repr(sorted(read(path, *more).items()))
    except (ValueError, RuntimeError):
        return None


parameters = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(st.tuples(st.sampled_from(['a', 'b', 'a.b', 'c']), inner), min_size=1,
                           max_size=3),
    max_leaves=4,
)  # fmt: skip
sections = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), parameters),
    min_size=1,
    max_size=4,
)


def as_yaml(section):
    path, values = section
    lines = [f'{"  " * depth}{quoted(name)}:' for depth, name in enumerate(path)]
    lines.append(f'{"  " * len(path)}ros__parameters:')
    tree = values if isinstance(values, list) else [('p', values)]
    return '\n'.join(lines + block(tree, len(path) + 1))


def block(tree, depth):
    lines = []
    for name, value in tree:
        if isinstance(value, list):
            lines += [f'{"  " * depth}{name}:', *block(value, depth + 1)]
        else:
            lines.append(f'{"  " * depth}{name}: {value}')
    return lines


def quoted(name):
    return f'"{name}"' if name.startswith('*') else name


@given(sections, st.sampled_from(['/gausstr', '/robot/gausstr', '/robot/arm/gausstr']))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_file_gives_what_the_node_gets_of_it(ros, tmp_path, given, node):
    """field_reports R10: the same file through --params-file of a real node."""
    path = written(tmp_path / 'any.yaml', '\n'.join(map(as_yaml, given)) + '\n')
    expected = outcome(as_the_node_gets_it, path, node)
    found = outcome(read_parameter_file, path, node)
    if expected == '[]':
        assert found in (None, '[]'), path.read_text()  # refused where nothing matches
    else:
        assert found == expected, path.read_text()


MALFORMED = {
    'missing': (None, 'No such file'),
    'a folder': ('', 'Is a directory'),
    'no YAML': ('a: [1,\n', 'while parsing'),
    'bytes': (b'\xff\xfe\x00\x01', 'decode'),
    'text': ('just text\n', 'expected node names with ros__parameters'),
    'empty': ('', 'expected node names with ros__parameters'),
    'a list': ('- 1\n', 'expected node names with ros__parameters'),
    'parameters bare': ('preset: tiny\n', 'line 1: preset has no ros__parameters'),
    'no node': ('ros__parameters: {a: 1}\n', 'expected the name of a node'),
    'no values': ('/**:\n  ros__parameters:\n', 'has no parameters in ros__parameters'),
    'no value': ('/**:\n  ros__parameters: {a: }\n', 'line 2: a has no value'),
    'an alias': ('/**: {ros__parameters: {a: &x 1, b: *x}}\n', 'ROS knows no aliases'),
    'mixed': ('/**: {ros__parameters: {a: [1, x]}}\n', 'a: the values of a list must be of one'),
    'a bad name': ('my node: {ros__parameters: {a: 1}}\n', "name of a node, got 'my node'"),
}


@pytest.mark.parametrize('case', MALFORMED)
def test_a_parameter_file_that_is_none_is_one_line(tmp_path, case):
    """field_reports N3: an RCLError with a traceback, or ignored in silence."""
    content, expected = MALFORMED[case]
    path = tmp_path / 'mine.yaml'
    if case == 'a folder':
        path.mkdir()
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r'parameter file .*mine\.yaml') as refused:
        check_arguments(['--ros-args', '--params-file', str(path)])
    assert expected in str(refused.value)


def started(*arguments):
    """The node as its own process, to its end; for starts that cannot work."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, '-m', 'gausstr_ros.node.process', *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


WRONG = [
    (['--bogus'], "'--bogus' is no argument of the node"),
    (['preset:=tiny'], 'gausstr-node --ros-args -p preset:=tiny'),
    (['--ros-args', '-p', 'preset:=tiny', '--', 'more'], "'more' is no argument of the node"),
    (['--ros-args', 'preset:=tiny'], "ROS knows no argument ['preset:=tiny']"),
    (['--ros-args', '--bogus'], "ROS knows no argument ['--bogus']"),
    (['--ros-args', '-p', 'preset'], "Couldn't parse parameter override rule: '-p preset'"),
    (['--ros-args', '-p', 'preset=tiny'], "parameter override rule: '-p preset=tiny'"),
    (['--ros-args', '-p'], "Couldn't parse trailing -p flag"),
    (['--ros-args', '-r', '__node:=a b'], "Couldn't parse remap rule: '-r __node:=a b'"),
    (['--ros-args', '--log-level', 'loud'], "Couldn't parse log level: '--log-level loud'"),
]


@pytest.mark.parametrize(('arguments', 'expected'), WRONG)
def test_words_that_are_no_arguments_are_refused_with_the_form(arguments, expected):
    """field_reports N4: they were ignored, and the node started as `compact`."""
    with pytest.raises(ValueError) as refused:
        check_arguments(arguments)
    assert expected in str(refused.value) and 'gausstr-node --ros-args' in str(refused.value)


@pytest.mark.parametrize('arguments', [
    [], ['--ros-args'], ['--ros-args', '-p', 'preset:=tiny', '--'],
    ['--ros-args', '-r', '__ns:=/robot', '-p', 'cameras:=[a, b]', '--log-level', 'info'],
    ['--ros-args', '--log-level', 'warn', '--ros-args', '-r', '/tf:=/robot/tf',
     '--params-file', 'config/rig_nuscenes.yaml', '--enclave', '/gausstr'],
])  # fmt: skip
def test_what_ros_and_launch_give_is_taken(arguments, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    check_arguments(arguments)
    check_files(arguments, '/robot/gausstr')


def test_the_process_ends_with_one_line(ros, tmp_path):
    """field_reports N3, N4: of the real process, also where only rclpy knows the node's name."""
    theirs = written(tmp_path / 'theirs.yaml', 'gausstr: {ros__parameters: {preset: tiny}}\n')
    starts = [
        (['preset:=tiny'], '-p preset:=tiny'),
        (['--ros-args', '--params-file', str(tmp_path / 'absent.yaml')], 'absent.yaml'),
        (
            ['--ros-args', '-r', '__node:=front', '--params-file', str(theirs)],
            'for the node /front',
        ),
        (['--ros-args', '-p', 'cameras:=[]'], 'cameras must be at least one name'),
        (['--ros-args', '-p', 'use_sim_time:=[]'], 'use_sim_time'),
    ]
    for arguments, expected in starts:
        done = started(*arguments)
        assert done.returncode == 1, (arguments, done)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith('gausstr-node:')]
        assert expected in line and 'Traceback' not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('cameras', r'cameras must be at least one name, each once, got \[\]'),
        ('grid.range', r'grid\.range must be 6 numbers \(x y z, x y z\), got \[\]'),
        ('preset', r'preset must be a str, got \[\]'),
        ('sync.timeout', r'sync\.timeout must be a float, got \[\]'),
        ('autostart', r'parameter autostart must be a bool, got \[\]'),
        ('cameras.CAM_BACK.rectified', r'cameras\.CAM_BACK\.rectified must be a bool, got \[\]'),
        ('nonsense', 'no parameter nonsense'),
    ],
)
def test_an_empty_list_is_refused_as_the_replay_refuses_it(ros, name, expected):
    """field_reports D16: ROS gives an empty list no type, and declaring it was a traceback."""
    from gausstr_ros.node.lifecycle_node import GaussTRNode

    with pytest.raises(ValueError, match=expected):
        GaussTRNode(cli_args=['--ros-args', '-p', f'{name}:=[]'])


@pytest.mark.parametrize('namespace', ['bad name!', '1robot', 'a//b?', 'ä', 'x' * 300, '~/robot'])
def test_a_namespace_that_is_none_is_refused(namespace, tmp_path, capsys):
    """field_reports N12: it was written into the policy."""
    target = tmp_path / 'policy.xml'
    with pytest.raises(SystemExit, match=r'gausstr-policy: --namespace .* is none: Invalid'):
        write_policy(['--namespace', namespace, '--output', str(target)])
    assert not target.exists() and not capsys.readouterr().out
