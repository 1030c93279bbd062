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


def directions_of_moments(moments: Tensor, dims: int) -> Tensor:
    """The same basis from sums over the pixels, which parts and processes can add up.

    Args:
        moments: [C + 1, C + 1] float64, sum of (f, 1) (f, 1)^T over all features f.
        dims: of the basis.
    """
    count = moments[-1, -1].clamp_min(1)
    mean = moments[:-1, -1] / count
    covariance = moments[:-1, :-1] / count - mean[:, None] * mean
    _, vectors = torch.linalg.eigh(covariance)
    return vectors[:, -dims:].flip(1)


def feature_moments(features: Tensor) -> Tensor:
    """[C + 1, C + 1] float64 moments of maps [N, C, h, w], see `directions_of_moments`."""
    rows = features.movedim(1, -1).flatten(0, -2).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    return rows.T @ rows


def feature_loss(
    rendered: Tensor, target: Tensor, seen: Tensor | None = None, count: Tensor | None = None
) -> Tensor:
    """Mean of 1 - cos over all pixels; both [N, D, h, w].

    Args:
        rendered: splatted.
        target: what should be seen.
        seen: bool [N, h, w], the pixels that count; None: all.
        count: divide by this number of pixels instead, where the rest of a batch is elsewhere.
    """
    apart = 1 - F.cosine_similarity(rendered, target, dim=1)
    if seen is not None:
        apart = apart * seen
    if count is not None:
        return apart.sum() / count
    return apart.mean() if seen is None else apart.sum() / seen.sum().clamp_min(1)


def silog_loss(predicted: Tensor, target: Tensor, images: Tensor | None = None) -> Tensor:
    """Scale-invariant logarithmic loss with lambda 0.5, mean over the images.

    Args:
        predicted, target: [N, h, w] metres; pixels with target <= 1e-6 m do not count.
        images: divide by this number instead, where the rest of a batch is elsewhere.
    """
    valid = (target > EPSILON).float()
    count = valid.sum((1, 2)).clamp_min(1)
    gap = (target.clamp_min(EPSILON).log() - predicted.clamp_min(EPSILON).log()) * valid
    mean, square = gap.sum((1, 2)) / count, (gap * gap).sum((1, 2)) / count
    # the root has no gradient at zero: an image without valid pixels must not give NaN
    each = (square - 0.5 * mean * mean).clamp_min(1e-12).sqrt()
    return each.mean() if images is None else each.sum() / images


def absolute_loss(predicted: Tensor, target: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean absolute error of depth [N, h, w] in metres; pixels with target 0 do not count.

    `count` is a number of pixels to divide by instead, where the rest of a batch is elsewhere.
    """
    valid = target > EPSILON
    total = ((predicted - target).abs() * valid).sum()
    return total / (valid.sum().clamp_min(1) if count is None else count)


def depth_loss(
    predicted: Tensor, target: Tensor, images: Tensor | None = None, pixels: Tensor | None = None
) -> Tensor:
    """SILog + 0.2 L1 of depth [N, h, w] in metres; pixels with target 0 do not count.

    `images` and `pixels` are numbers to divide by, see `silog_loss` and `absolute_loss`.
    """
    silog = silog_loss(predicted, target, images)
    return silog + 0.2 * absolute_loss(predicted, target, pixels)


def log_depth_loss(
    predicted: Tensor, target: Tensor, far: float, limit: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of weighted |log z - log z*| and of the weights: over all processes a mean of both.

    The sky (target 0) should lie at `far`, and counts little; NaN does not count. A mean absolute
    error keeps edges sharp, where a squared one would place pixels in between.

    Args:
        predicted, target: [N, H, W] metres.
        far: what the sky should be, and all that is farther.
        limit: beyond it an error counts FAR_WEIGHT.
        weights: [N, H, W] > 0 how much each pixel counts beside that; None: all the same.
    """
    truth = torch.where(target > 0, target.clamp(0.3, far), far)
    weight = torch.where(truth < limit, 1.0, FAR_WEIGHT) * ~target.isnan()
    weight = weight if weights is None else weight * weights
    return ((predicted.log() - truth.log()).abs() * weight).sum(), weight.sum()
