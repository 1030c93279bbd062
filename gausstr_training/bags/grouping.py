"""Group the stamps of several cameras into complete sets, with the whole recording known.

The node's synchroniser must decide while images arrive. Here all stamps are known beforehand, so
that the best grouping can be found: many sets, each as short as possible. A recording that starts
in the middle of a cycle is then grouped as the cameras fired, not shifted by half a cycle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def group_stamps(stamps: Sequence[NDArray[np.int64]], tolerance: int) -> NDArray[np.int64]:
    """Choose disjoint sets of largest total worth; a set of span s is worth 2 x tolerance - s.

    So the longest set is worth half the shortest: a grouping gains by another set, and loses by
    stretching two. The choice is among the sets that hold, from their first image on, the next
    one of every other camera: any other set skips an image for a later one. Weighted interval
    scheduling (Kleinberg & Tardos, Algorithm Design, section 6.1).

    Args:
        stamps: per camera [n_c] nanoseconds, strictly ascending.
        tolerance: nanoseconds that the images of a set may lie apart.

    Returns:
        [sets, cameras] index of each set's image within its camera; ascending in every column, so
        that no image is in two sets.
    """
    picks, spans = _shortest_windows(stamps, tolerance)
    if not len(picks):
        return picks
    worth = (2 * tolerance + 1 - spans).tolist()  # + 1: so is a set at tolerance 0
    # Picks never step back from window to window: those that share no image with window j are
    # all windows before the first that shares one.
    free = np.min(
        [np.searchsorted(column, column, 'left') for column in picks.T], axis=0
    ).tolist()  # fmt: skip
    best = [0] * (len(picks) + 1)
    for j, value in enumerate(worth):
        best[j + 1] = max(best[j], best[free[j]] + value)
    chosen, j = [], len(picks)
    while j > 0:
        if best[j] == best[j - 1]:
            j -= 1
        else:
            chosen.append(j - 1)
            j = free[j - 1]
    return picks[chosen[::-1]]


def _shortest_windows(
    stamps: Sequence[NDArray[np.int64]], tolerance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From every image on, the first image of each camera: indices [W, C] and spans [W]."""
    starts = np.unique(np.concatenate(stamps))
    picks = np.stack([np.searchsorted(own, starts, 'left') for own in stamps], axis=1)
    whole = (picks < [len(own) for own in stamps]).all(axis=1)
    picks, starts = picks[whole].astype(np.int64), starts[whole]
    latest = np.max([own[picks[:, c]] for c, own in enumerate(stamps)], axis=0)
    near = latest - starts <= tolerance
    return picks[near], (latest - starts)[near]
