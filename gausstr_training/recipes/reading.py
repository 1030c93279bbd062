"""YAML -> recipe. A file names a `kind`, or a `base` from which it differs in what it says."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from gausstr_core.process.reasons import reason
from gausstr_training.recipes.schema import CompactRecipe, FullRecipe, Recipe

FOLDER = Path(__file__).parent
SUFFIX = '.yaml'
KINDS: dict[str, type[Recipe]] = {'compact': CompactRecipe, 'full': FullRecipe}
DEEPEST = 8  # bases above each other


def shipped() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob(f'*{SUFFIX}'))


def read_recipe(name: str) -> Recipe:
    """A shipped recipe by its name, or one of your own by the path of its .yaml file.

    Raises:
        ValueError: there is none, it is no YAML, or it says what a recipe cannot say; the message
            names file and key.
    """
    path = _path_of(name)
    content = _with_bases(path, DEEPEST)
    kind = content.pop('kind', None)
    if kind not in KINDS:
        raise ValueError(f'{path}: kind must be one of {", ".join(KINDS)}, got {kind!r}')
    recipe = _filled(KINDS[kind], {**content, 'name': path.stem}, str(path))
    assert isinstance(recipe, Recipe)
    return recipe


def _path_of(name: str, beside: Path = FOLDER) -> Path:
    if not name.endswith(SUFFIX):
        path = FOLDER / f'{name}{SUFFIX}'
        if not path.is_file():
            raise ValueError(
                f'recipe must be one of {", ".join(shipped())} or the path of a {SUFFIX} file, '
                f'got {name!r}'
            )
        return path
    return Path(name) if beside is FOLDER else beside / name


def _with_bases(path: Path, deepest: int) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'recipe {path} cannot be read: {reason(error)}') from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f'recipe {path} must be a mapping of names, got {content!r}')
    base = content.pop('base', None)
    if base is None:
        return content
    if deepest == 0:
        raise ValueError(f'recipe {path}: more than {DEEPEST} bases above each other')
    return _merged(_with_bases(_path_of(str(base), path.parent), deepest - 1), content)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _filled(kind: type, content: Any, where: str) -> Any:
    """A dataclass from a mapping; its own checks speak with the place in front."""
    if not isinstance(content, dict):
        raise ValueError(f'{where}: expected a mapping, got {content!r}')
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(content.keys() - known.keys())
    if unknown:
        raise ValueError(
            f'{where}: unknown {", ".join(map(str, unknown))}; known are {", ".join(known)}'
        )
    needed = [
        name
        for name, item in known.items()
        if item.default is MISSING and item.default_factory is MISSING and name not in content
    ]
    if needed:
        raise ValueError(f'{where}: {", ".join(needed)} must be given')
    hints = typing.get_type_hints(kind)
    values = {
        name: _value(hints[name], value, f'{where}: {name}') for name, value in content.items()
    }
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from None


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return _filled(kind, value, where)
    if typing.get_origin(kind) is tuple:
        return _sequence(typing.get_args(kind), value, where)
    assert kind in (int, float, str, bool), kind
    if kind is float and not isinstance(value, bool):
        try:
            return float(value)  # YAML takes 1e-3, without a point, for a text
        except (TypeError, ValueError):
            pass
    elif isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise ValueError(f'{where} must be {kind.__name__}, got {value!r}')


def _sequence(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    endless = isinstance(parts[-1], types.EllipsisType)
    if not isinstance(value, list) or not (endless or len(value) == len(parts)):
        wanted = 'a list' if endless else f'a list of {len(parts)}'
        raise ValueError(f'{where} must be {wanted}, got {value!r}')
    kinds = [parts[0]] * len(value) if endless else parts
    return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
