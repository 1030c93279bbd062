"""Which bags lie in some folders, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gausstr_core.bags.reading import DESCRIPTION, FILES

PLAIN_NAME = 'bag'  # what a recording's folder calls its bag; the folder's own name says more


def find_bags(places: Sequence[Path | str]) -> list[Path]:
    """The bags among `places` and anywhere below them, sorted within each place.

    A folder with a metadata.yaml is a bag, and so is an .mcap or .db3 file outside of such a
    folder. Hidden files and folders are passed over: writers build their output there.

    Raises:
        ValueError: a place does not exist or holds no bag, or two bags have the same name.
    """
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if not place.exists():
            raise ValueError(f'{place} does not exist: expected a bag or a folder of bags')
        below = _bags_below(place)
        if not below:
            raise ValueError(
                f'{place} holds no bag: expected a folder with a {DESCRIPTION}, or a file ending '
                f'in {" or ".join(FILES)}'
            )
        found |= dict.fromkeys(below)
    _check_names(list(found))
    return list(found)


def bag_name(path: Path) -> str:
    """What the frames of a bag are named after: stable when the data moves to another place.

    The folder or file without its ending; of `street_000007/bag` it is `street_000007`.
    """
    path = path.absolute()
    name = path.stem if path.suffix in FILES else path.name
    return path.parent.name if name == PLAIN_NAME else name


def _bags_below(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix in FILES else []
    bags: list[Path] = []
    for folder, folders, files in os.walk(place):
        if DESCRIPTION in files:
            bags.append(Path(folder))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        inside = (Path(folder, name) for name in files if not name.startswith('.'))
        bags += [file for file in inside if file.suffix in FILES]
    return sorted(bags)


def _check_names(bags: list[Path]) -> None:
    """Names must differ: cached targets are found by them."""
    named: dict[str, Path] = {}
    for path in bags:
        other = named.setdefault(bag_name(path), path)
        if other != path and other.resolve() != path.resolve():
            raise ValueError(
                f'{other} and {path} are both called {bag_name(path)!r}: rename one, frames are '
                'named after their bag'
            )
