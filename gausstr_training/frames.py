"""Frames for training, held in memory at the network's size, drawn by step and seed alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gausstr_core.foundation.interface import resize_images
from gausstr_core.rig import CameraRig
from gausstr_training.bags.sampler import drawn
from gausstr_training.streets.reader import StreetFrame, find_streets, read_street

MAX_CLASS_WEIGHT = 6.0
GOLDEN = 0.6180339887498949  # its multiples fill the unit interval evenly


@dataclass(frozen=True)
class Batch:
    """N views: whole rigs of six, or single cameras of many streets."""

    images: Tensor  # [N, H, W, 3] uint8 RGB
    depth: Tensor  # [N, H, W] metres, 0 where there is none (sky)
    semantics: Tensor  # [N, H, W] uint8 class index; what the teacher reads, never a 3D label
    rig: CameraRig


class FrameStore:
    """All frames of some streets, images and 2D targets only: no voxel truth is ever read.

    Raises:
        ValueError: no street is found in the folders, or a street cannot be read.
    """

    def __init__(self, folders: list[Path], height: int, width: int) -> None:
        streets = find_streets(folders)
        self.frames: list[Batch] = []
        self.seeds: list[int] = []
        for folder in tqdm(streets, desc='reading streets', unit='street', leave=False):
            street = read_street(folder)
            self.seeds.append(street.seed)
            self.frames += [_at_size(street[i], height, width) for i in range(len(street))]

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, first: float, past: float) -> FrameStore:
        """The frames between two shares of the whole, of every folder as many.

        Each frame has a place in 0..1 by its number alone, spread evenly by the golden ratio: a
        part of streets from several folders holds some of each.

        Raises:
            ValueError: there are too few streets for one of them to fall in this part.
        """
        places = [index * GOLDEN % 1 for index in range(len(self.frames))]
        chosen = copy.copy(self)
        chosen.frames = [
            frame
            for frame, place in zip(self.frames, places, strict=True)
            if first <= place < past
        ]
        if not chosen.frames:
            raise ValueError(
                f'expected more streets: the part from {first:.0%} to {past:.0%} of '
                f'{len(self.frames)} frames holds none'
            )
        return chosen

    def frame(self, step: int, seed: int) -> Batch:
        """The whole rig of one frame; every epoch visits each frame once, in its own order."""
        return _usable(self.frames[drawn(step, seed, len(self.frames))])

    def views(self, step: int, count: int, seed: int) -> Batch:
        """`count` cameras of different frames; epochs over all cameras of all frames."""
        cameras = len(self.frames[0].rig)
        picks = [
            divmod(drawn(step * count + i, seed, len(self.frames) * cameras), cameras)
            for i in range(count)
        ]
        chosen = [pick_camera(self.frames[frame], camera) for frame, camera in picks]
        return _usable(join(chosen))


def _usable(batch: Batch) -> Batch:
    return replace(batch, depth=batch.depth.float())


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
        torch.from_numpy(np.ascontiguousarray(depth)).half(),  # as the files have it
        torch.from_numpy(np.ascontiguousarray(semantics)),
        frame.rig.resized(height, width),
    )


def pick_camera(batch: Batch, index: int) -> Batch:
    """One camera of a batch, as a batch of one."""
    one = slice(index, index + 1)
    name = batch.rig.names[index]
    return Batch(
        batch.images[one], batch.depth[one], batch.semantics[one], batch.rig.select((name,))
    )


def join(batches: list[Batch]) -> Batch:
    """Put views of several batches into one; names are numbered, as cameras may repeat."""
    rigs = [batch.rig for batch in batches]
    names = [f'{i}/{name}' for i, rig in enumerate(rigs) for name in rig.names]
    rig = CameraRig(
        tuple(names),
        torch.cat([rig.intrinsics for rig in rigs]),
        torch.cat([rig.ego_from_camera for rig in rigs]),
        tuple(size for rig in rigs for size in rig.image_sizes),
    )
    return Batch(
        torch.cat([batch.images for batch in batches]),
        torch.cat([batch.depth for batch in batches]),
        torch.cat([batch.semantics for batch in batches]),
        rig,
    )


def balanced_weights(store: FrameStore, classes: int) -> Tensor:
    """Weights [classes] by the inverse root of each class's share of the pixels, mean share 1."""
    counts = torch.zeros(classes)
    for frame in store.frames:
        counts += torch.bincount(frame.semantics[:, ::4, ::4].flatten().long(), minlength=classes)
    share = (counts / counts.sum()).clamp_min(1e-6)
    weights = share.rsqrt()
    return (weights / (weights * share).sum()).clamp_max(MAX_CLASS_WEIGHT)
