"""Where a bag is: what a path is that is none, and which one was meant perhaps."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gausstr_core.bags.reading import DESCRIPTION, FILES

DEEP = 2  # folders below the one that was given
_SHOWN = 5


def check_place(path: Path) -> None:
    """Look whether a path can be a bag's; whether it can be read shows when it is opened.

    Raises:
        ValueError: nothing is there, a folder has no bag or is one of bags, or a file is of
            another kind; the message says which bags there are.
    """
    if not path.exists():
        near = bags_below(path.parent) if path.parent.is_dir() else []
        raise ValueError(f'{path} does not exist{_meant(near)}')
    if path.is_dir():
        _check_folder(path)
    elif path.suffix not in FILES:
        raise ValueError(f'{path} is no bag: {_other_kind(path)}')


def bags_below(folder: Path, deep: int = DEEP) -> list[Path]:
    """Folders and files of bags in a folder and below, sorted, as far as they can be read."""
    with contextlib.suppress(PermissionError):  # lost+found is root's
        # not the hidden ones: writers build their output there
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
        return [bag for path in inside for bag in _bags_at(path, deep)]
    return []


def _bags_at(path: Path, deep: int) -> list[Path]:
    with contextlib.suppress(PermissionError):
        if (path / DESCRIPTION).is_file() or (path.suffix in FILES and path.is_file()):
            return [path]
        if path.is_dir() and deep > 1:
            return bags_below(path, deep - 1)
    return []


def _check_folder(path: Path) -> None:
    if any(file.name == DESCRIPTION or file.suffix in FILES for file in path.iterdir()):
        return  # a bag, or one that lost its description
    found = bags_below(path)
    if not found:
        raise ValueError(
            f'{path} is no bag: expected a folder with {DESCRIPTION} and .mcap or .db3 files, '
            'and there is none in it or below'
        )
    if len(found) == 1:
        raise ValueError(f'{path} is no bag{_meant(found)}')
    raise ValueError(f'{path} holds {len(found)} bags{_meant(found)}')


def _meant(found: list[Path]) -> str:
    if not found:
        return ''
    if len(found) == 1:
        return f'; did you mean {found[0]}?'
    more = f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''
    return f'; give one of {", ".join(map(str, found[:_SHOWN]))}{more}'


def _other_kind(path: Path) -> str:
    if path.name == DESCRIPTION:
        return f'did you mean its folder, {path.parent}?'
    if path.suffix == '.bag':
        return (
            'it is of ROS 1; convert it with: '
            f'rosbags-convert --src {path} --dst {path.with_suffix("")}'
        )
    if path.suffix in ('.zstd', '.zst') and path.with_suffix('').suffix in FILES:
        return f'it is a compressed file of one; did you mean its folder, {path.parent}?'
    return f'expected a rosbag2 folder, a .mcap or a .db3 file, got {path.suffix or "no ending"}'
