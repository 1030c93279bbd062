"""From images to labelled occupancy: one page of named steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians, Occupancy, VoxelGrid
from gausstr_core.foundation.interface import DepthNetwork
from gausstr_core.presets import Assembly, assemble
from gausstr_core.seen import Seen
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.rules import Rule
from gausstr_core.voxels.visibility import viewed_and_observed, with_neighbours


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
        self, assembly: Assembly, device: str = 'cpu', grid: VoxelGrid | None = None
    ) -> None:
        self.device = torch.device(device)
        self.model = assembly.model.to(self.device).eval()
        self.model.foundation.optimise_for_inference()
        self.encoder = assembly.encoder
        self.rule = assembly.rule
        self.grid = grid or VoxelGrid()
        self._first_words = assembly.vocabulary
        self._one_by_one = self._coarse = False  # see `lower`

    @classmethod
    def from_preset(
        cls,
        preset: str = 'compact',
        device: str = 'cpu',
        grid: VoxelGrid | None = None,
        weights: str | Path | None = None,
        *,
        folder: str | Path | None = None,
        depth: str | DepthNetwork | None = None,
        rule: str | None = None,
    ) -> OccupancyPipeline:
        """Load a preset.

        Args:
            preset, weights, folder, depth, rule: see `presets.assemble`.
            device: a torch device; never replaced by another one.
            grid: where to map; the Occ3D grid by default.

        Raises:
            ValueError: as `presets.assemble`, or the device is absent.
        """
        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(f'device {device!r} was asked for, but torch sees no CUDA device')
        return cls(assemble(preset, weights, folder, depth, rule), device, grid)

    def leave_device(self) -> None:
        """Keep the weights in main memory and give the accelerator's back; idle where it is."""
        if self.device.type == 'cpu':
            return
        self.model.to('cpu')
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()  # else torch would keep what is freed

    def enter_device(self) -> None:
        """Bring the weights to where they run; nothing is done where they are."""
        self.model.to(self.device)

    def lower(self, check: Callable[[VoxelGrid], object] | None = None) -> str | None:
        """Need less of the accelerator's memory from the next cycle on.

        First the network sees one camera at a time, which changes no map; then voxels are twice as
        large, where the grid is a whole number of those.

        Args:
            check: raises ValueError for a grid that is of no use to the caller.

        Returns:
            What has changed, in words; None where nothing smaller is left.
        """
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        if not self._one_by_one:
            self._one_by_one = True
            return 'the network sees one camera at a time'
        if not self._coarse:
            self._coarse = True
            with contextlib.suppress(ValueError):
                double = 2 * self.grid.resolution
                coarse = VoxelGrid(self.grid.lower, self.grid.upper, double)
                if check is not None:
                    check(coarse)
                self.grid = coarse
                return f'one camera at a time, and voxels of {double:g} m'
        return None

    def vocabulary(self, path: Path | str | None = None) -> Vocabulary:
        """The words of a vocabulary file for this model; None: those that it starts with.

        Raises:
            ValueError: as `Vocabulary.from_yaml`.
        """
        words = Vocabulary.from_yaml(path or self._first_words, self.encoder)
        self.rule.prepare(words)
        return words

    def words(self, categories: Sequence[Category]) -> Vocabulary:
        """Encode categories for this model, all that a cycle will need of them.

        Raises:
            ValueError: as `Vocabulary.build`.
        """
        words = Vocabulary.build(categories, self.encoder)
        self.rule.prepare(words)
        return words

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
        if depth is None and not self.model.foundation.sees_depth:
            raise ValueError('expected measured depth: the pipeline has no depth network')
        maps, small = self.see(images, rig)
        known = None
        if depth is not None:
            maps, known = self._measured(maps, depth, rig)
        clock.lap('foundation')
        return Seen(maps, known, small, clock.seconds)

    @torch.inference_mode()
    def map(self, seen: Seen, vocabulary: Vocabulary, rule: Rule | None = None) -> OccupancyResult:
        """The other half; may run in another thread, beside the next cycle's `look`.

        Args:
            seen: what `look` gave.
            vocabulary: the words.
            rule: another than the pipeline's, for this cycle.

        Raises:
            ValueError: the vocabulary was encoded for another model.
        """
        self._check_words(vocabulary)
        grid = self.grid  # `lower` may change it meanwhile
        clock = _Clock()
        gaussians = self.model.transformer(seen.maps, seen.rig, measured=seen.known is not None)
        if seen.known is not None:
            gaussians = gaussians.select(at_known_pixels(gaussians, seen.known, seen.rig))
        clock.lap('transformer')
        depth = seen.maps.depth
        visible = depth if seen.known is None else torch.where(seen.known, depth, 0.0)
        viewed, observed = viewed_and_observed(visible, seen.rig, grid)
        clock.lap('visibility')
        found = (rule or self.rule)(gaussians, vocabulary, observed, grid, clock.lap)
        # a Gaussian at the rim of an image reaches to where no camera looks
        occupancy = found.occupancy.within(with_neighbours(viewed))
        clock.lap('labelling')
        seconds = {**seen.seconds, **clock.seconds}
        return OccupancyResult(
            occupancy, found.gaussians, found.probabilities, seen.maps, seen.rig, seconds
        )

    @torch.inference_mode()
    def see(
        self, images: Sequence[Tensor | np.ndarray], rig: CameraRig
    ) -> tuple[FoundationMaps, CameraRig]:
        """The foundation maps, and the rig at the network's size."""
        tensors = [torch.as_tensor(image) for image in images]
        if not self._one_by_one:
            return self.model.foundation.see(tensors, rig, self.device)
        parts = [
            self.model.foundation.see([tensor], rig.select((name,)), self.device)
            for name, tensor in zip(rig.names, tensors, strict=True)
        ]
        maps = FoundationMaps.join([maps for maps, _ in parts])
        return maps, CameraRig.join([small for _, small in parts])

    def _check_words(self, vocabulary: Vocabulary) -> None:
        wanted = self.model.foundation.feature_dim
        if vocabulary.dimension != wanted:
            raise ValueError(
                f'the words of vocabulary {vocabulary.id} have {vocabulary.dimension} channels, '
                f'the features of the model {wanted}; encode them with the encoder of the pipeline'
            )

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
        return replace(maps, depth=torch.where(known, measured, maps.depth)), known


def at_known_pixels(gaussians: Gaussians, known: Tensor, rig: CameraRig) -> Tensor:
    """Which Gaussians [G], ordered by view, lie in a pixel of their own view that is known.

    Args:
        gaussians: as a transformer gives them: the same number for each of the N views.
        known: bool [N, H, W].
        rig: the N cameras at that size.
    """
    pixels, _ = rig.project(gaussians.means)
    views = torch.arange(len(rig), device=known.device)[:, None]
    own = pixels.unflatten(1, (len(rig), -1))[views[:, 0], views[:, 0]].long()
    height, width = known.shape[1:]
    column, row = own[..., 0].clamp(0, width - 1), own[..., 1].clamp(0, height - 1)
    return known[views, row, column].flatten()


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


class _Clock:
    """Wall time between laps; waits for the device so that a stage pays for its own work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
