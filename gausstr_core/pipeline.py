"""From images to labelled occupancy: one page of named steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import FoundationMaps, Gaussians, Occupancy, VoxelGrid
from gausstr_core.foundation.interface import resize_images
from gausstr_core.rig import CameraRig
from gausstr_core.transformer.build import GaussTR, build
from gausstr_core.transformer.reference_points import seat_points
from gausstr_core.visibility import observed_voxels
from gausstr_core.vocabulary import Vocabulary
from gausstr_core.voxels import label, voxelise
from gausstr_core.weights import load_weights, read_card, shipped_weights


@dataclass(frozen=True)
class PipelineSettings:
    """What turns Gaussians into a map."""

    occupied_threshold: float = 0.35  # density above which a voxel is occupied
    class_temperature: float = 1.0  # of the class probabilities in a voxel's confidence
    blur: float = 0.2  # metres added to every Gaussian: a voxel is a volume, not a point


@dataclass(frozen=True)
class Seen:
    """What the foundation network made of one cycle; the first half of `OccupancyPipeline.run`."""

    maps: FoundationMaps  # at network size
    known: Tensor | None  # bool [N, H, W] where depth was measured; None: the network's own depth
    rig: CameraRig  # at network size
    seconds: dict[str, float] = field(default_factory=dict)  # wall time per stage


@dataclass(frozen=True)
class OccupancyResult:
    """Everything one cycle produced, all at the same instant, in the ego frame."""

    occupancy: Occupancy
    gaussians: Gaussians  # those that are not sky
    probabilities: Tensor  # [G, K] of the K visible categories, rows sum to 1
    maps: FoundationMaps  # at network size
    rig: CameraRig  # at network size
    seconds: dict[str, float] = field(default_factory=dict)  # wall time per stage


class OccupancyPipeline:
    """Images + rig + vocabulary -> `OccupancyResult`. Holds weights, no state between cycles."""

    def __init__(
        self,
        model: GaussTR,
        device: str = 'cpu',
        grid: VoxelGrid | None = None,
        settings: PipelineSettings | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.model.foundation.optimise_for_inference()
        self.grid = grid or VoxelGrid()
        self.settings = settings or PipelineSettings()

    @classmethod
    def from_preset(
        cls,
        preset: str = 'compact',
        device: str = 'cpu',
        grid: VoxelGrid | None = None,
        weights: str | Path | None = None,
        settings: PipelineSettings | None = None,
    ) -> OccupancyPipeline:
        """Build a preset.

        Args:
            preset: a name in `transformer.build.PRESETS`.
            device: a torch device; never replaced by another one.
            grid: where to map; the Occ3D grid by default.
            weights: a file made by gausstr-train; None for the shipped one; 'untrained' for the
                seeded start, whose Gaussians are the surface-aligned ones.
            settings: None takes the threshold and temperature found on the validation streets,
                from the card.

        Raises:
            ValueError: unknown preset, unreadable or foreign weights, or a device that is absent.
        """
        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(f'device {device!r} was asked for, but torch sees no CUDA device')
        model = build(preset)
        if weights != 'untrained':
            path = Path(weights) if weights else shipped_weights(preset)
            load_weights(model, path, preset)
            settings = settings or settings_from_card(read_card(path))
        return cls(model, device, grid, settings)

    def run(
        self,
        images: Sequence[Tensor | np.ndarray],
        rig: CameraRig,
        vocabulary: Vocabulary,
        depth: Sequence[Tensor | np.ndarray] | None = None,
    ) -> OccupancyResult:
        """Map one cycle: `look`, then `map`.

        Args:
            images: uint8 RGB [H_i, W_i, 3], one per camera of the rig, in its order and sizes.
            rig: the cameras at the size of their images.
            vocabulary: the words.
            depth: measured z-depth in metres [H_i, W_i] instead of the network's; pixels that are
                not finite or <= 0 are unknown: no Gaussian starts there and nothing is seen there.

        Raises:
            ValueError: images, depth and rig do not fit together; the camera is named.
        """
        return self.map(self.look(images, rig, depth), vocabulary)

    @torch.inference_mode()
    def look(
        self,
        images: Sequence[Tensor | np.ndarray],
        rig: CameraRig,
        depth: Sequence[Tensor | np.ndarray] | None = None,
    ) -> Seen:
        """The half that knows no words and no 3D; arguments and errors as `run`."""
        clock = _Clock()
        check_images(images, rig)
        maps, small = self.see(images, rig)
        known = None
        if depth is not None:
            maps, known = self._measured(maps, depth, rig)
        clock.lap('foundation')
        return Seen(maps, known, small, clock.seconds)

    @torch.inference_mode()
    def map(self, seen: Seen, vocabulary: Vocabulary) -> OccupancyResult:
        """The other half; may run in another thread, beside the next cycle's `look`."""
        clock = _Clock()
        measured = seen.known is not None
        gaussians = self.model.transformer(seen.maps, seen.rig, measured=measured)
        if seen.known is not None:
            gaussians = gaussians.select(self._seats_at(seen.known, seen.rig))
        clock.lap('transformer')
        gaussians, probabilities = drop_sky(gaussians, vocabulary)
        clock.lap('vocabulary')
        density, classes = voxelise(gaussians, probabilities, self.grid, blur=self.settings.blur)
        clock.lap('voxels')
        depth = seen.maps.depth
        visible = depth if seen.known is None else torch.where(seen.known, depth, 0.0)
        observed = observed_voxels(visible, seen.rig, self.grid)
        clock.lap('visibility')
        threshold, temperature = self.settings.occupied_threshold, self.settings.class_temperature
        occupancy = label(density, classes, observed, self.grid, threshold, temperature)
        clock.lap('labelling')
        seconds = {**seen.seconds, **clock.seconds}
        return OccupancyResult(occupancy, gaussians, probabilities, seen.maps, seen.rig, seconds)

    @torch.inference_mode()
    def see(
        self, images: Sequence[Tensor | np.ndarray], rig: CameraRig
    ) -> tuple[FoundationMaps, CameraRig]:
        """The foundation maps, and the rig at the network's size."""
        height, width = self.model.foundation.input_size
        batch = resize_images([torch.as_tensor(image) for image in images], height, width)
        small = rig.resized(height, width).to(self.device)
        return self.model.foundation(batch.to(self.device), small), small

    def _measured(
        self, maps: FoundationMaps, depth: Sequence[Tensor | np.ndarray], rig: CameraRig
    ) -> tuple[FoundationMaps, Tensor]:
        """Put measured depth in place of the network's; also where it is known [N, H, W]."""
        if len(depth) != len(rig):
            raise ValueError(f'expected depth for {len(rig)} cameras, got {len(depth)}')
        height, width = self.model.foundation.input_size
        planes = []
        for image in depth:
            plane = torch.as_tensor(image, dtype=torch.float32)[None, None]
            # nearest: an average of near and far would be a surface that does not exist
            planes.append(torch.nn.functional.interpolate(plane, (height, width))[0, 0])
        measured = torch.stack(planes).to(self.device)
        known = torch.isfinite(measured) & (measured > 0)
        return FoundationMaps(maps.features, torch.where(known, measured, maps.depth)), known

    def _seats_at(self, known: Tensor, rig: CameraRig) -> Tensor:
        """Which Gaussians [G] started on a known pixel; the order is that of the transformer."""
        points, _ = seat_points(rig, self.model.transformer.lattice)
        height, width = known.shape[1:]
        size = points.new_tensor([width, height])
        pixel = (points.flatten(1, 2) * size).long()
        column, row = pixel[..., 0].clamp(0, width - 1), pixel[..., 1].clamp(0, height - 1)
        view = torch.arange(len(rig), device=known.device)[:, None]
        return known[view, row, column].flatten()


def drop_sky(gaussians: Gaussians, vocabulary: Vocabulary) -> tuple[Gaussians, Tensor]:
    """Name the Gaussians and leave out those that are sky: free space, not an obstacle.

    Returns:
        The Gaussians kept, and their probabilities over the visible categories, renormalised.
    """
    probabilities = vocabulary.probabilities(gaussians.features)
    sky = list(vocabulary.sky_columns)
    best = probabilities.argmax(-1)
    keep = ~torch.isin(best, torch.tensor(sky, device=best.device))
    shown = probabilities[keep][:, : len(vocabulary)].clone()
    shown[:, [column for column in sky if column < len(vocabulary)]] = 0
    return gaussians.select(keep), shown / shown.sum(-1, keepdim=True).clamp_min(1e-9)


def check_images(images: Sequence[Tensor | np.ndarray], rig: CameraRig) -> None:
    """Raise ValueError unless there is one uint8 RGB image of the rig's size per camera."""
    if len(images) != len(rig):
        raise ValueError(f'expected {len(rig)} images ({", ".join(rig.names)}), got {len(images)}')
    for name, image, (height, width) in zip(rig.names, images, rig.image_sizes, strict=True):
        shape, dtype = tuple(image.shape), str(image.dtype).split('.')[-1]
        if shape != (height, width, 3) or dtype != 'uint8':
            raise ValueError(
                f'camera {name}: expected a uint8 RGB image {height}x{width}x3, '
                f'got {dtype} {shape}'
            )


def settings_from_card(card: dict[str, Any]) -> PipelineSettings:
    """Settings with the threshold and the temperature that the validation streets chose."""
    defaults = PipelineSettings()
    threshold = card.get('thresholds', {}).get('gaussians', defaults.occupied_threshold)
    return PipelineSettings(
        occupied_threshold=float(threshold),
        class_temperature=float(card.get('class_temperature', defaults.class_temperature)),
    )


class _Clock:
    """Wall time between laps; waits for the device so that a stage pays for its own work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now
