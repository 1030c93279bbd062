"""Streets through the contest, counted with the camera mask and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from gausstr_training.evaluation.methods import Contest, threshold_of
from gausstr_training.evaluation.tally import Tally
from gausstr_training.streets.reader import StreetFrame, find_streets, read_street


@dataclass(frozen=True)
class StreetSet:
    """Folders of streets and their seeds."""

    folders: tuple[Path, ...]
    seeds: tuple[int, ...]

    @classmethod
    def find(cls, folders: Sequence[Path], limit: int | None = None) -> StreetSet:
        """Find the streets in folders, at most `limit` of them.

        Raises:
            ValueError: there is none, or one cannot be read.
        """
        found = tuple(find_streets(list(folders))[:limit])
        return cls(found, tuple(read_street(folder).seed for folder in found))

    def frames(self) -> Iterator[StreetFrame]:
        """All frames with their truth, one street in memory at a time."""
        for folder in tqdm(self.folders, desc='streets', unit='street'):
            street = read_street(folder)
            for index in range(len(street)):
                yield street[index]


@dataclass(frozen=True)
class Tallies:
    """Counts per method (and per vocabulary never seen)."""

    masked: dict[str, Tally]
    unmasked: dict[str, Tally]
    frames: int


def tally(
    contest: Contest, streets: StreetSet, thresholds: Mapping[str, Sequence[float]]
) -> Tallies:
    """Run every method on every frame and count at the thresholds of each.

    Raises:
        ValueError: a street has no voxel truth, or truth on another grid.
    """
    masked: dict[str, Tally] = {}
    unmasked: dict[str, Tally] = {}
    frames = 0
    for frame in streets.frames():
        if frame.voxels is None or frame.camera_mask is None:
            raise ValueError('a street was synthesised with --no-voxels: it has no 3D truth')
        truth, mask = torch.from_numpy(frame.voxels), torch.from_numpy(frame.camera_mask)
        everywhere = torch.ones_like(mask)
        for name, guess in contest.guesses(list(frame.images), frame.rig).items():
            for counts, where in ((masked, mask), (unmasked, everywhere)):
                if name not in counts:
                    counts[name] = Tally(thresholds[threshold_of(name)])
                counts[name].add(guess, truth, where)
        frames += 1
    return Tallies(masked, unmasked, frames)
