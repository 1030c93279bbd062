"""What the pipeline is given of a street's frame: its own eyes, or what the renderer knows.

Depth comes from the network, from the renderer in place of a depth camera, or from a lidar that
sweeps the same street. Labels come from the network's features or from the renderer's classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, VoxelGrid
from gausstr_core.encoded_images import EncodedImages
from gausstr_core.foundation.depth.lidar_depth import depth_from_cloud
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.voxels.rules import LIDAR, MODEL, TOPIC
from gausstr_training.evaluation.lidar_agreement import swept_voxels
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.reader import Street, StreetFrame
from gausstr_training.streets.sweep import Lidar, sweep

TRUE = 'true'
DEPTHS, LABELS = (MODEL, TRUE, LIDAR), (MODEL, TRUE)
_SOURCES = {TRUE: TOPIC}  # of depth, as the node calls them


@dataclass(frozen=True)
class Sensing:
    """Where depth and labels come from.

    Raises:
        ValueError: a name is unknown.
    """

    depth: str = MODEL
    labels: str = MODEL

    def __post_init__(self) -> None:
        for what, name, names in (('depth', self.depth, DEPTHS), ('labels', self.labels, LABELS)):
            if name not in names:
                raise ValueError(f'{what} must be one of {", ".join(names)}, got {name!r}')

    @property
    def source(self) -> str:
        """The depth source whose rule holds: 'model', 'topic' (as of a depth camera), 'lidar'."""
        return _SOURCES.get(self.depth, self.depth)

    def encode(
        self, pipeline: OccupancyPipeline, street: Street, frame: StreetFrame
    ) -> EncodedImages:
        """The frame as the pipeline's second half takes it.

        Raises:
            ValueError: a lidar is wanted and there is no ray caster.
        """
        images = list(frame.images)
        encoded = pipeline.encode(images, frame.rig, self._measured(pipeline, street, frame))
        if self.labels == MODEL:
            return encoded
        semantics = torch.from_numpy(frame.semantics).to(encoded.maps.codes.device)
        return replace(encoded, maps=with_true_labels(encoded.maps, semantics))

    def told_of(self, street: Street, frame: StreetFrame, grid: VoxelGrid) -> Tensor | None:
        """bool [X, Y, Z]: the voxels that the source of depth says something about; None: all.

        A sweep shows surfaces and what is before them. Judged by what lies behind them as well,
        thick maps are best; a lidar's thresholds are chosen by what it can know.
        """
        if self.depth != LIDAR:
            return None
        origin = np.array(Lidar().position)
        return swept_voxels(sweep(street, frame).astype(np.float64), origin, grid)

    def _measured(
        self, pipeline: OccupancyPipeline, street: Street, frame: StreetFrame
    ) -> list[np.ndarray] | None:
        if self.depth == MODEL:
            return None
        if self.depth == TRUE:
            return list(frame.depth)
        rig = network_rig(pipeline, frame.rig)
        return list(depth_from_cloud(torch.from_numpy(sweep(street, frame)), rig).numpy())


def network_rig(pipeline: OccupancyPipeline, rig: CameraRig) -> CameraRig:
    """The rig at the size in which the network sees."""
    height, width = pipeline.model.foundation.input_size
    return rig.resized(height, width)


def with_true_labels(maps: FoundationMaps, semantics: Tensor) -> FoundationMaps:
    """The maps with features that say what the renderer drew.

    A feature is the mean of its pixels' classes, each by the direction of its words.

    Args:
        maps: of N cameras.
        semantics: [N, H, W] uint8 class index, any size not below the features'.
    """
    height, width = maps.codes.shape[-2:]
    planes = F.one_hot(semantics.long(), len(CLASSES)).permute(0, 3, 1, 2).float()
    shares = F.interpolate(planes, (height, width), mode='area')
    words = TextEncoder.default().centroids().to(shares)
    basis = torch.cat([words.T, words.new_zeros(words.shape[1], 1)], dim=1)
    return replace(maps, codes=shares, basis=basis)
