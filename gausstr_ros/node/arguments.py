"""The node's command line, looked at before rclpy takes it.

rclpy ignores words that it does not know, takes a bare `preset:=tiny` for a remapping, and says
of a parameter file only that it was not parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.utilities import remove_ros_args

from gausstr_ros.settings.parameter_file import read_parameter_file, read_sections

_FILE = '--params-file'
_FORM = 'gausstr-node --ros-args -p NAME:=VALUE --params-file FILE -r FROM:=TO'


def check_arguments(arguments: Sequence[str]) -> None:
    """Look at all words; nothing is taken from them yet.

    Raises:
        ValueError: one is not for ROS, or ROS does not know it, or a parameter file cannot be
            read or is not of the form.
    """
    for word in _outside(arguments):
        if ':=' in word:
            name, _, value = word.partition(':=')
            raise ValueError(
                f'{word!r} is no argument; for a parameter write: gausstr-node --ros-args '
                f'-p {name}:={value}, for a topic: gausstr-node --ros-args -r {name}:={value}'
            )
        raise ValueError(f'{word!r} is no argument of the node; it takes: {_FORM}')
    for path in parameter_files(arguments):
        read_sections(path)
    try:
        remove_ros_args(['gausstr-node', *arguments])
    except _rclpy.UnknownROSArgsError as error:
        raise ValueError(f'ROS knows no argument {error}; the node takes: {_FORM}') from None
    except _rclpy.RCLError as error:
        raise ValueError(_plain(str(error))) from None


def check_files(arguments: Sequence[str], node: str) -> None:
    """Look whether each parameter file has anything for the node, now that its name is known.

    Args:
        arguments: the command line.
        node: full name of the node.

    Raises:
        ValueError: one has not; it is named, with what it has.
    """
    for path in parameter_files(arguments):
        read_parameter_file(path, node)


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """What is given with --params-file, in order."""
    words = list(_inside(arguments))
    return [Path(value) for flag, value in pairwise(words) if flag == _FILE]


def _marked(arguments: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """(whether it is for ROS, word): ROS has those from --ros-args to -- or the end."""
    inside = False
    for word in arguments:
        if word == '--ros-args':
            inside = True
        elif inside and word == '--':
            inside = False
        else:
            yield inside, word


def _inside(arguments: Sequence[str]) -> Iterator[str]:
    return (word for inside, word in _marked(arguments) if inside)


def _outside(arguments: Sequence[str]) -> Iterator[str]:
    return (word for inside, word in _marked(arguments) if not inside)


def _plain(text: str) -> str:
    """What rcl says, without the place in its sources and the words of its lexer."""
    text = text.removeprefix('Failed to parse ROS arguments: ').partition(', at /')[0]
    what = text.partition('. Error: ')[0] if 'lexeme' in text or 'not set' in text else text
    return f'{what.rstrip(".")}; the node takes: {_FORM}'
