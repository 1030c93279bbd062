"""The numba kernels behind cpu.py: compositing of sorted ellipses and its gradient."""

from __future__ import annotations

import math

import numba
import numpy as np

from gausstr_core.parallel import kernel, parallel_kernel
from gausstr_core.splatting import projection

ALPHA_MAX = np.float32(projection.ALPHA_MAX)
ALPHA_MIN = np.float32(projection.ALPHA_MIN)
TRANSMITTANCE_MIN = np.float32(projection.TRANSMITTANCE_MIN)
ONE, HALF = np.float32(1), np.float32(0.5)


@parallel_kernel
def composite(
    means, conics, opacities, features, depths, radii, ends,
    feature_image, depth_image, transmittance, stop,
):  # fmt: skip
    """Draw P pairs (camera n owns ends[n]..ends[n+1], near to far) into N images.

    `transmittance` comes in as ones; `stop` gets, per pixel, the pair before which the ray ended.
    """
    for n in numba.prange(ends.shape[0] - 1):
        _composite_camera(
            means, conics, opacities, features, depths, radii, ends[n], ends[n + 1],
            feature_image[n], depth_image[n], transmittance[n], stop[n],
        )  # fmt: skip


@parallel_kernel
def composite_backward(
    means, conics, opacities, features, depths, radii, ends, transmittance, stop,
    d_feature_image, d_depth_image, d_alpha_image,
    d_means, d_conics, d_opacities, d_features, d_depths,
):  # fmt: skip
    """Add the gradients of the pairs; `transmittance` (final values) is used up."""
    for n in numba.prange(ends.shape[0] - 1):
        _backward_camera(
            means, conics, opacities, features, depths, radii, ends[n], ends[n + 1],
            transmittance[n], stop[n], d_feature_image[n], d_depth_image[n], d_alpha_image[n],
            d_means, d_conics, d_opacities, d_features, d_depths,
        )  # fmt: skip


@kernel
def _rows(mean_y, radius_y, height):
    """First and one past the last pixel row that an ellipse can touch."""
    first = max(np.float32(0), mean_y - radius_y)
    last = min(np.float32(height - 1), mean_y + radius_y)
    return int(first), int(last) + 1


@kernel
def _span(mean_x, conic, dy, limit, width):
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
    return int(math.ceil(first)), int(last) + 1


@kernel
def _limit(opacity):
    """Power above which alpha is surely below ALPHA_MIN."""
    return math.log(opacity / ALPHA_MIN) + np.float32(1e-3)


@kernel
def _composite_camera(
    means, conics, opacities, features, depths, radii, begin, end,
    feature_image, depth_image, transmittance, stop,
):  # fmt: skip
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


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dot_and_add(feature, incoming, weight, d_feature):
    """feature . incoming, while d_feature += weight * incoming; may be summed in any order."""
    total = np.float32(0)
    for c in range(feature.shape[0]):
        total += feature[c] * incoming[c]
        d_feature[c] += weight * incoming[c]
    return total


@kernel
def _backward_camera(
    means, conics, opacities, features, depths, radii, begin, end,
    transmittance, stop, d_feature_image, d_depth_image, d_alpha_image,
    d_means, d_conics, d_opacities, d_features, d_depths,
):  # fmt: skip
    """From far to near; `behind` holds, per pixel, what the pairs behind add to the loss."""
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
                share = _dot_and_add(features[p], d_feature_image[y, x], weight, d_features[p])
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
        d_means[p, 0], d_means[p, 1] = g_x, g_y
        d_conics[p, 0], d_conics[p, 1], d_conics[p, 2] = g_xx, g_xy, g_yy
        d_opacities[p], d_depths[p] = g_opacity, g_depth
