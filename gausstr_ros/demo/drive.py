"""A synthetic drive as the demo needs it: the images that were played, and the truth beside."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import Bag
from gausstr_core.camera.images import rgb_image
from gausstr_core.process.reasons import reason
from gausstr_ros.demo.bag_player import header_stamp

FREE = 17  # in the truth: nothing is there
_NEEDED = ('image_stamps', 'camera_names', 'voxels', 'camera_mask')


@dataclass(frozen=True)
class TrueFrame:
    """The truth of one set of images."""

    stamp: int  # nanoseconds: the newest of its images, which the outputs carry
    image_stamps: dict[str, int]  # per camera
    labels: NDArray[np.int16]  # [X, Y, Z] index into `Drive.classes`, -1 free
    camera_mask: NDArray[np.bool_]  # [X, Y, Z] seen by a camera


@dataclass(frozen=True)
class Drive:
    """A folder written by gausstr-synthesize.

    Raises:
        ValueError: a file is missing or not what gausstr-synthesize writes.
    """

    folder: Path
    seed: int
    classes: tuple[str, ...]
    cameras: tuple[str, ...]
    frames: tuple[TrueFrame, ...]

    @classmethod
    def read(cls, folder: Path) -> Drive:
        """Read street.json and the truth."""
        if not folder.is_dir():
            raise ValueError(f'expected the folder of a drive, there is none at {folder}')
        street = _read_description(folder / 'street.json')
        frames = tuple(_read_frame(path) for path in sorted((folder / 'truth').glob('*.npz')))
        if len(frames) < 4:
            raise ValueError(f'{folder}: expected at least 4 frames, got {len(frames)}')
        return cls(
            folder, street['seed'], tuple(street['classes']), tuple(street['cameras']), frames
        )

    @property
    def bag(self) -> Path:
        """The bag to play."""
        return self.folder / 'bag'

    def images(self) -> dict[tuple[str, int], NDArray[np.uint8]]:
        """RGB images [H, W, 3] by camera and stamp."""
        topics = {f'/{camera}/image_raw/compressed': camera for camera in self.cameras}
        found = {}
        with Bag(self.bag) as bag:
            for message in bag.messages(topics):
                key = topics[message.topic], header_stamp(message.raw)
                found[key] = rgb_image(decode(message))
        return found


def _read_description(path: Path) -> dict[str, Any]:
    """street.json, as far as a drive needs it."""
    if not path.is_file():
        above = path.absolute().parent.parent
        hint = f'; did you mean {above}?' if (above / path.name).is_file() else ''
        raise ValueError(
            f'{path.parent} is no drive of gausstr-synthesize: {path.name} is missing{hint}'
        )
    try:
        street = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} is not readable JSON: {reason(error)}') from None
    for key, kind in (('seed', int), ('classes', list), ('cameras', list)):
        found = street.get(key) if isinstance(street, dict) else None
        if not isinstance(found, kind):
            raise ValueError(f'{path}: expected {key} of type {kind.__name__}, got {found!r:.40}')
    return street


def _read_frame(path: Path) -> TrueFrame:
    try:
        with np.load(path, allow_pickle=False) as truth:
            arrays = {name: truth[name] for name in truth.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is not a readable truth file: {reason(error)}') from None
    lacking = [name for name in _NEEDED if name not in arrays]
    if lacking:
        without = ': it was made with --no-voxels' if 'voxels' in lacking else ''
        raise ValueError(f'{path} has no {", ".join(lacking)}{without}')
    stamps, voxels = arrays['image_stamps'], arrays['voxels'].astype(np.int16)
    return TrueFrame(
        int(stamps.max()),
        dict(zip(arrays['camera_names'].tolist(), stamps.tolist(), strict=True)),
        np.where(voxels == FREE, np.int16(-1), voxels),
        arrays['camera_mask'],
    )
