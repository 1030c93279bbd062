"""Every option of every command: it has a help text with its default, and a number has a range."""

from __future__ import annotations

import argparse
import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from gausstr_core.process.command_line import ImageSize, Real, Whole

REPOSITORY = Path(__file__).parents[1]
NODE = 'gausstr_ros.node.process'  # whose options are rclpy's; see test_field_parameter_files.py
ENTRY = re.compile(r"'(gausstr-[\w-]+) = ([\w.]+):main'")
INSTALLED = dict(ENTRY.findall((REPOSITORY / 'setup.py').read_text()))
BAD_NUMBERS = ('', 'x', 'nan', 'inf', '-inf', '1e400', '9' * 40, '-' + '9' * 40, '1,5', '0x')


def modules() -> list[str]:
    """Every module that reads a command line with argparse."""
    found = []
    for package in ('gausstr_core', 'gausstr_ros', 'gausstr_training'):
        for path in sorted((REPOSITORY / package).rglob('*.py')):
            called = [n for n in ast.walk(ast.parse(path.read_text())) if is_parser(n)]
            if called:
                found.append('.'.join(path.relative_to(REPOSITORY).with_suffix('').parts))
    return found


def is_parser(node: ast.AST) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return called and node.func.attr == 'ArgumentParser'


def parser_of(module: str) -> argparse.ArgumentParser:
    if module.startswith('gausstr_ros'):
        pytest.importorskip('rclpy')
    return import_module(module).parser()


def options_of(module: str) -> list[tuple[argparse.ArgumentParser, argparse.Action]]:
    """Each with the parser that takes it, which may be that of one verb of the command."""
    parsers = [parser_of(module)]
    for action in parsers[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    skipped = argparse._HelpAction | argparse._SubParsersAction
    return [(p, a) for p in parsers for a in p._actions if not isinstance(a, skipped)]


def test_the_walk_meets_every_command():
    offered = set(modules()) | {NODE, 'gausstr_training.evaluate'}
    assert len(INSTALLED) >= 12 and set(INSTALLED.values()) <= offered
    from gausstr_training import evaluate

    assert evaluate.parser is import_module('gausstr_training.evaluation.options').parser


@pytest.mark.parametrize('module', modules())
def test_every_option_has_a_text_and_shows_its_default(module: str):
    """field_reports N15."""
    for parser, option in options_of(module):
        name = '/'.join(option.option_strings) or option.dest
        text = parser._get_formatter()._expand_help(option) if option.help else ''
        assert len(text) > 5, f'{module} {name} has no help text'
        takes_value = option.nargs != 0
        if not takes_value or option.required:
            continue
        assert re.search(r'default\b', text), f'{module} {name} does not show its default: {text}'
        shown = option.default if isinstance(option.default, list | tuple) else [option.default]
        for value in shown:
            if value not in (None, ''):
                assert str(value) in text, f'{module} {name}: default {value} is not in: {text}'


def test_the_node_says_what_ros_takes_and_what_without_it(capsys: pytest.CaptureFixture[str]):
    """field_reports N15: its options are those of rclpy, which has no help for them."""
    pytest.importorskip('rclpy')
    import_module(NODE).main(['--help'])
    said = capsys.readouterr().out
    for option in ('-p NAME:=VALUE', '--params-file FILE', '-r FROM:=TO', '--log-level LEVEL'):
        (line,) = [line for line in said.splitlines() if line.strip().startswith(option)]
        assert '(default: ' in line


def test_the_readme_shows_whole_commands_of_training():
    """Field_reports N9: one lacked --data and --output, which the command wants."""
    readme = (REPOSITORY / 'README.md').read_text()
    shown = re.findall('`gausstr-train ([^`]+)`', readme)
    assert {'compact', 'tiny'} <= {line.split()[1] for line in shown}
    for line in shown:
        options = parser_of('gausstr_training.train').parse_args(line.split())
        assert options.recipe and options.data and options.output, line


@pytest.mark.parametrize('module', modules())
def test_a_size_shows_its_form(module: str):
    """field_reports N15: `--size` without its form."""
    for _, option in options_of(module):
        if isinstance(option.type, ImageSize) or 'size' in option.dest:
            assert option.metavar == 'WIDTHxHEIGHT'
            assert isinstance(option.type, ImageSize)


@pytest.mark.parametrize('module', modules())
def test_every_number_has_a_range_that_argparse_names(
    module: str, capsys: pytest.CaptureFixture[str]
):
    """field_reports N8: `gausstr-evaluate --limit 0` was a KeyError."""
    for parser, option in options_of(module):
        assert option.type not in (int, float), f'{module} {option.dest} has no range'
        if not isinstance(option.type, Whole | Real | ImageSize):
            continue
        for text in bad_values(option.type):
            # with '=', as a negative number would be taken for an option
            given = [f'{option.option_strings[-1]}={text}']
            with pytest.raises(SystemExit) as refused:
                parser.parse_args(given)
            said = capsys.readouterr().err
            assert refused.value.code == 2 and 'Traceback' not in said
            low, high = (form(option.type, end) for end in ('low', 'high'))
            wanted = f'argument {option.option_strings[0]}: expected .*{low}.* to .*{high}.*, got'
            assert re.search(wanted, ' '.join(said.split())), (module, text, said)


def bad_values(kind: Whole | Real | ImageSize) -> tuple[str, ...]:
    if isinstance(kind, ImageSize):
        low, high = kind.low - 1, kind.high + 1
        more = (f'{low}x64', f'64x{low}', f'{high}x64', '448', '448 x 252', '-4x-4', '448X252')
        return (*BAD_NUMBERS, *more)
    below, above = (
        (kind.low - 1, kind.high + 1)
        if isinstance(kind, Whole)
        else (kind.low - abs(kind.low) / 100 - 1e-3, kind.high * 1.01)
    )
    broken = ('1.5', '0.5') if isinstance(kind, Whole) else ()
    return (*BAD_NUMBERS, str(below), str(above), *broken)


def form(kind: Whole | Real | ImageSize, end: str) -> str:
    value = getattr(kind, end)
    return re.escape(f'{value:g}' if isinstance(kind, Real) else str(value))


@pytest.mark.parametrize('module', modules())
def test_both_ends_of_a_range_and_the_default_are_within_it(module: str):
    for _, option in options_of(module):
        if isinstance(option.type, Whole | Real):
            low, high = option.type.low, option.type.high
            assert option.type(repr(low)) == low < high == option.type(repr(high))
            given = option.default if isinstance(option.default, list) else [option.default]
            assert all(value is None or low <= value <= high for value in given)


def test_a_size_is_width_then_height():
    assert ImageSize()('448x252') == (448, 252)
