"""One frame through the method and its three rivals, from the same foundation maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians, VoxelGrid
from gausstr_core.pipeline import OccupancyPipeline, check_images
from gausstr_core.vocabulary.text_encoder import heldout_synonyms
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels import voxelise
from gausstr_core.voxels.rules import CalibratedRule, drop_sky
from gausstr_training.evaluation.lifting import lift, pixel_labels, upsample_inverse_depth
from gausstr_training.evaluation.tally import Guess
from gausstr_training.streets.classes import CLASSES

METHODS = ('gaussians', 'untrained', 'lift', 'lift_strong')
# the same Gaussians asked with words never seen in training: several per class, or one
HELDOUT = ('heldout_vocabulary', 'heldout_names')


def threshold_of(name: str) -> str:
    """Whose threshold a guess uses: other words do not get one of their own."""
    return 'gaussians' if name in HELDOUT else name


class Contest:
    """Runs all methods on a frame; the networks run once.

    Args:
        pipeline: what is scored.
        untrained: the transformer that its training began with.
    """

    def __init__(self, pipeline: OccupancyPipeline, untrained: nn.Module) -> None:
        self.pipeline = pipeline
        self.untrained = untrained.to(pipeline.device).eval()
        self.vocabulary = Vocabulary.from_yaml()
        self.heldout = {
            name: heldout_vocabulary(single=name == 'heldout_names') for name in HELDOUT
        }
        for vocabulary in (self.vocabulary, *self.heldout.values()):
            assert len(vocabulary) == len(CLASSES) and vocabulary.sky_columns == (
                len(CLASSES) - 1,
            )
        assert self.vocabulary.names == CLASSES

    @torch.inference_mode()
    def guesses(self, images: list[Tensor] | list[np.ndarray], rig: CameraRig) -> dict[str, Guess]:
        """What each of METHODS and HELDOUT says about a frame.

        Args:
            images: uint8 RGB [H_i, W_i, 3], one per camera.
            rig: the cameras at that size.
        """
        check_images(images, rig)
        maps, small = self.pipeline.foundation_maps(images, rig)
        return self.from_maps(maps, small)

    @torch.inference_mode()
    def from_maps(self, maps: FoundationMaps, rig: CameraRig) -> dict[str, Guess]:
        """As `guesses`, from foundation maps and the rig at the size of their depth."""
        trained = self.pipeline.model.transformer(maps, rig)
        return {
            'gaussians': self._accumulated(trained, self.vocabulary),
            'untrained': self._accumulated(self.untrained(maps, rig), self.vocabulary),
            **self._lifted(maps, rig),
            **{name: self._accumulated(trained, words) for name, words in self.heldout.items()},
        }

    def _accumulated(self, gaussians: Gaussians, vocabulary: Vocabulary) -> Guess:
        assert isinstance(self.pipeline.rule, CalibratedRule)
        return accumulated(gaussians, vocabulary, self.pipeline.grid, self.pipeline.rule.blur)

    def _lifted(self, maps: FoundationMaps, rig: CameraRig) -> dict[str, Guess]:
        grid = self.pipeline.grid
        scores = self.vocabulary.scores(maps.features.permute(0, 2, 3, 1))
        height, width = maps.depth.shape[1:]
        every = torch.ones_like(maps.depth, dtype=torch.bool)
        labels = pixel_labels(scores, height, width)
        depth, smooth = upsample_inverse_depth(maps.depth)
        strong = pixel_labels(scores, 2 * height, 2 * width)
        doubled = rig.resized(2 * height, 2 * width)
        return {
            'lift': lift(maps.depth, labels, every, rig, grid),
            'lift_strong': lift(depth, strong, smooth, doubled, grid),
        }


def accumulated(
    gaussians: Gaussians, vocabulary: Vocabulary, grid: VoxelGrid, blur: float
) -> Guess:
    """What Gaussians say about a grid in the words of a vocabulary."""
    kept, probabilities = drop_sky(gaussians, vocabulary)
    density, classes = voxelise(kept, probabilities, grid, blur=blur)
    labels = torch.zeros_like(density, dtype=torch.int64)
    reached = density > 0
    labels[reached] = classes[reached].argmax(-1)
    return Guess(density, labels, classes)


def heldout_vocabulary(single: bool = False) -> Vocabulary:
    """The classes under words that training never saw; `single`: only the first of each."""
    return Vocabulary.build(
        [
            Category(
                words[0],
                tuple(words[:1] if single else words),
                role='sky' if name == 'sky' else 'object',
            )
            for name, words in heldout_synonyms().items()
        ]
    )
