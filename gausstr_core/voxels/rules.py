"""From Gaussians to labelled voxels: the two rules of post-processing, with their thresholds.

`CalibratedRule` is ours: a voxel is a volume, and its confidence means something. `ReleasedRule`
is that of the public checkpoints, which were scored with it (docs/differences.md compares them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import Gaussians, Occupancy, VoxelGrid
from gausstr_core.vocabulary.vocabulary import MAX_CATEGORIES, Vocabulary
from gausstr_core.voxels import label, voxelise
from gausstr_core.voxels.released import released_voxels
from gausstr_core.voxels.released_labels import OCCUPIED, released_labels

Lap = Callable[[str], None]  # called with the name of each stage when it is done


@dataclass(frozen=True)
class Labelled:
    """What a rule makes of the Gaussians of one cycle."""

    occupancy: Occupancy
    gaussians: Gaussians  # those that are not sky
    probabilities: Tensor  # [G, K] of the K visible categories, rows sum to 1


class Rule(Protocol):
    """Turns Gaussians into a map."""

    def threshold_at(self, resolution: float) -> float:
        """Density above which a voxel of that edge in metres is occupied."""
        ...

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode what the rule will ask of a vocabulary, so that no cycle has to."""
        ...

    def __call__(
        self,
        gaussians: Gaussians,
        vocabulary: Vocabulary,
        observed: Tensor,
        grid: VoxelGrid,
        lap: Lap,
    ) -> Labelled:
        """Label the voxels of a grid; `observed` is bool [X, Y, Z], see visibility.py."""
        ...


# Depth sources, as cards call them: the network, depth images, a lidar.
MODEL, TOPIC, LIDAR = 'model', 'topic', 'lidar'
# A surface that was measured is known better than half a voxel: on streets with true depth
# IoU is 77 with 3/8 and 67 with 1/2 (docs/training.md).
MEASURED_BLUR = 0.375


@dataclass(frozen=True)
class CalibratedRule:
    """The rule of our own models: sky dropped first, voxels as volumes, calibrated confidence.

    How many Gaussians reach a voxel depends on its edge, so thresholds are kept for several, and
    between them the logarithms are interpolated.

    Raises:
        ValueError: no threshold, two for one edge, or one that is not > 0; a negative blur.
    """

    occupied_threshold: float | None = None  # set by hand, for every edge; None: `thresholds`
    class_temperature: float = 1.0  # of the class probabilities in a voxel's confidence
    blur: float = 0.5  # of a voxel's edge, added to each Gaussian: a voxel is no point
    thresholds: tuple[tuple[float, float], ...] = ((0.4, 0.35),)  # (edge in metres, density)

    def __post_init__(self) -> None:
        edges = [edge for edge, _ in self.thresholds]
        if not edges or len(set(edges)) < len(edges) or min(min(self.thresholds)) <= 0:
            raise ValueError(
                'thresholds must be pairs of voxel edge (m) and density, both > 0, each edge '
                f'once, got {[list(pair) for pair in self.thresholds]}'
            )

        if not 0 <= self.blur < math.inf:
            raise ValueError(f'blur must be >= 0 voxels, got {self.blur}')

    def threshold_at(self, resolution: float) -> float:
        """See `Rule`; beyond the edges that were calibrated the nearest one's."""
        if self.occupied_threshold is not None:
            return self.occupied_threshold
        edges, densities = np.log(np.array(sorted(self.thresholds))).T
        return float(np.exp(np.interp(math.log(resolution), edges, densities)))

    def prepare(self, vocabulary: Vocabulary) -> None:
        """See `Rule`."""
        vocabulary.scores(torch.zeros(1, vocabulary.dimension))

    def __call__(
        self,
        gaussians: Gaussians,
        vocabulary: Vocabulary,
        observed: Tensor,
        grid: VoxelGrid,
        lap: Lap,
    ) -> Labelled:
        """See `Rule`."""
        gaussians, probabilities = drop_sky(gaussians, vocabulary)
        lap('vocabulary')
        blur = self.blur * grid.resolution
        density, classes = voxelise(gaussians, probabilities, grid, blur=blur)
        lap('voxels')
        threshold = self.threshold_at(grid.resolution)
        occupancy = label(density, classes, observed, grid, threshold, self.class_temperature)
        lap('labelling')
        return Labelled(occupancy, gaussians, probabilities)

    @classmethod
    def from_card(cls, card: Mapping[str, Any], depth: str = MODEL) -> CalibratedRule:
        """The thresholds and the temperature that validation streets chose for a depth source.

        Args:
            card: of the weights; `calibration` has an entry for each depth source. Cards from
                before there was one have `thresholds` and `class_temperature` for the network's.
            depth: the source, as in `depth_source`.

        Raises:
            ValueError: the entry is not of this form.
        """
        rule = cls() if depth == MODEL else cls(blur=MEASURED_BLUR, thresholds=((0.4, 1.0),))
        found = card.get('calibration', {}).get(depth)
        if found is not None and set(found) == {'evidence'}:  # of a memory, see remembering
            found = None
        if found is None and depth == MODEL:
            density = card.get('thresholds', {}).get('gaussians', rule.threshold_at(0.4))
            found = {**card, 'thresholds': [[0.4, density]]}
        if found is None:
            return rule
        try:
            pairs = tuple((float(edge), float(density)) for edge, density in found['thresholds'])
            temperature = float(found.get('class_temperature', 1.0))
            blur = float(found.get('blur', rule.blur))
            return replace(rule, blur=blur, thresholds=pairs, class_temperature=temperature)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'card of weights: calibration of {depth}: {error}') from error


@dataclass(frozen=True)
class ReleasedRule:
    """The rule of the released code: voxels as points, sky competes, two softmaxes.

    The defaults are those of the Talk2DINO configuration. The released merged probabilities are
    nearly flat, so the confidence is ours: the label's share of the density times
    1 - exp(-density); it is not calibrated. Voxels that are not occupied are `free` where
    observed, as with the other rule, although the released code knows no unknown.
    """

    opacity_threshold: float | None = 0.6  # Gaussians below it are left out; None: all are kept
    covariance_threshold: float | None = 0.015  # square metres; thinner ones are left out
    occupied_threshold: float = OCCUPIED  # density above which a voxel is occupied
    averaged: bool = False  # the voxeliser of before 2025-03-18

    def threshold_at(self, resolution: float) -> float:
        """See `Rule`: the same for every voxel, whatever its edge."""
        return self.occupied_threshold

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Nothing: its prompts are encoded when the vocabulary is built."""

    def __call__(
        self,
        gaussians: Gaussians,
        vocabulary: Vocabulary,
        observed: Tensor,
        grid: VoxelGrid,
        lap: Lap,
    ) -> Labelled:
        """See `Rule`."""
        per_prompt = vocabulary.prompt_probabilities(gaussians.features)
        lap('vocabulary')
        density, features, kept = released_voxels(
            gaussians.means,
            gaussians.opacities,
            per_prompt,
            gaussians.covariances,
            grid,
            opacity_threshold=self.opacity_threshold,
            covariance_threshold=self.covariance_threshold,
            averaged=self.averaged,
        )
        lap('voxels')
        occupancy = self._label(density, features, vocabulary, observed, grid)
        lap('labelling')
        return Labelled(occupancy, *_drawn(gaussians, per_prompt, kept, vocabulary))

    def _label(
        self,
        density: Tensor,
        features: Tensor,
        vocabulary: Vocabulary,
        observed: Tensor,
        grid: VoxelGrid,
    ) -> Occupancy:
        owners = vocabulary.prompt_owners
        sky, free = vocabulary.sky_columns, MAX_CATEGORIES
        names = [free if column in sky else column for column in range(vocabulary.columns)]
        found, _ = released_labels(
            density, features, owners,
            labels=names, free=free, occupied_threshold=self.occupied_threshold,
        )  # fmt: skip
        occupied = found != free
        labels = torch.where(occupied, found.long(), -1)
        confidence = torch.zeros_like(density)
        shares = merged_sum(features[occupied], owners, vocabulary.columns)
        share = shares.gather(1, labels[occupied][:, None])[:, 0]
        confidence[occupied] = share * -torch.expm1(-density[occupied])
        return Occupancy(grid, density, labels, confidence, observed | occupied)


def drop_sky(gaussians: Gaussians, vocabulary: Vocabulary) -> tuple[Gaussians, Tensor]:
    """Name the Gaussians and leave out those that are sky: free space, not an obstacle.

    Returns:
        The Gaussians kept, and their probabilities over the visible categories, renormalised.
    """
    return _without_sky(gaussians, vocabulary.probabilities(gaussians.features), vocabulary)


def merged_sum(probabilities: Tensor, owners: Tensor, columns: int) -> Tensor:
    """Probabilities of prompts [G, P] -> of their categories [G, columns]."""
    merged = probabilities.new_zeros(probabilities.shape[0], columns)
    return merged.index_add(1, owners.to(probabilities.device), probabilities)


def _drawn(
    gaussians: Gaussians, per_prompt: Tensor, kept: Tensor, vocabulary: Vocabulary
) -> tuple[Gaussians, Tensor]:
    """The Gaussians that went into the voxels, without the sky, and their categories."""
    merged = merged_sum(per_prompt[kept], vocabulary.prompt_owners, vocabulary.columns)
    return _without_sky(gaussians.select(kept), merged, vocabulary)


def _without_sky(
    gaussians: Gaussians, probabilities: Tensor, vocabulary: Vocabulary
) -> tuple[Gaussians, Tensor]:
    sky = list(vocabulary.sky_columns)
    best = probabilities.argmax(-1)
    keep = ~torch.isin(best, torch.tensor(sky, device=best.device))
    shown = probabilities[keep][:, : len(vocabulary)].clone()
    shown[:, [column for column in sky if column < len(vocabulary)]] = 0
    return gaussians.select(keep), shown / shown.sum(-1, keepdim=True).clamp_min(1e-9)
