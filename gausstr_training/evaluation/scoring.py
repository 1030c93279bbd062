"""Streets through the contest, counted with the camera mask and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels import label
from gausstr_training.evaluation.methods import Contest, threshold_of
from gausstr_training.evaluation.reliability import Reliability, TemperatureFit
from gausstr_training.evaluation.road import RoadThickness
from gausstr_training.evaluation.tally import Guess, Tally
from gausstr_training.streets.grids import listed
from gausstr_training.streets.reader import Street, StreetFrame, find_streets, read_street


@dataclass(frozen=True)
class StreetSet:
    """Folders of streets and their seeds."""

    folders: tuple[Path, ...]
    seeds: tuple[int, ...]
    lengths: tuple[int, ...]  # frames of each
    resolution: float | None = None  # metres, of the truth; None: the usual

    @classmethod
    def find(
        cls, folders: Sequence[Path], limit: int | None = None, resolution: float | None = None
    ) -> StreetSet:
        """Find the streets in folders, at most `limit` of them, with truth of a resolution.

        Raises:
            ValueError: there is none, or one cannot be read or has no such voxel truth.
        """
        found = tuple(find_streets(list(folders))[:limit])
        streets = [read_street(folder, resolution) for folder in found]
        flat = [street for street in streets if street.resolution is None]
        if flat:
            at = listed(flat[0].resolutions)
            why = f'it has it at {at}' if flat[0].voxels else 'it was synthesised with --no-voxels'
            raise ValueError(
                f'{flat[0].folder} has no voxel truth to score with: {why}, as were {len(flat)} '
                f'of these {len(streets)} streets'
            )
        seeds, lengths = tuple(s.seed for s in streets), tuple(len(s) for s in streets)
        return cls(found, seeds, lengths, resolution)

    def names(self) -> list[str]:
        """The names of all frames, in order."""
        return [
            frame_name(seed, index)
            for seed, length in zip(self.seeds, self.lengths, strict=True)
            for index in range(length)
        ]

    def frames(self) -> Iterator[StreetFrame]:
        """All frames with their truth, one street in memory at a time."""
        for *_, frame in self.named_frames():
            yield frame

    def named_frames(self) -> Iterator[tuple[str, Street, StreetFrame]]:
        """As `frames`, each with its name and its street."""
        for folder in tqdm(self.folders, desc='streets', unit='street'):
            street = read_street(folder, self.resolution)
            for index in range(len(street)):
                yield frame_name(street.seed, index), street, street[index]


def frame_name(seed: int, index: int) -> str:
    """What a frame is called, wherever its street lies."""
    return f'street_{seed:06d}/{index:06d}'


@dataclass(frozen=True)
class Tallies:
    """Counts per method (and per vocabulary never seen)."""

    masked: dict[str, Tally]
    told: dict[str, Tally]  # of the masked voxels those that the source of depth tells of
    unmasked: dict[str, Tally]
    frames: int
    temperatures: TemperatureFit  # of the Gaussians, camera mask; empty where one was given
    reliability: Reliability | None  # of the same; None where no temperature was given
    roads: dict[str, RoadThickness]  # of METHODS


def tally(
    contest: Contest,
    streets: StreetSet,
    thresholds: Mapping[str, Sequence[float]],
    temperature: float | None = None,
    watch: Callable[[str, StreetFrame, Guess], None] | None = None,
    heldout: bool = True,
) -> Tallies:
    """Run every method on every frame and count at the thresholds of each.

    With a temperature, and one threshold for the Gaussians, also how reliable confidence is;
    without one, which temperature would be best.
    `watch` is called with each frame, its name, and what the Gaussians say about it; `heldout`
    asks also with words never seen.

    Raises:
        ValueError: a street has no voxel truth, or truth on another grid.
    """
    masked: dict[str, Tally] = {}
    told: dict[str, Tally] = {}
    unmasked: dict[str, Tally] = {}
    frames, fit = 0, TemperatureFit()
    reliability = None if temperature is None else Reliability()
    grid = contest.pipeline.grid
    roads = {name: RoadThickness(grid, levels) for name, levels in thresholds.items()}
    for called, street, frame in streets.named_frames():
        if frame.voxels is None or frame.camera_mask is None:
            raise ValueError(f'{called}: expected voxels and camera_mask in its truth, found none')
        device = contest.pipeline.device
        truth = torch.from_numpy(frame.voxels).to(device)
        mask = torch.from_numpy(frame.camera_mask).to(device)
        known = contest.sensing.told_of(street, frame, grid)
        places = (
            (masked, mask),
            (told, mask if known is None else mask & known.to(device)),
            (unmasked, torch.ones_like(mask)),
        )
        for name, guess in contest.guesses(contest.encode(street, frame), heldout).items():
            for counts, where in places:
                if name not in counts:
                    counts[name] = Tally(thresholds[threshold_of(name)])
                counts[name].add(guess, truth, where)
            if name in roads:
                roads[name].add(guess, truth, mask)
            if name == 'gaussians' and guess.classes is not None:
                if temperature is None:
                    fit.add(guess.density, guess.classes, truth.long(), mask)
                elif reliability is not None:
                    level = thresholds['gaussians'][0]
                    measure(reliability, guess, truth, mask, level, temperature)
                if watch is not None:
                    watch(called, frame, guess)
        frames += 1
    return Tallies(masked, told, unmasked, frames, fit, reliability, roads)


def measure(
    reliability: Reliability,
    guess: Guess,
    truth: torch.Tensor,
    mask: torch.Tensor,
    threshold: float,
    temperature: float,
) -> None:
    """Count the confidence of the voxels [X, Y, Z] that the pipeline would publish as occupied."""
    assert guess.classes is not None
    # only labels and confidence are read, which do not depend on where the grid lies
    cells = truth.shape
    grid = VoxelGrid((0.0, 0.0, 0.0), (float(cells[0]), float(cells[1]), float(cells[2])), 1.0)
    said = label(guess.density, guess.classes, mask, grid, threshold, temperature)
    counted = (said.labels >= 0) & mask
    reliability.add(said.confidence[counted], said.labels[counted] == truth.long()[counted])
