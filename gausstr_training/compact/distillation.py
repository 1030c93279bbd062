"""What the compact foundation network should see in images: words and metric depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.contracts import FoundationMaps
from gausstr_training.compact.batch import Batch, thinned
from gausstr_training.compact.draws import Sample
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.losses.paper import log_depth_loss
from gausstr_training.processes import ranks
from gausstr_training.recipes import CompactRecipe

TEMPERATURE = 0.07  # of the contrast between classes, as CLIP's at its start


class Distillation:
    """Cosine and contrast with the words, and the logarithmic depth error.

    Rare classes weigh more in all three: the map's score is a mean over classes, and what stands
    on the road is a small share of the pixels.

    Args:
        teacher: on the device of the maps.
        class_weights: [classes] likewise.
        recipe: the weight of depth.
        far: metres; where the network puts the sky.
    """

    def __init__(
        self, teacher: RendererTeacher, class_weights: Tensor, recipe: CompactRecipe, far: float
    ) -> None:
        self._teacher, self._class_weights = teacher, class_weights
        self._recipe, self._far = recipe, far

    def __call__(
        self, maps: FoundationMaps, sample: Sample, *, everywhere: bool
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts by name.

        Args:
            maps: of the sample's views.
            sample: views and words.
            everywhere: whether means are over the views of all processes, whose losses then add
                up; else over these views alone.
        """
        height, width = maps.features.shape[-2:]
        target = self._teacher.painted(sample.batch, sample.words, height, width)
        weight, missed = self._contrast(maps.features, sample.batch)
        apart = 1 - F.cosine_similarity(maps.features, target, dim=1)
        error, counted = log_depth_loss(
            maps.depth,
            sample.batch.depth,
            self._far,
            self._recipe.depth_limit,
            self._class_weights[sample.batch.semantics.long()],
        )
        pixels = weight.sum()
        if everywhere:
            pixels, counted = ranks.summed(torch.stack([pixels, counted])).unbind()
        cosine, contrast, depth = (apart * weight).sum() / pixels, missed / pixels, error / counted
        parts = {'cosine': cosine.item(), 'contrast': contrast.item(), 'depth': depth.item()}
        return cosine + contrast + self._recipe.depth_weight * depth, parts

    def _contrast(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """How much each pixel weighs [N, h, w], and the sum of what is confused, weighed too."""
        unit = self._teacher.centred(features)
        logits = torch.einsum('nchw,kc->nkhw', unit, self._teacher.centroids) / TEMPERATURE
        height, width = features.shape[-2:]
        classes = self._class_weights
        if batch.likely is None:
            semantics = thinned(batch.semantics, height, width).long()
            missed = F.cross_entropy(logits, semantics, weight=classes, reduction='sum')
            return classes[semantics], missed
        shares = batch.shares(height, width, len(classes))
        missed = F.cross_entropy(logits, shares, weight=classes, reduction='sum')
        return torch.einsum('nkhw,k->nhw', shares, classes), missed
