"""Frames for training, held in memory at the network's size, drawn by position and seed alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import resize_images
from gausstr_training.bags.sampler import drawn
from gausstr_training.compact.batch import Batch
from gausstr_training.processes.read_ahead import ReadAhead
from gausstr_training.streets.reader import Street, StreetFrame, find_streets, read_street

MAX_CLASS_WEIGHT = 6.0
GOLDEN = 0.6180339887498949  # its multiples fill the unit interval evenly


class FrameStore:
    """All frames of some streets, images and 2D targets only: no voxel truth is ever read.

    Few large tensors, which worker processes share.

    Args:
        folders: streets, or folders of streets.
        height, width: of the images, pixels.
        workers: processes that read; 0: this one does.

    Raises:
        ValueError: no street is found in the folders, or a street cannot be read.
    """

    def __init__(self, folders: Sequence[Path], height: int, width: int, workers: int = 0) -> None:
        streets = [read_street(folder) for folder in find_streets(list(folders))]
        self.seeds = [street.seed for street in streets]
        reader = _ResizedFrames(streets, height, width)
        self._read(reader, reader.streets, workers, 'reading streets')

    def _read(
        self,
        reader: Dataset[tuple[Batch, Tensor]],
        drives: Sequence[int],
        workers: int,
        title: str,
    ) -> None:
        """Take in all frames; `drives` says which street or bag each is of."""
        count = len(drives)
        with closing(ReadAhead(reader, workers)) as ahead:
            for index in tqdm(range(count), desc=title, unit='frame', leave=False):
                batch, odom_from_ego = ahead.at(index)
                if index == 0:
                    self._start(count, batch)
                self._keep(index, batch, odom_from_ego)
        self._drives = list(drives)
        self._chosen = list(range(count))

    def _start(self, count: int, first: Batch) -> None:
        """Room for `count` frames such as the first."""
        cameras, height, width = first.depth.shape
        self._rig = first.rig
        self._images = torch.empty(count, cameras, height, width, 3, dtype=torch.uint8)
        # half, as the files have it
        self._depth = torch.empty(count, cameras, height, width, dtype=torch.float16)
        self._semantics = torch.empty(count, cameras, height, width, dtype=torch.uint8)
        self._intrinsics = torch.empty(count, cameras, 3, 3)
        self._poses = torch.empty(count, cameras, 4, 4)
        self._egos = torch.empty(count, 4, 4, dtype=torch.float64)
        self._likely: Tensor | None = None
        if first.likely is not None:
            self._likely = torch.empty(count, *first.likely.shape, dtype=torch.uint8)

    def _keep(self, index: int, batch: Batch, odom_from_ego: Tensor) -> None:
        self._images[index] = batch.images
        self._depth[index] = batch.depth
        self._semantics[index] = batch.semantics
        self._intrinsics[index] = batch.rig.intrinsics
        self._poses[index] = batch.rig.ego_from_camera
        self._egos[index] = odom_from_ego
        if self._likely is not None and batch.likely is not None:
            self._likely[index] = batch.likely

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Batch:
        """The whole rig of one frame."""
        return self._cut(self._chosen[index], slice(None))

    def part(self, first: float, past: float) -> FrameStore:
        """The frames between two shares of the whole, of every folder as many.

        Each frame has a place in 0..1 by its number alone, spread evenly by the golden ratio: a
        part of streets from several folders holds some of each.

        Raises:
            ValueError: there are too few streets for one of them to fall in this part.
        """
        part = copy.copy(self)
        part._chosen = [i for i in self._chosen if first <= i * GOLDEN % 1 < past]
        if not part._chosen:
            raise ValueError(
                f'expected more streets: the part from {first:.0%} to {past:.0%} of '
                f'{len(self)} frames holds none'
            )
        return part

    def frame(self, position: int, seed: int) -> Batch:
        """The whole rig of one frame; every epoch visits each frame once, in its own order."""
        return self[drawn(position, seed, len(self))]

    def neighbours(self, position: int, seed: int) -> tuple[Batch, ...]:
        """The frames of the street before and after `frame`, in the ego frame of that one."""
        index = self._chosen[drawn(position, seed, len(self))]
        near = []
        for other in (index - 1, index + 1):
            if 0 <= other < len(self._drives) and self._drives[other] == self._drives[index]:
                batch = self._cut(other, slice(None))
                moved = torch.linalg.inv(self._egos[index]) @ self._egos[other]
                poses = (moved @ batch.rig.ego_from_camera.double()).float()
                near.append(replace(batch, rig=replace(batch.rig, ego_from_camera=poses)))
        return tuple(near)

    def view(self, position: int, seed: int) -> Batch:
        """One camera; epochs over all cameras of all frames."""
        cameras = len(self._rig)
        frame, camera = divmod(drawn(position, seed, len(self) * cameras), cameras)
        return self._cut(self._chosen[frame], slice(camera, camera + 1))

    def class_weights(self, classes: int) -> Tensor:
        """[classes] see `weights_of`."""
        return weights_of(self.class_shares(classes))

    def class_shares(self, classes: int) -> Tensor:
        """[classes] of the pixels; sums to one."""
        counts = torch.zeros(classes)
        for index in self._chosen:
            thinned = self._semantics[index, :, ::4, ::4].flatten()
            counts += torch.bincount(thinned.long(), minlength=classes)
        return counts / counts.sum()

    def _cut(self, index: int, cameras: slice) -> Batch:
        rig = CameraRig(
            self._rig.names[cameras],
            self._intrinsics[index, cameras],
            self._poses[index, cameras],
            self._rig.image_sizes[cameras],
        )
        depth = self._depth[index, cameras].float()
        likely = None if self._likely is None else self._likely[index, cameras]
        semantics = self._semantics[index, cameras]
        return Batch(self._images[index, cameras], depth, semantics, rig, likely)


class Store(Protocol):
    """What the stages draw from: a `FrameStore`, or several mixed."""

    def __len__(self) -> int:
        """How many frames there are."""
        ...

    def part(self, first: float, past: float) -> Store:
        """See `FrameStore.part`, as all that follow."""
        ...

    def frame(self, position: int, seed: int) -> Batch:
        """A whole rig."""
        ...

    def neighbours(self, position: int, seed: int) -> tuple[Batch, ...]:
        """The frames before and after it."""
        ...

    def view(self, position: int, seed: int) -> Batch:
        """One camera."""
        ...

    def class_weights(self, classes: int) -> Tensor:
        """How much a pixel of each class counts."""
        ...


def weights_of(shares: Tensor) -> Tensor:
    """[classes] by the inverse root of each class's share of the pixels, mean share 1."""
    share = shares.clamp_min(1e-6)
    weights = share.rsqrt()
    return (weights / (weights * share).sum()).clamp_max(MAX_CLASS_WEIGHT)


class _ResizedFrames(Dataset[tuple[Batch, Tensor]]):
    """The frames of all streets, read and resized, with odom_from_ego [4, 4]."""

    def __init__(self, streets: Sequence[Street], height: int, width: int) -> None:
        self._size = height, width
        self._places = [(street, i) for street in streets for i in range(len(street))]
        self.streets = [n for n, street in enumerate(streets) for _ in range(len(street))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Batch, Tensor]:
        street, frame = self._places[index]
        found = street[frame]
        return _at_size(found, *self._size), torch.from_numpy(found.odom_from_ego)


def _at_size(frame: StreetFrame, height: int, width: int) -> Batch:
    images = resize_images([torch.from_numpy(image) for image in frame.images], height, width)
    old_height, old_width = frame.rig.image_sizes[0]
    rows = ((np.arange(height) + 0.5) * old_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * old_width / width).astype(int)
    # nearest: neither depth nor classes may be averaged across an edge
    depth = frame.depth[:, rows][:, :, columns]
    semantics = frame.semantics[:, rows][:, :, columns]
    return Batch(
        images,
        torch.from_numpy(np.ascontiguousarray(depth)).half(),
        torch.from_numpy(np.ascontiguousarray(semantics)),
        frame.rig.resized(height, width),
    )
