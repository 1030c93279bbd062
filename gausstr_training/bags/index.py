"""The contents of bags, scanned once and kept in a cache.

A cache file belongs to one bag and one layout. It is written aside and renamed, holds arrays and
JSON only, and is made anew when the bag's files or the layout change.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from gausstr_core.camera.camera_info import Calibration
from gausstr_core.weights.fetch import cache_folder
from gausstr_training.bags.keyframes import Keyframe
from gausstr_training.bags.poses import Link, TransformTree
from gausstr_training.bags.scan import Camera, Contents, Layout, Stream, scan
from gausstr_training.bags.storage import version_of

log = logging.getLogger(__name__)

FORMAT = 1


def index_bags(
    bags: Sequence[Path], layout: Layout, cache: Path | None = None, workers: int = 1
) -> Iterator[Contents | ValueError]:
    """The contents of bags, in their order; each is in the cache as soon as it is known.

    Args:
        bags: folders or files.
        layout: where a bag has what.
        cache: folder of the cache; None: `bags` in the folder of `gausstr_core.weights.fetch`.
        workers: processes that scan.

    Returns:
        For a bag that is unreadable the error, which names it: the others are indexed all the
        same, and one message can name all that are broken.

    Raises:
        OSError: the cache cannot be written.
    """
    folder = cache or cache_folder() / 'bags'
    jobs = [(bag, layout, folder) for bag in bags]
    yield from tqdm(
        _run(jobs, workers), total=len(jobs), desc='indexing bags', unit='bag', leave=False
    )


def index_bag(bag: Path, layout: Layout, folder: Path) -> Contents:
    """The contents of a bag, from the cache folder where it holds them.

    Processes that want the same bag wait for the first one's scan.

    Raises:
        ValueError: the bag is unreadable; the message names it.
        OSError: the cache cannot be written.
    """
    name = hashlib.sha256(os.fsencode(bag.resolve())).hexdigest()[:32]
    path = folder / f'{name}.npz'
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        contents = _load(path, _state(version_of(bag), layout))
        if contents is None:
            contents = scan(bag, layout)
            _save(path, _state(contents.version, layout), contents)
    return contents


def _run(jobs: list[tuple[Path, Layout, Path]], workers: int) -> Iterator[Contents | ValueError]:
    if workers == 1:
        yield from map(_attempt, jobs)
        return
    # spawned, not forked: a process that has run a numba kernel must not fork
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        yield from pool.map(_attempt, jobs)


def _attempt(job: tuple[Path, Layout, Path]) -> Contents | ValueError:
    try:
        return index_bag(*job)
    except ValueError as error:
        return error


def _state(version: str, layout: Layout) -> dict[str, Any]:
    """What a cache file must agree on to hold good."""
    return {'format': FORMAT, 'version': version, 'layout': asdict(layout)}


def _save(path: Path, state: dict[str, Any], contents: Contents) -> None:
    arrays: dict[str, Any] = {}

    def stream(name: str, of: Stream) -> dict[str, str]:
        arrays[name] = np.stack([of.stamps, of.logged])
        return {'topic': of.topic, 'kind': of.kind, 'frame': of.frame}

    about = {
        'state': state,
        'file': contents.file,
        'cameras': [
            {
                'name': name,
                'images': stream(f'camera{index}', camera.images),
                'calibrations': [asdict(calibration) for calibration in camera.calibrations],
                'since': camera.since,
            }
            for index, (name, camera) in enumerate(contents.cameras.items())
        ],
        'cloud': stream('cloud', contents.cloud) if contents.cloud else None,
        'links': [
            {'child': child, 'parent': link.parent, 'static': link.static}
            for child, link in contents.transforms.links.items()
        ],
        'keyframes': [asdict(keyframe) for keyframe in contents.keyframes],
        'skipped': [[*key, count] for key, count in contents.skipped.items()],
    }
    for index, link in enumerate(contents.transforms.links.values()):
        arrays[f'link{index}/stamps'], arrays[f'link{index}/poses'] = link.stamps, link.poses
    aside = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with aside.open('wb') as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _load(path: Path, state: dict[str, Any]) -> Contents | None:
    """The contents, or nothing where they are not there, of another state or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file['about']))
            if about['state'] != state:
                return None
            return _contents(about, file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, LookupError, TypeError, zipfile.BadZipFile) as error:
        log.warning('%s is not readable (%s): the bag is scanned again', path, error)
        return None


def _contents(about: dict[str, Any], arrays: Any) -> Contents:
    def stream(name: str, of: dict[str, str]) -> Stream:
        stamps, logged = arrays[name]
        return Stream(of['topic'], of['kind'], of['frame'], stamps, logged)

    cameras = {
        camera['name']: Camera(
            stream(f'camera{index}', camera['images']),
            tuple(_calibration(calibration) for calibration in camera['calibrations']),
            tuple(camera['since']),
        )
        for index, camera in enumerate(about['cameras'])
    }
    links = {
        link['child']: Link(
            link['parent'], link['static'],
            arrays[f'link{index}/stamps'], arrays[f'link{index}/poses'],
        )
        for index, link in enumerate(about['links'])
    }  # fmt: skip
    return Contents(
        about['state']['version'],
        about['file'],
        cameras,
        stream('cloud', about['cloud']) if about['cloud'] else None,
        TransformTree(links),
        tuple(Keyframe(**keyframe) for keyframe in about['keyframes']),
        Counter({(topic, reason): count for topic, reason, count in about['skipped']}),
    )


def _calibration(about: dict[str, Any]) -> Calibration:
    # JSON has no tuples, and a calibration must be hashable
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in about.items()
    }
    return Calibration(**plain)
