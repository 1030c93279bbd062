"""Reads a street folder back: images from the bag, truth from the npz files, no ROS needed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import DESCRIPTION
from gausstr_core.camera.images import rgb_image
from gausstr_core.camera.rig import CameraRig
from gausstr_core.process.reasons import reason
from gausstr_training.bags.messages import BASE_FRAME, TF, image_topic
from gausstr_training.bags.poses import matrices_of, pose_of
from gausstr_training.bags.reading import read_contents
from gausstr_training.bags.storage import read_span, version_of
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.drive_settings import FORMAT, DriveSettings

FILE = 'bag.mcap'  # all of the bag: opens in a fraction of the time that its YAML takes
_NEEDED = {
    'stamp': (), 'image_stamps': (6,), 'camera_names': (6,), 'intrinsics': (6, 3, 3),
    'ego_from_camera': (6, 4, 4),
}  # fmt: skip
_KEYS = ('format', 'seed', 'frames', 'width', 'height', 'voxels', 'classes')


@dataclass(frozen=True)
class StreetFrame:
    """One cycle: what the six cameras saw, and the truth."""

    stamp: int  # ns; the instant of the ego frame that everything is in
    image_stamps: np.ndarray  # [6] int64 ns
    images: np.ndarray  # [6, H, W, 3] uint8 RGB
    rig: CameraRig  # cameras at their own stamps, in the ego frame at `stamp`; float32
    odom_from_ego: np.ndarray  # [4, 4] at `stamp`, metres
    depth: np.ndarray  # [6, H, W] float32 z-depth in metres, 0 = sky
    semantics: np.ndarray  # [6, H, W] uint8 index into CLASSES
    voxels: np.ndarray | None  # [200, 200, 16] uint8 class, 17 = free
    camera_mask: np.ndarray | None  # [200, 200, 16] bool


@dataclass(frozen=True)
class Street:
    """A street folder; frames are read when asked for."""

    folder: Path
    seed: int
    frames: int
    size: tuple[int, int]  # (height, width)
    version: str  # `version_of` the bag
    voxels: bool  # whether it has voxel truth

    @property
    def bag(self) -> Path:
        """The folder of the bag."""
        return self.folder / 'bag'

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> StreetFrame:
        """Read one frame.

        Raises:
            IndexError: there is no such frame.
            ValueError: a file is missing or corrupt; the message names it.
        """
        if not 0 <= index < self.frames:
            raise IndexError(f'{self.folder} has {self.frames} frames, got index {index}')
        path = self.folder / 'truth' / f'{index:06d}.npz'
        arrays = _load_truth(path, self.size)
        names = tuple(str(name) for name in arrays['camera_names'])
        rig = CameraRig(
            names,
            torch.from_numpy(arrays['intrinsics']).float(),
            torch.from_numpy(arrays['ego_from_camera']).float(),
            (self.size,) * len(names),
        )
        stamps = dict(zip(names, arrays['image_stamps'].tolist(), strict=True))
        return StreetFrame(
            stamp=int(arrays['stamp']),
            image_stamps=arrays['image_stamps'],
            images=self._images(stamps),
            rig=rig,
            odom_from_ego=self._ego_pose(int(arrays['stamp'])),
            depth=arrays['depth'].astype(np.float32),
            semantics=arrays['semantics'],
            voxels=arrays.get('voxels'),
            camera_mask=arrays.get('camera_mask'),
        )

    def _images(self, stamps: dict[str, int]) -> np.ndarray:
        """RGB [cameras, H, W, 3] by camera and stamp; a street logs a message at its stamp."""
        wanted = {(image_topic(camera), stamp): stamp for camera, stamp in stamps.items()}
        images = []
        for (topic, stamp), content in read_contents(self.bag, FILE, self.version, wanted).items():
            try:
                image = rgb_image(content)
                if image.shape[:2] != self.size:
                    got = f'{image.shape[1]}x{image.shape[0]}'
                    raise ValueError(f'expected {self.size[1]}x{self.size[0]} (WxH), got {got}')
            except ValueError as error:
                raise ValueError(f'{self.bag}: {topic} at {stamp}: {error}') from error
            images.append(image)
        return np.stack(images)

    def _ego_pose(self, stamp: int) -> np.ndarray:
        """odom_from_ego [4, 4] at a stamp for which the bag has it."""
        for message in read_span(self.bag, FILE, self.version, [TF], stamp, stamp):
            for item in decode(message).transforms:
                if item.child_frame_id == BASE_FRAME:
                    return matrices_of(np.array([pose_of(item.transform)]))[0]
        raise ValueError(f'{self.bag}: no ego pose on {TF} at stamp {stamp}')


def read_street(folder: Path | str) -> Street:
    """Open a street folder that `gausstr-synthesize` wrote.

    Raises:
        ValueError: street.json is missing or corrupt, of another format or other classes, or a
            file of the street is missing; the message names it.
    """
    folder = Path(folder)
    about = _load_description(folder / 'street.json')
    for frame in range(about['frames']):
        path = folder / 'truth' / f'{frame:06d}.npz'
        if not path.is_file():
            raise ValueError(f'{path} is missing; street.json names {about["frames"]} frames')
    bag = folder / 'bag'
    if not (bag / DESCRIPTION).is_file():
        raise ValueError(f'{bag / DESCRIPTION} is missing')
    size = about['height'], about['width']
    voxels = bool(about['voxels'])
    return Street(folder, about['seed'], about['frames'], size, version_of(bag), voxels)


def find_streets(folders: Sequence[Path]) -> list[Path]:
    """The street folders among `folders` and directly inside them, in the order of their names.

    Raises:
        ValueError: a folder neither is a street nor holds one.
    """
    found: list[Path] = []
    for folder in folders:
        if (folder / 'street.json').is_file():
            found.append(folder)
            continue
        inside = sorted(path.parent for path in folder.glob('[!.]*/street.json'))
        if not inside:
            raise ValueError(f'{folder}: expected a street (with a street.json) or streets in it')
        found += inside
    return found


def check_street(folder: Path, settings: DriveSettings) -> None:
    """Accept a complete street made with these settings.

    Raises:
        ValueError: it is broken or was made with other settings; the message names the file.
    """
    read_street(folder)
    about = _load_description(folder / 'street.json')
    found = {'randomise': False, 'style': '', **about}
    for name in ('seed', 'frames', 'width', 'height', 'voxels', 'randomise', 'style'):
        if found[name] != getattr(settings, name):
            raise ValueError(
                f'{folder / "street.json"}: expected {name} {getattr(settings, name)}, '
                f'got {found[name]}'
            )


def _load_description(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding='utf-8-sig'))
    except FileNotFoundError:
        raise ValueError(f'{path} is missing: {path.parent} is not a complete street') from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not readable JSON: {error}') from None
    missing = [key for key in _KEYS if not isinstance(about, dict) or key not in about]
    if missing:
        raise ValueError(f'{path} lacks {", ".join(missing)}')
    if about['format'] != FORMAT:
        raise ValueError(f'{path}: expected format {FORMAT}, got {about["format"]}')
    if tuple(about['classes']) != CLASSES:
        raise ValueError(f'{path}: expected classes {list(CLASSES)}, got {about["classes"]}')
    return about


def _load_truth(path: Path, size: tuple[int, int]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ValueError(f'{path} is missing') from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is not a readable truth file: {reason(error)}') from None
    needed = {**_NEEDED, 'depth': (6, *size), 'semantics': (6, *size)}
    if 'voxels' in arrays:
        needed |= {'voxels': (200, 200, 16), 'camera_mask': (200, 200, 16)}
    for name, shape in needed.items():
        got = arrays[name].shape if name in arrays else 'nothing'
        if got != shape:
            raise ValueError(f'{path}: {name} must have shape {shape}, got {got}')
    return arrays
