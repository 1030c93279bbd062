"""From images to labelled occupancy: one page of named steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians, Occupancy, VoxelGrid
from gausstr_core.encoded_images import EncodedImages
from gausstr_core.foundation.interface import DepthNetwork
from gausstr_core.measured_depth import at_known_pixels, with_measured_depth
from gausstr_core.presets import Assembly, assemble
from gausstr_core.process.device import present_device
from gausstr_core.process.stage_clock import StageClock
from gausstr_core.remembering.evidence import Evidence
from gausstr_core.surface_preset import NetworkOptions
from gausstr_core.transformer.reference_points import QueryGrid
from gausstr_core.transformer.surface_gaussians import DENSE
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.rules import MODEL, TOPIC, Rule
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
    known: Tensor | None = None  # bool [N, H, W] where depth was measured; None: the network's

    @property
    def visible_depth(self) -> Tensor:
        """[N, H, W] z-depth in metres, 0 where it was to be measured and is unknown."""
        depth = self.maps.depth
        return depth if self.known is None else torch.where(self.known, depth, 0.0)


class OccupancyPipeline:
    """Images + rig + vocabulary -> `OccupancyResult`. Holds weights, no state between cycles."""

    def __init__(
        self,
        assembly: Assembly,
        device: str = 'cpu',
        grid: VoxelGrid | None = None,
        word_temperature: float | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = assembly.model.to(self.device).eval()
        self.model.foundation.optimise_for_inference()
        self.encoder = assembly.encoder
        self.word_temperature = word_temperature  # None: the encoder's
        self.rule = assembly.rule
        self._assembly = assembly
        self.grid = grid or VoxelGrid()
        self.camera_by_camera = False  # whether the network encodes them one after the other
        self._vocabulary_file = assembly.vocabulary

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
        networks: NetworkOptions | None = None,
        lattice: QueryGrid = DENSE,
        word_temperature: float | None = None,
    ) -> OccupancyPipeline:
        """Load a preset.

        Args:
            preset, weights, folder, depth, rule, networks, lattice: see `presets.assemble`.
            device: a torch device; never replaced by another one.
            grid: where to map; the Occ3D grid by default.
            word_temperature: of the softmax over how like features and words are; None: that of
                the words.

        Raises:
            ValueError: as `presets.assemble`, or the device is absent.
        """
        present_device(device)
        assembly = assemble(preset, weights, folder, depth, rule, networks, lattice)
        return cls(assembly, device, grid, word_temperature)

    def load_vocabulary(self, path: Path | str | None = None) -> Vocabulary:
        """The vocabulary of a file, encoded for this model; None: the one that it starts with.

        Raises:
            ValueError: as `Vocabulary.from_yaml`.
        """
        file = path or self._vocabulary_file
        return self._prepared(Vocabulary.from_yaml(file, self.encoder, self.word_temperature))

    def build_vocabulary(
        self, categories: Sequence[Category], wanted: Callable[[], bool] | None = None
    ) -> Vocabulary:
        """The vocabulary of some categories, encoded for this model.

        Args:
            categories: what to look for.
            wanted: asked now and then whether to go on; None: always.

        Raises:
            ValueError: as `Vocabulary.build`.
            UnwantedError: `wanted` said no.
        """
        return self._prepared(
            Vocabulary.build(categories, self.encoder, self.word_temperature, wanted)
        )

    def rule_for(self, depth_source: str) -> Rule:
        """The rule for Gaussians from that source of depth: 'model', 'topic' or 'lidar'."""
        return self._assembly.measured_rules.get(depth_source, self.rule)

    def evidence_for(self, depth_source: str, rule: Rule | None = None) -> Evidence:
        """What a look says in a memory over time, for that source of depth.

        Args:
            depth_source: 'model', 'topic' or 'lidar'.
            rule: the one that maps, if another than `rule_for` gives.

        Raises:
            ValueError: the rule was never calibrated for it (the released one), or the card of
                the weights is damaged.
        """
        used = rule or self.rule_for(depth_source)
        return Evidence.from_card(self._assembly.card, depth_source, used)

    def run(
        self,
        images: Sequence[Tensor | np.ndarray],
        rig: CameraRig,
        vocabulary: Vocabulary,
        depth: Sequence[Tensor | np.ndarray] | None = None,
    ) -> OccupancyResult:
        """Map one set of images: `encode`, then `map`.

        Args:
            images: uint8 RGB [H_i, W_i, 3], one per camera of the rig, in its order and sizes.
            rig: the cameras at the size of their images.
            vocabulary: what to look for.
            depth: measured z-depth in metres [H_i, W_i] instead of the network's; pixels that are
                not finite or 0 are unknown: no Gaussian starts there and nothing is seen there.
                Where it is negative the view is free up to there, and no Gaussian starts.

        Raises:
            ValueError: images, depth and rig do not fit together; the camera is named.
        """
        return self.map(self.encode(images, rig, depth), vocabulary)

    @torch.inference_mode()
    def encode(
        self,
        images: Sequence[Tensor | np.ndarray],
        rig: CameraRig,
        depth: Sequence[Tensor | np.ndarray] | None = None,
    ) -> EncodedImages:
        """The half that knows no words and no 3D; arguments and errors as `run`."""
        clock = StageClock(self.device)
        check_images(images, rig)
        if depth is None and not self.model.foundation.predicts_depth:
            raise ValueError('expected measured depth: the pipeline has no depth network')
        maps, network_rig = self.foundation_maps(images, rig)
        known = surface = None
        if depth is not None:
            maps, known, surface = with_measured_depth(maps, depth, rig)
        clock.lap('foundation')
        return EncodedImages(maps, known, network_rig, clock.seconds, surface)

    @torch.inference_mode()
    def map(
        self, encoded: EncodedImages, vocabulary: Vocabulary, rule: Rule | None = None
    ) -> OccupancyResult:
        """The other half; may run in another thread, beside the `encode` of the next set.

        Args:
            encoded: what `encode` gave.
            vocabulary: what to look for.
            rule: another than the pipeline's own for this source of depth, for this set.

        Raises:
            ValueError: the vocabulary was encoded for another model.
        """
        self._check_vocabulary(vocabulary)
        grid = self.grid  # may be replaced meanwhile
        maps, known, rig = encoded.maps, encoded.known, encoded.rig
        clock = StageClock(self.device)
        gaussians = self.gaussians(encoded, grid.resolution)
        clock.lap('transformer')
        visible = maps.depth if known is None else torch.where(known, maps.depth, 0.0)
        viewed, observed = viewed_and_observed(visible, rig, grid)
        clock.lap('visibility')
        rule = rule or self.rule_for(MODEL if known is None else TOPIC)
        found = rule(gaussians, vocabulary, observed, grid, clock.lap)
        # a Gaussian at the rim of an image reaches to where no camera looks
        occupancy = found.occupancy.within(with_neighbours(viewed))
        clock.lap('labelling')
        seconds = {**encoded.seconds, **clock.seconds}
        return OccupancyResult(
            occupancy, found.gaussians, found.probabilities, maps, rig, seconds, known
        )

    @torch.inference_mode()
    def gaussians(self, encoded: EncodedImages, resolution: float | None = None) -> Gaussians:
        """All Gaussians of a set: where depth was measured, only those on its surfaces.

        Args:
            encoded: what `encode` gave.
            resolution: of the voxels they are for, metres; None: of the pipeline's grid.
        """
        maps, rig = encoded.maps, encoded.rig
        known = encoded.known if encoded.surface is None else encoded.surface
        if known is None:
            fine = (resolution or self.grid.resolution) < self._assembly.finest
            surface = self._assembly.measured if fine else None
            return (surface or self.model.transformer)(maps, rig)
        transformer = self._assembly.measured or self.model.transformer
        found: Gaussians = transformer(maps, rig, measured=True)
        return found.select(at_known_pixels(found, known, rig))

    @torch.inference_mode()
    def foundation_maps(
        self, images: Sequence[Tensor | np.ndarray], rig: CameraRig
    ) -> tuple[FoundationMaps, CameraRig]:
        """Features and depth of the foundation network, and the rig at the network's size."""
        tensors = [torch.as_tensor(image) for image in images]
        if not self.camera_by_camera:
            return self.model.foundation.encode(tensors, rig, self.device)
        parts = [
            self.model.foundation.encode([tensor], rig.select((name,)), self.device)
            for name, tensor in zip(rig.names, tensors, strict=True)
        ]
        maps, rigs = zip(*parts, strict=True)
        return FoundationMaps.join(maps), CameraRig.join(rigs)

    def _prepared(self, vocabulary: Vocabulary) -> Vocabulary:
        """Have the rule make now what each set would need of the words."""
        self.rule.prepare(vocabulary)
        return vocabulary

    def _check_vocabulary(self, vocabulary: Vocabulary) -> None:
        wanted = self.model.foundation.feature_dim
        if vocabulary.dimension != wanted:
            raise ValueError(
                f'the words of vocabulary {vocabulary.id} have {vocabulary.dimension} channels, '
                f'the features of the model {wanted}; encode them with the encoder of the pipeline'
            )
        if vocabulary.encoder_id != self.encoder.id:
            raise ValueError(
                f'the words of vocabulary {vocabulary.id} are in the space of '
                f'{vocabulary.encoder_id}, the features of the model in that of '
                f'{self.encoder.id}; encode them with the encoder of the pipeline'
            )


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
