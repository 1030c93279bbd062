"""What the pages have in common: template, style, order of cameras, how they are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

STYLE = Path(__file__).with_name('page.css')
# The rows of the rig on a page: as one would look around.
_AROUND = ('FRONT_LEFT', 'FRONT', 'FRONT_RIGHT', 'BACK_LEFT', 'BACK', 'BACK_RIGHT')


def render(template: Path, **values: Any) -> str:
    """A page as HTML: whatever is shown is escaped, a value that is missing is an error.

    Args:
        template: of jinja2; it also finds the style sheet, as `style`.
        values: by the names that the template has for them.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = STYLE.read_text(encoding='utf-8')
    return environment.get_template(template.name).render(style=style, **values)


def around(cameras: Iterable[str]) -> list[str]:
    """Cameras in the order of a page: those of nuScenes as one looks around, then the others."""
    given = list(cameras)

    def place(camera: str) -> int:
        name = camera.removeprefix('CAM_')
        return _AROUND.index(name) if name in _AROUND else len(_AROUND) + given.index(camera)

    return sorted(given, key=place)


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into a folder: all of them aside, and only then into their places.

    What goes wrong or is interrupted before leaves the folder as it was.

    Args:
        folder: made if it does not exist.
        texts: by name of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asides = {folder / name: folder / f'.{name}.part' for name in texts}
    try:
        for aside, text in zip(asides.values(), texts.values(), strict=True):
            aside.write_text(text, encoding='utf-8')
        for path, aside in asides.items():
            os.replace(aside, path)
    finally:
        for aside in asides.values():
            aside.unlink(missing_ok=True)
