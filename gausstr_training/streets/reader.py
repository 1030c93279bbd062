"""Reads a street folder back: images from the bag, truth from the npz files, no ROS needed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import DESCRIPTION
from gausstr_core.camera.images import rgb_image
from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.process.reasons import reason
from gausstr_training.bags.messages import BASE_FRAME, TF, image_topic
from gausstr_training.bags.poses import matrices_of, pose_of
from gausstr_training.bags.reading import read_contents
from gausstr_training.bags.storage import read_span, version_of
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.drive_settings import FORMAT, DriveSettings
from gausstr_training.streets.grids import RESOLUTION, listed, moving_name, truth_grid, truth_names

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
    voxels: np.ndarray | None  # [X, Y, Z] uint8 class, 17 = free, on the grid of the street
    camera_mask: np.ndarray | None  # [X, Y, Z] bool
    moving: np.ndarray | None = None  # [X, Y, Z] bool, of drives that say what moves


@dataclass(frozen=True)
class Street:
    """A street folder; frames are read when asked for."""

    folder: Path
    settings: DriveSettings  # that it was made with
    version: str  # `version_of` the bag
    resolution: float | None  # of the truth that frames are read with; None: they have none

    @property
    def bag(self) -> Path:
        """The folder of the bag."""
        return self.folder / 'bag'

    @property
    def seed(self) -> int:
        """Of everything that was drawn."""
        return self.settings.seed

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.settings.frames

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.settings.height, self.settings.width

    @property
    def resolutions(self) -> tuple[float, ...]:
        """Metres, of its voxel truth; none without."""
        return self.settings.resolutions if self.settings.voxels else ()

    @property
    def voxels(self) -> bool:
        """Whether it has voxel truth."""
        return bool(self.resolutions)

    @property
    def grid(self) -> VoxelGrid | None:
        """Where the voxels of its frames lie; None where they have none."""
        return None if self.resolution is None else truth_grid(self.resolution)

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
        arrays = _load_truth(path, self.size, self.resolution, moving=self.settings.moving)
        voxels, mask = truth_names(self.resolution or RESOLUTION)
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
            voxels=arrays.get(voxels),
            camera_mask=arrays.get(mask),
            moving=arrays.get(moving_name(self.resolution or RESOLUTION)),
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


def read_street(folder: Path | str, resolution: float | None = None) -> Street:
    """Open a street folder that `gausstr-synthesize` wrote.

    Args:
        folder: of the street.
        resolution: metres, of the voxel truth to read; None: 0.4 where it has that, else none.

    Raises:
        ValueError: street.json is missing or corrupt, of another format or other classes, or a
            file of the street or truth of that resolution is missing; the message names it.
    """
    folder = Path(folder)
    settings = _load_settings(folder / 'street.json')
    for frame in range(settings.frames):
        path = folder / 'truth' / f'{frame:06d}.npz'
        if not path.is_file():
            raise ValueError(f'{path} is missing; street.json names {settings.frames} frames')
    bag = folder / 'bag'
    if not (bag / DESCRIPTION).is_file():
        raise ValueError(f'{bag / DESCRIPTION} is missing')
    street = Street(folder, settings, version_of(bag), resolution if settings.voxels else None)
    if resolution is not None and settings.voxels and resolution not in street.resolutions:
        raise ValueError(
            f'{folder} has no voxel truth at {resolution:g} m, only: '
            f'{listed(street.resolutions)}; gausstr-synthesize --resolution makes it'
        )
    if resolution is None and RESOLUTION in street.resolutions:
        return replace(street, resolution=RESOLUTION)
    return street


def _load_settings(path: Path) -> DriveSettings:
    about = _load_description(path)
    known = {
        field.name: about[field.name] for field in fields(DriveSettings) if field.name in about
    }
    try:
        return DriveSettings(**{**known, 'resolutions': _resolutions(about)})
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def _resolutions(about: dict[str, Any]) -> tuple[float, ...]:
    """Of the voxel truth; a street.json without them is of a street with the one at 0.4 m."""
    found = about.get('resolutions', [RESOLUTION])
    if not isinstance(found, list) or not all(isinstance(v, (int, float)) for v in found):
        raise ValueError(f'resolutions must be a list of metres, got {found!r}')
    return tuple(float(value) for value in found)


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
    found = _load_settings(folder / 'street.json')
    for field in fields(DriveSettings):
        wanted, got = getattr(settings, field.name), getattr(found, field.name)
        if field.name == 'resolutions':
            if not settings.voxels or got == wanted:
                continue
            wanted, got = listed(wanted), listed(got)
        if got != wanted:
            raise ValueError(
                f'{folder / "street.json"}: expected {field.name} {wanted}, got {got}'
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


def _load_truth(
    path: Path, size: tuple[int, int], resolution: float | None, *, moving: bool = False
) -> dict[str, np.ndarray]:
    """The arrays of one truth file, voxels at one resolution only: fine ones are large."""
    needed: dict[str, tuple[int, ...]] = {
        **_NEEDED, 'depth': (6, *size), 'semantics': (6, *size)
    }  # fmt: skip
    if resolution is not None:
        names = (*truth_names(resolution), *[moving_name(resolution)] * moving)
        needed |= dict.fromkeys(names, truth_grid(resolution).shape)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in needed if name in file.files}
    except FileNotFoundError:
        raise ValueError(f'{path} is missing') from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is not a readable truth file: {reason(error)}') from None
    for name, shape in needed.items():
        got = arrays[name].shape if name in arrays else 'nothing'
        if got != shape:
            raise ValueError(f'{path}: {name} must have shape {shape}, got {got}')
    return arrays
