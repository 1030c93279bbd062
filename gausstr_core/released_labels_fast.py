"""Released labels on the CPU with numba; the plain twin is in released_labels.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.parallel import kernel, parallel_kernel, run
from gausstr_core.voxels.exponential import exponentiate

SHARPNESS, SURE = np.float32(100.0), np.float32(0.1)
# a prompt this far below the best one cannot reach SURE
FAR = np.float32(-math.log(0.1) / 100.0 * 1.001)
FREE = np.uint8(17)


def label(
    density: Tensor,
    features: Tensor,
    owners: Tensor,
    labels: Sequence[int],
    occupied_threshold: float,
) -> tuple[Tensor, Tensor]:
    """Return labels [X, Y, Z] and merged probabilities [X, Y, Z, M]; see `released_labels`."""
    values = features.float().contiguous().numpy()
    sure = np.zeros((values.shape[0], values.shape[3]), np.bool_)
    run(_find_sure, values, sure)
    chosen = np.empty(density.shape, np.uint8)
    merged = np.empty((*density.shape, len(labels)), np.float32)
    run(
        _label,
        density.float().contiguous().numpy(),
        values,
        sure.any(0),
        owners.numpy(),
        np.array(labels, np.uint8),
        np.float32(occupied_threshold),
        chosen,
        merged,
    )
    return torch.from_numpy(chosen), torch.from_numpy(merged).to(features.dtype)


@parallel_kernel
def _find_sure(features: np.ndarray, sure: np.ndarray) -> None:
    """sure[i, c]: some voxel of plane i is sure of prompt c."""
    for i in numba.prange(features.shape[0]):
        for j in range(features.shape[1]):
            for k in range(features.shape[2]):
                _mark_sure(features[i, j, k], sure[i])


@kernel
def _mark_sure(values: np.ndarray, sure: np.ndarray) -> None:
    best = _largest(values)
    for c in range(values.shape[0]):
        if values[c] > best - FAR and not sure[c]:
            total = np.float32(0)
            for other in range(values.shape[0]):
                total += math.exp(SHARPNESS * (values[other] - best))
            sure[c] = math.exp(SHARPNESS * (values[c] - best)) / total >= SURE


@kernel
def _largest(values: np.ndarray) -> float:
    best = values[0]
    for c in range(1, values.shape[0]):
        best = max(best, values[c])
    return best


@parallel_kernel
def _label(
    density: np.ndarray, features: np.ndarray, sure: np.ndarray, owners: np.ndarray,
    labels: np.ndarray, threshold: float, chosen: np.ndarray, merged: np.ndarray,
) -> None:  # fmt: skip
    for i in numba.prange(density.shape[0]):
        rows, channels = density.shape[2], features.shape[3]
        column = np.empty((rows, channels), np.float32)
        bits = np.empty(rows * channels, np.int32)
        for j in range(density.shape[1]):
            for k in range(rows):
                best = _largest(features[i, j, k])
                for c in range(channels):
                    column[k, c] = features[i, j, k, c] - best
            exponentiate(column.reshape(-1), bits)
            for k in range(rows):
                category = _merge(column[k], sure, owners, merged[i, j, k])
                chosen[i, j, k] = labels[category] if density[i, j, k] > threshold else FREE


@kernel
def _merge(weights: np.ndarray, sure: np.ndarray, owners: np.ndarray, merged: np.ndarray) -> int:
    """merged = the best share of each category; returns the first category with the largest."""
    total = np.float32(0)
    for c in range(weights.shape[0]):
        total += weights[c]
    merged[:] = 0
    for c in range(weights.shape[0]):
        if sure[c]:
            merged[owners[c]] = max(merged[owners[c]], weights[c] / total)
    category = 0
    for m in range(1, merged.shape[0]):
        if merged[m] > merged[category]:
            category = m
    return category
