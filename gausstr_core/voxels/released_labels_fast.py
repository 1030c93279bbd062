"""Released labels on the CPU with numba; the plain twin is in released_labels.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.process.parallel import kernel, parallel_kernel, run
from gausstr_core.voxels.exponential import exponentiate

SHARPNESS = np.float32(100.0)
# a prompt's sharp softmax is >= 0.1 where the exponentials, relative to its own, sum to <= 10
LIMIT = np.float32(10.0)
FAR = np.float32(math.log(10.0) / 100.0)
ONE = np.float32(1)
RUN = 64  # voxels that are worked on at once, one row per prompt: they fit the first cache


def label(
    density: Tensor,
    features: Tensor,
    owners: Tensor,
    labels: Sequence[int],
    free: int,
    occupied_threshold: float,
) -> tuple[Tensor, Tensor]:
    """Return labels [X, Y, Z] and merged probabilities [X, Y, Z, M]; see `released_labels`."""
    planes = density.shape[0]
    values = features.float().reshape(planes, -1, features.shape[3]).contiguous().numpy()
    dense = density.float().reshape(planes, -1).contiguous().numpy()
    sure = np.zeros(values.shape[2], np.bool_)
    run(_find_sure, dense, values, sure)
    chosen = np.empty(dense.shape, np.uint8)
    merged = np.empty((*dense.shape, len(labels)), np.float32)
    names = np.array(labels, np.int32)
    threshold = np.float32(occupied_threshold)
    run(
        _label, dense, values, sure, owners.cpu().numpy(), names, np.uint8(free), threshold,
        chosen, merged,
    )  # fmt: skip
    probabilities = torch.from_numpy(merged).to(features.dtype)
    return torch.from_numpy(chosen).reshape(density.shape), probabilities.reshape(
        *density.shape, len(labels)
    )


@parallel_kernel
def _find_sure(density: np.ndarray, features: np.ndarray, sure: np.ndarray) -> None:
    """sure[c]: some voxel is sure of prompt c.

    Threads only ever turn an entry to True, and look at it to save work: the result is the same
    whoever comes first.
    """
    for i in numba.prange(features.shape[0]):
        for start in range(0, features.shape[1], RUN):
            missing = np.flatnonzero(~sure)
            if len(missing) == 0:
                break
            for n in range(start, min(start + RUN, features.shape[1])):
                # nothing there: all prompts are alike, so with eleven or more none reaches it
                if density[i, n] == 0 and features.shape[2] > LIMIT:
                    continue
                for c in missing:
                    if _is_sure(features[i, n], int(c)):
                        sure[c] = True


@kernel
def _is_sure(values: np.ndarray, c: int) -> bool:
    for other in range(values.shape[0]):
        if values[other] > values[c] + FAR:
            return False
    total = np.float32(0)
    for other in range(values.shape[0]):
        total += math.exp(SHARPNESS * (values[other] - values[c]))
    return total <= LIMIT


@parallel_kernel
def _label(
    density: np.ndarray, features: np.ndarray, sure: np.ndarray, owners: np.ndarray,
    labels: np.ndarray, free: int, threshold: float, chosen: np.ndarray, merged: np.ndarray,
) -> None:  # fmt: skip
    for i in numba.prange(density.shape[0]):
        prompts = np.zeros((features.shape[2], RUN), np.float32)
        bits = np.empty(prompts.size, np.int32)
        categories = np.empty((merged.shape[2], RUN), np.float32)
        names = np.empty(RUN, np.int32)
        for start in range(0, density.shape[1], RUN):
            count = min(RUN, density.shape[1] - start)
            for n in range(count):
                for c in range(prompts.shape[0]):
                    prompts[c, n] = features[i, start + n, c]
            _lower_to_best(prompts)
            exponentiate(prompts.reshape(-1), bits)
            _merge(prompts, sure, owners, categories)
            _name(categories, labels, names)
            for n in range(count):
                occupied = density[i, start + n] > threshold
                chosen[i, start + n] = names[n] if occupied else free
                for m in range(categories.shape[0]):
                    merged[i, start + n, m] = categories[m, n]


@kernel
def _lower_to_best(prompts: np.ndarray) -> None:
    """Take the largest of each column [K, RUN] off the column."""
    best = prompts[0].copy()
    for c in range(1, prompts.shape[0]):
        row = prompts[c]
        for n in range(RUN):
            best[n] = row[n] if row[n] > best[n] else best[n]
    for c in range(prompts.shape[0]):
        row = prompts[c]
        for n in range(RUN):
            row[n] -= best[n]


@kernel
def _merge(
    weights: np.ndarray, sure: np.ndarray, owners: np.ndarray, categories: np.ndarray
) -> None:
    """categories [M, RUN] = the best share of each, among the prompts that survive."""
    total = weights[0].copy()
    for c in range(1, weights.shape[0]):
        row = weights[c]
        for n in range(RUN):
            total[n] += row[n]
    for n in range(RUN):
        total[n] = ONE / total[n]  # once: numba checks every divisor, which forbids vectors
    categories[:] = 0
    for c in range(weights.shape[0]):
        if sure[c]:
            row, best = weights[c], categories[owners[c]]
            for n in range(RUN):
                share = row[n] * total[n]
                best[n] = share if share > best[n] else best[n]


@kernel
def _name(categories: np.ndarray, labels: np.ndarray, names: np.ndarray) -> None:
    """names [RUN] = the label of the first category with the largest share."""
    best = categories[0].copy()
    names[:] = labels[0]
    for m in range(1, categories.shape[0]):
        row, label = categories[m], labels[m]
        for n in range(RUN):
            names[n] = label if row[n] > best[n] else names[n]
            best[n] = row[n] if row[n] > best[n] else best[n]
