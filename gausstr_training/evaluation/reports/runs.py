"""Reports as they lie on disk: what scores.json holds, read back to be compared."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gausstr_core.process.reasons import reason

FORMAT = 'gausstr-report-1'
FILE = 'scores.json'


@dataclass(frozen=True)
class ClassScore:
    """A class over all frames."""

    iou: float | None  # percent; None where it neither occurs nor is predicted
    voxels: int  # of the truth
    share: float | None  # percent of the occupied voxels of the truth; None without any


@dataclass(frozen=True)
class Frame:
    """A frame of a run."""

    name: str
    origin: str
    iou: float | None  # percent
    miou: float | None


@dataclass(frozen=True)
class Run:
    """An evaluation, as far as it can be laid beside others."""

    name: str
    kind: str  # 'streets' or 'occ3d'
    overall: dict[str, float | None]  # percent, by title
    classes: dict[str, ClassScore]
    frames: tuple[Frame, ...]
    settings: dict[str, str | float | None]
    versions: dict[str, str]
    source: str = ''  # the folder it was read from

    @cached_property
    def _by_origin(self) -> dict[tuple[str, str], Frame]:
        return {(frame.name, frame.origin): frame for frame in self.frames}

    def frame(self, name: str, origin: str) -> Frame:
        """The frame of that name, truth and rig.

        Raises:
            ValueError: there is none; the message names this run and the frame.
        """
        try:
            return self._by_origin[name, origin]
        except KeyError:
            raise ValueError(
                f'{self.source} cannot be compared: its frame {name} has another truth or '
                'another rig than here'
            ) from None

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse to be compared with a run of other frames.

        Raises:
            ValueError: a frame is missing on either side; the message names this run and it.
        """
        own, other = Counter(frame.name for frame in self.frames), Counter(names)
        for found, verb in ((own - other, 'scored'), (other - own, 'did not score')):
            if found:
                where = 'not scored here' if verb == 'scored' else 'scored here'
                raise ValueError(
                    f'{self.source} cannot be compared: it {verb} {sum(found.values())} frames '
                    f'that are {where}, such as {min(found)}'
                )


def read_runs(folders: Sequence[Path], kind: str, classes: Sequence[str], own: str) -> list[Run]:
    """Read the reports in folders, each named after its folder.

    Args:
        folders: that `gausstr-evaluate --report` wrote.
        kind: that they must be of.
        classes: that they must have scored.
        own: name of the new run; where names are the same the folders are spelt out.

    Raises:
        ValueError: a report is missing, broken or of another kind, or a folder is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    names = Counter([own, *(folder.name for folder in resolved)])
    runs = []
    for folder, whole in zip(folders, resolved, strict=True):
        if resolved.count(whole) > 1:
            raise ValueError(f'{folder} is given twice to --compare')
        name = whole.name if names[whole.name] == 1 else str(folder)
        run = read_run(folder, name)
        if (run.kind, tuple(run.classes)) != (kind, tuple(classes)):
            raise ValueError(
                f'{folder / FILE} cannot be compared: expected a report on {kind} with the '
                f'classes {", ".join(classes)}; got one on {run.kind} with '
                f'{", ".join(run.classes)}'
            )
        runs.append(run)
    return runs


def read_run(folder: Path, name: str) -> Run:
    """Read the scores.json of a report.

    Raises:
        ValueError: it is missing or not what a report holds; the message names the file.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'), parse_constant=_refused)
        return _parsed(content, name, str(folder))
    except FileNotFoundError:
        raise ValueError(f'{path} is missing: expected what --report DIR has written') from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read as a report: {reason(error)}') from None


def _parsed(content: Any, name: str, source: str) -> Run:
    found = _Fields('the file', content)
    if found.text('format') != FORMAT:
        raise ValueError(f'expected format {FORMAT}, got {found.text("format")!r}')
    classes = {}
    for title, values in found.part('classes').items():
        entry = _Fields(f'class {title!r}', values)
        voxels = entry.count('voxels')
        classes[title] = ClassScore(entry.percent('iou'), voxels, entry.percent('share'))
    frames = [_Fields('a frame', frame) for frame in found.list('frames')]
    overall = _Fields('overall', found.part('overall'))
    return Run(
        name=name,
        kind=found.text('kind'),
        overall={title: overall.percent(title) for title in overall},
        classes=classes,
        frames=tuple(
            Frame(f.text('name'), f.text('origin'), f.percent('iou'), f.percent('miou'))
            for f in frames
        ),
        settings={
            key: value if isinstance(value, (int, float)) or value is None else str(value)
            for key, value in found.part('settings').items()
        },
        versions={key: str(value) for key, value in found.part('versions').items()},
        source=source,
    )


class _Fields(dict[str, Any]):
    """A JSON object whose values are checked when they are asked for."""

    def __init__(self, what: str, content: Any) -> None:
        if not isinstance(content, Mapping):
            raise ValueError(f'{what} must be an object, got {str(content)[:40]!r}')
        super().__init__(content)
        self.what = what

    def _typed(self, key: str, kinds: type | tuple[type, ...], expected: str) -> Any:
        value = self.get(key, 'nothing')
        if key not in self or not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f'{self.what}: {key} must be {expected}, got {str(value)[:40]!r}')
        return value

    def text(self, key: str) -> str:
        return str(self._typed(key, str, 'text'))

    def part(self, key: str) -> dict[str, Any]:
        return dict(self._typed(key, dict, 'an object'))

    def list(self, key: str) -> list[Any]:
        return list(self._typed(key, list, 'a list'))

    def count(self, key: str) -> int:
        return int(self._typed(key, int, 'a whole number'))

    def percent(self, key: str) -> float | None:
        value = self._typed(key, (int, float, type(None)), 'a percentage or null')
        if value is None:
            return None
        if not (math.isfinite(value) and 0 <= value <= 100):
            raise ValueError(f'{self.what}: {key} must be a percentage, got {value}')
        return float(value)


def _refused(constant: str) -> float:
    raise ValueError(f'{constant} is no number of JSON')
