"""Files where folders are wanted, and the reverse: replay and policy name option and path."""

from __future__ import annotations

from importlib import import_module

import pytest

pytest.importorskip('rclpy')

COMMANDS = {
    'gausstr-replay': ('gausstr_ros.replay.command', ['IN', 'OUT']),
    'gausstr-policy': ('gausstr_ros.security_policy', []),
}


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize(
    ('place', 'found'),
    [
        ('folder', r'--params-file: expected a file, .*folder is a folder'),
        ('file/below', r'--params-file: expected a folder, .*file is a file'),
    ],
)
def test_a_parameter_file_that_is_none_is_named(tmp_path, command, place, found):
    """Field_reports N11: an errno and a path that was not the user's stood in its place."""
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('')
    module, arguments = COMMANDS[command]
    with pytest.raises(SystemExit, match=f'{command}: {found}'):
        import_module(module).main([*arguments, '--params-file', str(tmp_path / place)])


@pytest.mark.parametrize(
    ('place', 'found'),
    [
        ('folder', r'--output: expected a file, .*folder is a folder'),
        ('file/policy.xml', r'--output: expected a folder, .*file is a file'),
        ('nowhere/policy.xml', r'nowhere/.policy.xml.partial: no such file or directory'),
    ],
)
def test_a_policy_that_cannot_be_written_names_the_place(tmp_path, place, found):
    """Field_reports N11."""
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit, match=f'gausstr-policy: .*{found}') as refused:
        import_module('gausstr_ros.security_policy').main(['--output', str(tmp_path / place)])
    assert 'Errno' not in str(refused.value)
