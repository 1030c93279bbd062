"""What takes the place of a network's own look at a frame: a lidar's depth, a renderer's truth.

Both are known where the frame was recorded, not in its images, so they are asked for while the
cache is filled. Depth that nobody knows is stored as `UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_core.foundation.depth.lidar_depth import LidarDepth
from gausstr_core.foundation.interface import FoundationNetwork
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_training.bags.frame import BagFrame
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.reader import read_street
from gausstr_training.targets.depth_codec import LOWEST, OCTAVES
from gausstr_training.targets.frames import TargetFrame

RENDERER = 'renderer'  # a teacher that is no network: the truth beside the bag of a street
LIDAR = 'lidar'  # in place of a depth network
UNKNOWN = 2.0 ** (LOWEST + OCTAVES)  # metres: the end of what is stored, for pixels without depth
BEYOND = UNKNOWN / 2  # metres: what is stored farther away was not known
GRID = 2  # pixels of depth to one of the renderer's features, each way

# network, device -> maps, in place of `FoundationNetwork.encode`
Sight = Callable[[FoundationNetwork, torch.device | str], FoundationMaps]


class RendererNetwork(nn.Module):
    """Stands where a teacher has networks: the words of the classes, and sizes.

    Attributes:
        words: [17, 384] the mean direction of each class's training words, in the space of the
            compact presets.
    """

    words: Tensor
    predicts_depth = True

    def __init__(self, input_size: tuple[int, int] = (180, 320)) -> None:
        super().__init__()
        encoder = TextEncoder.default()
        assert tuple(encoder.street_words) == CLASSES
        self.input_size, self.feature_dim = input_size, encoder.dimension
        self.register_buffer('words', encoder.centroids())

    def encode(
        self, images: Sequence[Tensor], rig: CameraRig, device: torch.device | str = 'cpu'
    ) -> tuple[FoundationMaps, CameraRig]:
        """Refuse: images do not say what they were rendered from.

        Raises:
            ValueError: always.
        """
        raise ValueError('the renderer knows frames of streets alone, by their truth files')

    def __call__(self, images: Tensor, rig: CameraRig) -> FoundationMaps:
        """Refuse, as `encode`."""
        return self.encode(list(images), rig)[0]


def street_sight(frame: TargetFrame, bags: Mapping[str, Path]) -> Sight:
    """The truth of a frame of a street: each pixel's class as its words, and exact depth.

    Args:
        frame: of the bag of a street that `gausstr-synthesize` wrote.
        bags: where the bag of each name lies.

    Raises:
        ValueError: by the sight, where the bag is not a street's or the truth is another frame's.
    """

    def look(network: FoundationNetwork, device: torch.device | str) -> FoundationMaps:
        assert isinstance(network, RendererNetwork)
        depth, classes = _truth(frame, bags)
        height, width = network.input_size
        depth = _nearest(depth, height, width)
        depth = torch.where(depth > 0, depth, UNKNOWN)
        classes = _nearest(classes, height // GRID, width // GRID).long()
        features = network.words.cpu()[classes].permute(0, 3, 1, 2).contiguous()
        return FoundationMaps(features.to(device), depth.to(device))

    return look


def lidar_sight(frame: TargetFrame) -> Sight:
    """Features by the network, depth by the cloud of the frame.

    Raises:
        ValueError: by the sight, where the frame has no cloud.
    """

    def look(network: FoundationNetwork, device: torch.device | str) -> FoundationMaps:
        points = frame.points if isinstance(frame, BagFrame) else None
        if points is None or not len(points):
            raise ValueError(f'{frame.key}: no lidar cloud belongs to this frame')
        maps, rig = network.encode(frame.images, frame.rig, device)
        depth = LidarDepth(points.to(device), UNKNOWN)(maps.depth, rig)
        return replace(maps, depth=depth)

    return look


def _truth(frame: TargetFrame, bags: Mapping[str, Path]) -> tuple[Tensor, Tensor]:
    """Depth [N, H, W] in metres, 0 for the sky, and classes [N, H, W] uint8."""
    bag = bags[frame.key.rsplit('/', 1)[0]]
    try:
        street = read_street(bag.parent)
    except ValueError as error:
        raise ValueError(f'{frame.key}: its bag {bag} is not that of a street: {error}') from None
    wanted = list(frame.image_stamps)
    for index in range(len(street)):
        found = street[index]
        if found.image_stamps.tolist() == wanted:
            return torch.from_numpy(found.depth), torch.from_numpy(found.semantics)
    raise ValueError(f'{frame.key}: the truth of {bag.parent} has no frame of these images')


def _nearest(maps: Tensor, height: int, width: int) -> Tensor:
    rows = ((torch.arange(height) + 0.5) * maps.shape[1] / height).long()
    columns = ((torch.arange(width) + 0.5) * maps.shape[2] / width).long()
    return maps[:, rows][:, :, columns]
