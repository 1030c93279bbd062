"""The twin of kernels.py in plain numpy: the same arguments, the same bits, no compiler."""

from __future__ import annotations

import numpy as np

from gausstr_core.remembering.evidence import GROUND
from gausstr_core.remembering.kernels import (
    FIXED,
    FREE,
    GROUNDS,
    KEPT_GROUND,
    KEPT_OBJECT,
    MOVABLE,
    OUT_OF_VIEW,
    SHARES,
    TURNS,
)
from gausstr_core.remembering.looking import UNSEEN
from gausstr_core.remembering.ring import NAMELESS, NEVER, STEP


def _floors(matrix: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Whole coordinates [X, Y, Z] along three axes of matrix [3, 4] times the indices."""
    i, j, k = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing='ij')
    return [
        np.floor(m[0] * i + m[1] * j + m[3] + m[2] * k).astype(np.int64) for m in matrix
    ]  # fmt: skip


def _cells(window: list[np.ndarray], size: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Index in the ring of coordinates in its window, 0 outside of it."""
    x, y, z = (
        (np.clip(w, 0, n - 1) + o) % n for w, n, o in zip(window, size, origin, strict=True)
    )
    flat: np.ndarray = (x * size[1] + y) * size[2] + z
    return flat


def recall(
    bins: np.ndarray,
    table: np.ndarray,
    kinds: np.ndarray,
    movable: np.ndarray,
    cells_from_voxel: np.ndarray,
    size: np.ndarray,
    origin: np.ndarray,
    odds: np.ndarray,
    seen: np.ndarray,
    slot: np.ndarray,
    label_of: np.ndarray,
    share_of: np.ndarray,
    decay: np.ndarray,
    limits: np.ndarray,
    levels: np.ndarray,
    most: float,
    labels: np.ndarray,
    confidence: np.ndarray,
    observed: np.ndarray,
    age: np.ndarray,
) -> None:
    """See `kernels.recall`."""
    now, longest, movable_longest = (int(limit) for limit in limits)
    present = labels >= 0
    age[...] = np.where(present | observed, 0.0, np.inf)
    floors = _floors(cells_from_voxel, bins.shape)
    window = [w - o for w, o in zip(floors, origin, strict=True)]
    inside = np.all([(w >= 0) & (w < n) for w, n in zip(window, size, strict=True)], axis=0)
    cell = _cells(window, size, origin)
    old = now - seen[cell]
    known = inside & (seen[cell] != NEVER) & (old <= longest)
    named = slot[cell] != NAMELESS
    name = np.where(named, slot[cell], 0)
    moves = named & movable[label_of[name]]
    known &= ~(moves & (old > movable_longest))
    faded = decay[np.clip(old, 0, longest) * (len(decay) - 1) // longest]
    past = odds[cell] / STEP * np.where(observed, faded, 1.0)
    looked = bins != UNSEEN
    total = np.where(looked, past + table[np.maximum(bins, 0)], past)
    own = np.maximum(labels, 0)
    kept = np.where(kinds[own] == GROUND, levels[KEPT_GROUND], levels[KEPT_OBJECT])
    taken = known & present & ~movable[own] & looked & (total < kept)
    which = np.where(moves, MOVABLE, FIXED)
    which = np.where(kinds[label_of[name]] == GROUND, GROUNDS, which)
    least = np.where(named, levels[which + np.where(observed, 0, OUT_OF_VIEW)], np.inf)
    shown = known & ~present & (total >= least)
    free = known & ~present & ~shown & ~observed & (total < levels[FREE])
    sure = share_of[name] / SHARES / (1.0 + np.exp(-total))
    labels[taken], confidence[taken] = -1, 0.0
    labels[shown], confidence[shown] = label_of[name][shown], sure[shown]
    observed[shown | free] = True
    age[shown | free] = old[shown | free] / 1000.0


def learn(
    bins: np.ndarray,
    table: np.ndarray,
    labels: np.ndarray,
    confidence: np.ndarray,
    voxel_from_cell: np.ndarray,
    size: np.ndarray,
    origin: np.ndarray,
    odds: np.ndarray,
    seen: np.ndarray,
    slot: np.ndarray,
    owner: np.ndarray,
    label_of: np.ndarray,
    share_of: np.ndarray,
    named: np.ndarray,
    hand: np.ndarray,
    turn: int,
    decay: np.ndarray,
    limits: np.ndarray,
    scale: float,
    most: float,
    wanted: np.ndarray,
) -> int:
    """See `kernels.learn`; cell by cell where names are given, as they take turns."""
    now, longest, _ = (int(limit) for limit in limits)
    shape = tuple(int(n) for n in size)
    voxel = _floors(voxel_from_cell, shape)
    inside = np.all([(v >= 0) & (v < n) for v, n in zip(voxel, bins.shape, strict=True)], axis=0)
    i, j, k = (np.clip(v, 0, n - 1) for v, n in zip(voxel, bins.shape, strict=True))
    looked = inside & (bins[i, j, k] != UNSEEN)
    i, j, k = i[looked], j[looked], k[looked]
    cell = _cells(list(np.indices(shape)), size, origin)[looked]
    old = now - seen[cell]
    kept = (seen[cell] != NEVER) & (old <= longest)
    past = odds[cell] / STEP * decay[np.clip(old, 0, longest) * (len(decay) - 1) // longest]
    total = np.where(kept, past, 0.0) + table[bins[i, j, k]] * scale
    odds[cell] = np.floor(np.clip(total, -most, most) * STEP + 0.5).astype(np.int16)
    seen[cell] = now
    slot[cell[~kept]] = NAMELESS
    shares = np.floor(confidence[i, j, k] * SHARES + 0.5).astype(np.uint8)
    count = 0
    for n in np.flatnonzero(labels[i, j, k] >= 0):
        at, label, share = cell[n], labels[i[n], j[n], k[n]], int(shares[n])
        name = slot[at]
        fresh = name == NAMELESS
        if fresh:
            name = int(hand[0])
            hand[0] = (name + 1) % len(owner)
            if owner[name] != NAMELESS and slot[owner[name]] == name:
                slot[owner[name]] = NAMELESS
            owner[name], slot[at], label_of[name], share_of[name] = at, name, label, share
        elif label_of[name] == label:
            share_of[name] = share
        else:
            share_of[name] -= share_of[name] // 4
            if share < share_of[name]:
                continue
            label_of[name], share_of[name] = label, share
        named[name] = now
        if (fresh or (name + turn) % TURNS == 0) and count < len(wanted):
            flat = np.ravel_multi_index((i[n], j[n], k[n]), bins.shape)
            wanted[count] = name, flat, fresh
            count += 1
    return count
