"""The Gaussians drawn into the cameras: pictures for people, not for the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.splatting import splat
from gausstr_core.vocabulary.vocabulary import Category
from gausstr_ros.cycle.steps import MappedSet
from gausstr_ros.messages.grids_and_clouds import color_table

_COVERED = 0.5  # alpha from which a pixel counts as covered by Gaussians


@dataclass(frozen=True)
class View:
    """What one camera sees of the Gaussians."""

    probabilities: Tensor  # [h, w, K] of the categories, premultiplied by alpha
    distance: NDArray[np.float32]  # [h, w] z-depth in metres, premultiplied by alpha
    alpha: NDArray[np.float32]  # [h, w]

    def depth(self) -> NDArray[np.float32]:
        """z-depth [h, w] in metres; 0 where there are no Gaussians."""
        known = self.distance / np.maximum(self.alpha, 1e-6)
        return np.where(self.alpha > _COVERED, known, np.float32(0))

    def semantics(self, categories: tuple[Category, ...]) -> NDArray[np.uint8]:
        """RGB [h, w, 3] of the likeliest category; black where there are no Gaussians."""
        best = self.probabilities.argmax(-1).cpu().numpy()
        pixels = color_table(categories)[best]
        pixels[self.alpha <= _COVERED] = 0
        return pixels

    def activation(self, column: int) -> NDArray[np.float32]:
        """Probability [h, w] in [0, 1] that a ray meets the category of a column."""
        return np.ascontiguousarray(self.probabilities[..., column].cpu().numpy())


@torch.inference_mode()
def draw(mapped: MappedSet, cameras: Sequence[str], scale: float) -> dict[str, View]:
    """Draw into those of the cameras that the set has, all at once.

    Args:
        mapped: the Gaussians and the rig, at network size.
        cameras: names.
        scale: size of the pictures as a share of the network's.
    """
    result = mapped.result
    names = tuple(name for name in result.rig.names if name in cameras)
    if not names:
        return {}
    height, width = (max(1, round(scale * side)) for side in result.rig.image_sizes[0])
    painted = replace(result.gaussians, features=result.probabilities)
    drawn = splat(painted, result.rig.select(names), height, width)
    parts = drawn.features.movedim(1, -1), drawn.depth.cpu().numpy(), drawn.alpha.cpu().numpy()
    return {name: View(*view) for name, *view in zip(names, *parts, strict=True)}
