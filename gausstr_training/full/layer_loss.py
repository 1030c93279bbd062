"""The loss of one layer's Gaussians: splatted a few cameras at a time, differentiated at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor
from torch.func import functional_call

from gausstr_core.contracts import Gaussians
from gausstr_core.splatting import splat
from gausstr_core.transformer.full.gaussian_head import GaussianHead
from gausstr_training.full.batch import Views
from gausstr_training.full.immediate import immediately
from gausstr_training.losses.released import Counts, head_losses
from gausstr_training.recipes import FullRecipe

NAMES = {'loss_cosine': 'cosine', 'loss_depth': 'depth', 'loss_ce': 'segments', 'mae_depth': 'mae'}


class LayerLoss:
    """What the views say about the Gaussians of one layer.

    Args:
        gaussians: of the layer, with all feature channels.
        head: that made them; its segmentation head is trained along.
        basis: [C, D] principal directions of the batch.
        segment_basis: [C, D] of the segmentation head, which must see the same directions in
            every batch; None where there is no such head.
        recipe: weights of the losses.
        depth_limit: metres.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        head: GaussianHead,
        basis: Tensor,
        segment_basis: Tensor | None,
        recipe: FullRecipe,
        depth_limit: float,
    ) -> None:
        self._basis, self._recipe, self._limit = basis, recipe, depth_limit
        self._inputs = list(vars(replace(gaussians, features=gaussians.features @ basis)).values())
        self._segment, self._names = head.segment, list[str]()
        if head.segment is not None:
            assert segment_basis is not None
            self._turn = basis.T @ segment_basis
            self._names = [name for name, _ in head.segment.named_parameters()]
            self._inputs += list(head.segment.parameters())

    def __call__(self, views: Views, counts: Counts) -> tuple[Tensor, dict[str, float]]:
        """The views' part of the batch's loss, weighted, and its parts by name, not weighted.

        Args:
            views: cameras in the ego frame of the Gaussians, and their targets.
            counts: of the whole batch.
        """
        total, parts = self._basis.new_zeros(()), dict[str, float]()
        for few in _few(views, self._recipe.views_at_once):
            total = total + immediately(partial(self._drawn, few, counts, parts), *self._inputs)
        return total, parts

    def _drawn(
        self, views: Views, counts: Counts, parts: dict[str, float], *inputs: Tensor
    ) -> Tensor:
        """Splat and compare; `inputs` are the Gaussians' tensors and the segmentation head's."""
        images = splat(Gaussians(*inputs[:5]), views.rig, *views.rig.image_sizes[0])
        segment = partial(self._classes, inputs[5:]) if self._segment is not None else None
        losses = head_losses(
            images.features, images.depth, views.targets, self._basis, self._limit, segment, counts
        )
        for name, value in losses.items():
            parts[NAMES[name]] = parts.get(NAMES[name], 0.0) + value.item()
        return self._weighted(losses)

    def _classes(self, weights: tuple[Tensor, ...], features: Tensor) -> Tensor:
        assert self._segment is not None
        given = dict(zip(self._names, weights, strict=True))
        result: Tensor = functional_call(self._segment, given, (features @ self._turn,))
        return result

    def _weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        recipe = self._recipe
        total = recipe.depth_weight * losses['loss_depth']
        total = total + recipe.feature_weight * losses['loss_cosine']
        if 'loss_ce' in losses:
            total = total + recipe.segment_weight * losses['loss_ce']
        return total


def _few(views: Views, most: int) -> Iterator[Views]:
    """The views, at most so many at a time."""
    for first in range(0, len(views.rig), most):
        past = min(first + most, len(views.rig))
        yield Views(views.rig.select(views.rig.names[first:past]), views.targets.part(first, past))
