"""A synthetic drive as the demo needs it: the images that were played, and the truth beside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import Bag
from gausstr_core.camera.images import rgb_image
from gausstr_ros.demo.bag_player import header_stamp

FREE = 17  # in the truth: nothing is there


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
        try:
            street = json.loads((folder / 'street.json').read_text())
            files = sorted((folder / 'truth').glob('*.npz'))
            frames = tuple(_read_frame(path) for path in files)
            names = tuple(street['classes']), tuple(street['cameras'])
            drive = cls(folder, int(street['seed']), *names, frames)
        except (OSError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f'{folder} is not a drive with its truth: {error!r}') from error
        if len(frames) < 4:
            raise ValueError(f'{folder}: expected at least 4 frames, got {len(frames)}')
        return drive

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


def _read_frame(path: Path) -> TrueFrame:
    with np.load(path, allow_pickle=False) as truth:
        stamps = truth['image_stamps']
        voxels = truth['voxels'].astype(np.int16)
        return TrueFrame(
            int(stamps.max()),
            dict(zip(truth['camera_names'].tolist(), stamps.tolist(), strict=True)),
            np.where(voxels == FREE, np.int16(-1), voxels),
            truth['camera_mask'],
        )
