"""One frame through the method and its three rivals, from the same foundation maps."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.encoded_images import EncodedImages
from gausstr_core.measured_depth import at_known_pixels
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.vocabulary.text_encoder import heldout_synonyms
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels import voxelise
from gausstr_core.voxels.rules import CalibratedRule, drop_sky
from gausstr_training.evaluation.lifting import lift, pixel_labels, upsample_inverse_depth
from gausstr_training.evaluation.sensing import Sensing
from gausstr_training.evaluation.tally import Guess
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.reader import Street, StreetFrame

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
        sensing: where depth and labels of a street's frame come from; None: from its networks.
    """

    def __init__(
        self, pipeline: OccupancyPipeline, untrained: nn.Module, sensing: Sensing | None = None
    ) -> None:
        self.pipeline, self.sensing = pipeline, sensing or Sensing()
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

    def encode(self, street: Street, frame: StreetFrame) -> EncodedImages:
        """A frame as all methods take it; errors as of `Sensing.encode`."""
        return self.sensing.encode(self.pipeline, street, frame)

    @torch.inference_mode()
    def guesses(self, encoded: EncodedImages, heldout: bool = True) -> dict[str, Guess]:
        """What each of METHODS and, if asked for, HELDOUT says about a frame.

        The density of each class is kept of the Gaussians alone: on fine grids it is large.
        """
        ours, start = self.pipeline.gaussians(encoded), self._start(encoded)
        return {
            'gaussians': self._accumulated(ours, self.vocabulary),
            'untrained': replace(self._accumulated(start, self.vocabulary), classes=None),
            **self._lifted(encoded),
            **{
                name: replace(self._accumulated(ours, words), classes=None)
                for name, words in self.heldout.items()
                if heldout
            },
        }

    def _start(self, encoded: EncodedImages) -> Gaussians:
        """Those before training; as the pipeline's, only on surfaces where depth is measured."""
        measured, rig = encoded.known is not None, encoded.rig
        found: Gaussians = self.untrained(encoded.maps, rig, measured=measured)
        return found.select(at_known_pixels(found, _shown(encoded), rig)) if measured else found

    def _accumulated(self, gaussians: Gaussians, vocabulary: Vocabulary) -> Guess:
        rule, grid = self.pipeline.rule_for(self.sensing.source), self.pipeline.grid
        assert isinstance(rule, CalibratedRule)
        return accumulated(gaussians, vocabulary, grid, rule.blur * grid.resolution)

    def _lifted(self, encoded: EncodedImages) -> dict[str, Guess]:
        grid, maps, rig = self.pipeline.grid, encoded.maps, encoded.rig
        scores = self.vocabulary.scores(maps.features.permute(0, 2, 3, 1))
        height, width = maps.depth.shape[1:]
        shown = _shown(encoded)
        labels = pixel_labels(scores, height, width)
        depth, smooth = upsample_inverse_depth(maps.depth)
        smooth &= F.interpolate(shown[:, None].float(), scale_factor=2)[:, 0] > 0
        strong = pixel_labels(scores, 2 * height, 2 * width)
        doubled = rig.resized(2 * height, 2 * width)
        return {
            'lift': lift(maps.depth, labels, shown, rig, grid),
            'lift_strong': lift(depth, strong, smooth, doubled, grid),
        }


def _shown(encoded: EncodedImages) -> Tensor:
    """The pixels bool [N, H, W] that show a surface: all of those whose depth was estimated."""
    shown = encoded.known if encoded.surface is None else encoded.surface
    return torch.ones_like(encoded.maps.depth, dtype=torch.bool) if shown is None else shown


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
