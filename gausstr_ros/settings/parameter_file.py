"""Parameter files as rcl reads them, without a node: for replay, policy, launch, and a check.

What counts is what the node would get of the same file through `--params-file`. So keys, their
order and the types of values are those of rcl_yaml_param_parser and rclpy (Jazzy), not those of
YAML: sections are keyed by node with its namespace, nested or in one key, `/*` is one name and
`/**` any number of them; among the sections that match, the later one wins, whatever is more
specific; and `1e3` is a number there, `2026-01-01` a text.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

NODE = '/gausstr'  # of a node in no namespace
_PARAMETERS = 'ros__parameters'
_SECTION = re.compile(r'/?(\w+|\*{1,2})(/(\w+|\*{1,2}))*', re.ASCII)
_TRUE = {'Y', 'y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'}
_FALSE = {'N', 'n', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'}
# strtoll with base 0, and strtod
_INTEGER = re.compile(r'\s*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)', re.ASCII)
_DECIMAL = re.compile(r'\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?', re.ASCII)
_HEXADECIMAL = re.compile(
    r'\s*[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?\d+)?', re.ASCII
)
_ENDLESS = re.compile(r'\s*([+-]?)(inf(inity)?|nan)', re.ASCII | re.IGNORECASE)
_ENDLESS_YAML = re.compile(r'([+-]?)\.(inf|Inf|INF)|()\.(nan|NaN|NAN)')

# Name of a section -> name of a parameter -> value, in the order of the file.
Sections = dict[str, dict[str, Any]]


def read_parameter_file(path: Path, node: str = NODE) -> dict[str, Any]:
    """The parameters that a ROS 2 parameter file gives to a node, by name.

    Args:
        path: the file.
        node: full name of the node, with its namespace.

    Raises:
        ValueError: the file cannot be read, is not of that form, or nothing in it is for the node.
    """
    return read_parameter_files([path], node)


def read_parameter_files(paths: Sequence[Path], node: str = NODE) -> dict[str, Any]:
    """The parameters of several files, as several `--params-file`; errors as for one."""
    node = node if node.startswith('/') else f'/{node}'
    together: Sections = {}
    for path in paths:
        sections = read_sections(path)
        _check_match(path, sections, node)
        for name, values in sections.items():
            together.setdefault(name, {}).update(values)
    values: dict[str, Any] = {}
    for name, given in together.items():
        if _matches(name, node):
            values |= given
    return values


def full_name(namespace: str, name: str = NODE) -> str:
    """The node's name with a namespace, in whatever way that is written."""
    return '/'.join(('', *filter(None, namespace.split('/')), name.strip('/')))


def _check_match(path: Path, sections: Mapping[str, Any], node: str) -> None:
    if not any(_matches(name, node) for name in sections):
        raise ValueError(
            f'parameter file {path}: nothing in it is for the node {node}; it has '
            f'{", ".join(sections) or "no section"}, expected a key such as /** or {node} with '
            f'{_PARAMETERS}'
        )


def _matches(section: str, node: str) -> bool:
    """Whether a section is for a node: rclpy's own replacement, which makes /** any names."""
    absolute = section if section.startswith('/') else f'/{section}'
    pattern = absolute.replace('/*', r'(/\w+)')
    return re.fullmatch(pattern, node, re.ASCII) is not None


class _Loader(yaml.BaseLoader):
    """YAML as events give it: a plain scalar is told from one that is quoted, or has a tag."""

    PLAIN = 'plain'

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return self.PLAIN
        return super().resolve(kind, value, implicit)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem='ROS knows no aliases (*name)', problem_mark=mark)
        return super().compose_node(parent, index)


def read_sections(path: Path) -> Sections:
    """All sections of a file.

    Raises:
        ValueError: the file cannot be read, or is not of the form.
    """
    try:
        root = yaml.compose(path.read_text(encoding='utf-8-sig'), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'parameter file {path}: {error}') from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f'parameter file {path}: expected node names with {_PARAMETERS}')
    found: Sections = {}
    try:
        for name, values in _nodes(root, ''):
            found.setdefault(name, {}).update(values)
    except ValueError as error:
        raise ValueError(f'parameter file {path}: {error}') from error
    return found


def _nodes(tree: yaml.MappingNode, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(section, its parameters) of a mapping of names, which may be nested."""
    for key, value in tree.value:
        name = _key(key)
        if name.startswith(_PARAMETERS):
            if not _SECTION.fullmatch(place):
                raise ValueError(f'{_line(key)}: expected the name of a node, got {place!r}')
            if not isinstance(value, yaml.MappingNode):
                raise ValueError(f'{_line(value)}: {place} has no parameters in {_PARAMETERS}')
            yield place, dict(_parameters(value, ''))
        elif isinstance(value, yaml.MappingNode):
            inner = name if not place else f'{place.removesuffix("/")}/{name}'
            yield from _nodes(value, inner)
        else:
            raise ValueError(f'{_line(key)}: {name} has no {_PARAMETERS}')


def _parameters(tree: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of every parameter, nested keys joined by dots."""
    for key, value in tree.value:
        name = f'{prefix}{_key(key)}'
        if isinstance(value, yaml.MappingNode):
            yield from _parameters(value, f'{name}.')
        elif isinstance(value, yaml.SequenceNode):
            yield name, _list(name, value)
        else:
            yield name, _value(name, value)


def _list(name: str, sequence: yaml.SequenceNode) -> list[Any]:
    for item in sequence.value:
        if not isinstance(item, yaml.ScalarNode):
            raise ValueError(f'{_line(item)}: {name}: a list holds single values only')
    values = [_value(name, item) for item in sequence.value]
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise ValueError(
            f'{_line(sequence)}: {name}: the values of a list must be of one type, got '
            f'{" and ".join(kinds)}'
        )
    return values


def _value(name: str, scalar: yaml.ScalarNode) -> Any:
    """What rcl makes of a scalar."""
    text: str = scalar.value
    quoted = scalar.style in ("'", '"')
    if quoted or (scalar.tag == 'tag:yaml.org,2002:str' and not scalar.style):
        return text
    if not text:
        raise ValueError(f'{_line(scalar)}: {name} has no value')
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    for read in (_integer, _float):
        value = read(text)
        if value is not None:
            return value
    return text


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    digits = match[2]
    try:
        octal = len(digits) > 1 and digits[0] == '0' and digits[1] not in 'xX'
        value = int(match[1] + digits, 8 if octal else 0)
    except ValueError:  # an 8 or 9 among octal digits
        return None
    return value if -(2**63) <= value < 2**63 else None


def _float(text: str) -> float | None:
    endless = _ENDLESS_YAML.fullmatch(text) or _ENDLESS.fullmatch(text)
    if endless is not None:
        return float(text.replace('.', '', 1).strip())
    if _DECIMAL.fullmatch(text):
        value = float(text)
    elif _HEXADECIMAL.fullmatch(text):
        try:
            value = float.fromhex(text.strip())
        except OverflowError:
            return None
    else:
        return None
    # what a double cannot hold stays text, in rcl as well
    small = 0 < abs(value) < sys.float_info.min
    return None if math.isinf(value) or small else value


def _key(key: yaml.Node) -> str:
    if not isinstance(key, yaml.ScalarNode) or not key.value:
        raise ValueError(f'{_line(key)}: expected a name')
    return str(key.value)


def _line(node: yaml.Node) -> str:
    return f'line {node.start_mark.line + 1}'
