"""The numba kernels behind cpu.py: compositing of sorted ellipses and its gradient."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from gausstr_core.process.parallel import kernel, parallel_kernel, sum_kernel
from gausstr_core.splatting import projection

ALPHA_MAX = np.float32(projection.ALPHA_MAX)
ALPHA_MIN = np.float32(projection.ALPHA_MIN)
TRANSMITTANCE_MIN = np.float32(projection.TRANSMITTANCE_MIN)
ONE, HALF = np.float32(1), np.float32(0.5)


class Pairs(NamedTuple):
    """P (camera, Gaussian) pairs; camera n owns ends[n] .. ends[n + 1] - 1, near to far."""

    means: np.ndarray  # [P, 2] pixels
    conics: np.ndarray  # [P, 3] xx, xy, yy
    opacities: np.ndarray  # [P]
    features: np.ndarray  # [P, C]
    depths: np.ndarray  # [P]
    radii: np.ndarray  # [P, 2] pixels
    ends: np.ndarray  # [N + 1] int64


class Images(NamedTuple):
    """What is drawn, or the gradient of it; `opening` is transmittance, or d_alpha."""

    features: np.ndarray  # [N, h, w, C]
    depth: np.ndarray  # [N, h, w]
    opening: np.ndarray  # [N, h, w]


class Gradients(NamedTuple):
    """Gradients of the first five of `Pairs`."""

    means: np.ndarray
    conics: np.ndarray
    opacities: np.ndarray
    features: np.ndarray
    depths: np.ndarray


@parallel_kernel
def composite(pairs: Pairs, images: Images, stop: np.ndarray) -> None:
    """Draw the pairs into zeroed images with a transmittance of one.

    `stop` [N, h, w] int32 gets, per pixel, the pair before which the ray ended.
    """
    for n in numba.prange(pairs.ends.shape[0] - 1):
        _composite_camera(
            n, pairs, images.features[n], images.depth[n], images.opening[n], stop[n]
        )


@parallel_kernel
def composite_backward(
    pairs: Pairs, transmittance: np.ndarray, stop: np.ndarray, incoming: Images, out: Gradients
) -> None:
    """Write the gradients of the pairs; `transmittance` [N, h, w] (final values) is used up."""
    for n in numba.prange(pairs.ends.shape[0] - 1):
        _backward_camera(
            n, pairs, transmittance[n], stop[n],
            incoming.features[n], incoming.depth[n], incoming.opening[n], out,
        )  # fmt: skip


@kernel
def _rows(mean_y: float, radius_y: float, height: int) -> tuple[int, int]:
    """First and one past the last pixel row that an ellipse can touch."""
    first = max(np.float32(0), mean_y - radius_y)
    last = min(np.float32(height - 1), mean_y + radius_y)
    return int(first), int(last) + 1


@kernel
def _span(
    mean_x: float, conic: np.ndarray, dy: float, limit: float, width: int
) -> tuple[int, int]:
    """First and one past the last pixel of a row where power <= limit (slightly generous)."""
    xx, xy, yy = conic[0], conic[1], conic[2]
    inside = xy * xy * dy * dy - xx * (yy * dy * dy - (limit + limit))
    if inside < 0:
        return 0, 0
    center = mean_x - xy * dy / xx - HALF
    reach = math.sqrt(inside) / xx
    first = max(np.float32(0), center - reach)
    last = min(np.float32(width - 1), center + reach)
    if last < first:
        return 0, 0
    return math.ceil(first), int(last) + 1


@kernel
def _limit(opacity: float) -> float:
    """Power above which alpha is surely below ALPHA_MIN."""
    return math.log(opacity / ALPHA_MIN) + np.float32(1e-3)


@kernel
def _composite_camera(
    n: int, pairs: Pairs,
    feature_image: np.ndarray, depth_image: np.ndarray, transmittance: np.ndarray,
    stop: np.ndarray,
) -> None:  # fmt: skip
    means, conics, radii = pairs.means, pairs.conics, pairs.radii
    opacities, depths, features = pairs.opacities, pairs.depths, pairs.features
    begin, end = pairs.ends[n], pairs.ends[n + 1]
    height, width, channels = feature_image.shape
    stop[:] = end
    for p in range(begin, end):
        opacity, depth, conic = opacities[p], depths[p], conics[p]
        xx, xy, yy = conic[0], conic[1], conic[2]
        limit = _limit(opacity)
        feature = features[p]
        first_row, end_row = _rows(means[p, 1], radii[p, 1], height)
        for y in range(first_row, end_row):
            dy = np.float32(y) + HALF - means[p, 1]
            first, past = _span(means[p, 0], conic, dy, limit, width)
            for x in range(first, past):
                if stop[y, x] <= p:
                    continue
                dx = np.float32(x) + HALF - means[p, 0]
                power = HALF * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
                alpha = min(ALPHA_MAX, opacity * math.exp(-power))
                if power < 0 or alpha < ALPHA_MIN:
                    continue
                before = transmittance[y, x]
                after = before * (ONE - alpha)
                if after <= TRANSMITTANCE_MIN:
                    stop[y, x] = p
                    continue
                weight = alpha * before
                transmittance[y, x] = after
                depth_image[y, x] += weight * depth
                pixel = feature_image[y, x]
                for c in range(channels):
                    pixel[c] += weight * feature[c]


@sum_kernel
def _dot_and_add(
    feature: np.ndarray, incoming: np.ndarray, weight: float, d_feature: np.ndarray
) -> float:
    """feature . incoming, while d_feature += weight * incoming; may be summed in any order."""
    total = np.float32(0)
    for c in range(feature.shape[0]):
        total += feature[c] * incoming[c]
        d_feature[c] += weight * incoming[c]
    return total


@kernel
def _backward_camera(
    n: int, pairs: Pairs, transmittance: np.ndarray, stop: np.ndarray,
    d_feature_image: np.ndarray, d_depth_image: np.ndarray, d_alpha_image: np.ndarray,
    out: Gradients,
) -> None:  # fmt: skip
    """From far to near; `behind` holds, per pixel, what the pairs behind add to the loss."""
    means, conics, radii = pairs.means, pairs.conics, pairs.radii
    opacities, depths, features = pairs.opacities, pairs.depths, pairs.features
    begin, end = pairs.ends[n], pairs.ends[n + 1]
    height, width = stop.shape
    behind = np.zeros((height, width), np.float32)
    for p in range(end - 1, begin - 1, -1):
        opacity, depth, conic = opacities[p], depths[p], conics[p]
        xx, xy, yy = conic[0], conic[1], conic[2]
        limit = _limit(opacity)
        g_x = g_y = g_xx = g_xy = g_yy = g_opacity = g_depth = np.float32(0)
        first_row, end_row = _rows(means[p, 1], radii[p, 1], height)
        for y in range(first_row, end_row):
            dy = np.float32(y) + HALF - means[p, 1]
            first, past = _span(means[p, 0], conic, dy, limit, width)
            for x in range(first, past):
                if stop[y, x] <= p:
                    continue
                dx = np.float32(x) + HALF - means[p, 0]
                power = HALF * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
                falloff = math.exp(-power)
                raw = opacity * falloff
                alpha = min(ALPHA_MAX, raw)
                if power < 0 or alpha < ALPHA_MIN:
                    continue
                rest = ONE / (ONE - alpha)
                before = transmittance[y, x] * rest
                weight = alpha * before
                transmittance[y, x] = before
                share = _dot_and_add(features[p], d_feature_image[y, x], weight, out.features[p])
                share += depth * d_depth_image[y, x] + d_alpha_image[y, x]
                g_depth += weight * d_depth_image[y, x]
                d_alpha = before * share - behind[y, x] * rest
                behind[y, x] += weight * share
                if raw <= ALPHA_MAX:
                    g_opacity += falloff * d_alpha
                    d_power = -raw * d_alpha
                    g_x -= d_power * (xx * dx + xy * dy)
                    g_y -= d_power * (yy * dy + xy * dx)
                    g_xx += d_power * HALF * dx * dx
                    g_xy += d_power * dx * dy
                    g_yy += d_power * HALF * dy * dy
        out.means[p, 0], out.means[p, 1] = g_x, g_y
        out.conics[p, 0], out.conics[p, 1], out.conics[p, 2] = g_xx, g_xy, g_yy
        out.opacities[p], out.depths[p] = g_opacity, g_depth
