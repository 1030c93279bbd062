"""The paper's losses: cosine on PCA-reduced features, SILog + 0.2 L1 on depth, both splatted.

And the one that teaches the compact network its depth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6  # metres, as the released code
FAR_WEIGHT = 0.3  # of depth errors beyond the map


def principal_directions(features: Tensor, weights: Tensor, dims: int) -> Tensor:
    """Exact PCA basis [C, dims] of features [P, C], centred; the largest variance first.

    `weights` [P] says how many pixels have each feature: a teacher that draws words shows a
    hundred distinct features on 86 400 pixels.

    The released code uses the randomised `torch.pca_lowrank`; the cosine loss only sees the
    subspace, and an exact one does not change between runs. Features are projected onto it
    without subtracting the mean, as there.
    """
    share = (weights / weights.sum())[:, None]
    centred = features - (share * features).sum(0)
    _, vectors = torch.linalg.eigh(centred.T @ (share * centred))
    return vectors[:, -dims:].flip(1)


def feature_loss(rendered: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cos over all pixels; both [N, D, h, w]."""
    return (1 - F.cosine_similarity(rendered, target, dim=1)).mean()


def silog_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant logarithmic loss with lambda 0.5, mean over the images.

    Args:
        predicted, target: [N, h, w] metres; pixels with target <= 1e-6 m do not count.
    """
    valid = (target > EPSILON).float()
    count = valid.sum((1, 2)).clamp_min(1)
    gap = (target.clamp_min(EPSILON).log() - predicted.clamp_min(EPSILON).log()) * valid
    mean, square = gap.sum((1, 2)) / count, (gap * gap).sum((1, 2)) / count
    # the root has no gradient at zero: an image without valid pixels must not give NaN
    return (square - 0.5 * mean * mean).clamp_min(1e-12).sqrt().mean()


def absolute_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of depth [N, h, w] in metres; pixels with target 0 do not count."""
    valid = target > EPSILON
    return ((predicted - target).abs() * valid).sum() / valid.sum().clamp_min(1)


def depth_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """SILog + 0.2 L1 of depth [N, h, w] in metres; pixels with target 0 do not count."""
    return silog_loss(predicted, target) + 0.2 * absolute_loss(predicted, target)


def log_depth_loss(
    predicted: Tensor, target: Tensor, far: float, limit: float, weights: Tensor | None = None
) -> Tensor:
    """Mean |log z - log z*|; the sky (target 0) should lie at `far`, and counts little.

    A mean absolute error keeps edges sharp, where a squared one would place pixels in between.

    Args:
        predicted, target: [N, H, W] metres.
        far: what the sky should be, and all that is farther.
        limit: beyond it an error counts FAR_WEIGHT.
        weights: [N, H, W] > 0 how much each pixel counts beside that; None: all the same.
    """
    truth = torch.where(target > 0, target.clamp(0.3, far), far)
    weight = torch.where(truth < limit, 1.0, FAR_WEIGHT)
    weight = weight if weights is None else weight * weights
    return ((predicted.log() - truth.log()).abs() * weight).sum() / weight.sum()
