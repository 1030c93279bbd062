"""Rows of small whole numbers as bytes, so that zstd packs them close to their entropy.

zstd spends at least one bit on a byte whose neighbours tell nothing about it. Rows of which most
numbers are zero need less, so two or three of their numbers share a byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gausstr_training.targets.container import DamagedFile

# largest magnitude of a row -> numbers per byte; (2 * 7 + 1)^2 and (2 * 2 + 1)^3 are below 256
SHARED = {2: 3, 7: 2, 127: 1}


def pack_rows(rows: NDArray[np.int8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pack rows [K, T] of numbers from -127 to 127.

    Returns:
        the limit of each row [K], a key of `SHARED`, and the bytes [B], limit by limit.
    """
    largest = np.abs(rows).max(1, initial=0)
    limits = np.select([largest <= 2, largest <= 7], [2, 7], 127).astype(np.uint8)
    parts = [_joined(rows[limits == limit], limit) for limit in SHARED]
    return limits, np.concatenate(parts)


def unpack_rows(
    limits: NDArray[np.uint8], packed: NDArray[np.uint8], length: int
) -> NDArray[np.int8]:
    """The rows [K, length] of `pack_rows`.

    Raises:
        DamagedFile: limits and bytes do not agree.
    """
    counts = {limit: int((limits == limit).sum()) for limit in SHARED}
    sizes = [counts[limit] * -(-length // shared) for limit, shared in SHARED.items()]
    if sum(counts.values()) != len(limits) or sum(sizes) != len(packed):
        raise DamagedFile(f'{len(limits)} rows of {length} numbers do not fit {len(packed)} bytes')
    rows = np.empty((len(limits), length), np.int8)
    past = 0
    for limit, size in zip(SHARED, sizes, strict=True):
        rows[limits == limit] = _parted(packed[past : past + size], counts[limit], length, limit)
        past += size
    return rows


def _joined(rows: NDArray[np.int8], limit: int) -> NDArray[np.uint8]:
    shared, base = SHARED[limit], 2 * limit + 1
    count, length = rows.shape
    digits = np.full((count, -(-length // shared) * shared), limit, np.uint8)  # filled with zeros
    digits[:, :length] = (rows.astype(np.int16) + limit).astype(np.uint8)
    digits = digits.reshape(-1, shared)
    value = digits[:, 0].copy()
    for place in range(1, shared):
        value = value * np.uint8(base) + digits[:, place]
    return value


def _parted(packed: NDArray[np.uint8], count: int, length: int, limit: int) -> NDArray[np.int8]:
    shared, base = SHARED[limit], 2 * limit + 1
    digits = np.empty((len(packed), shared), np.uint8)
    value = packed
    for place in reversed(range(shared)):
        value, digits[:, place] = np.divmod(value, np.uint8(base))
    rows = digits.reshape(count, -(-length // shared) * shared)[:, :length]
    # a damaged byte may hold what no row could
    return (rows.astype(np.int16) - limit).astype(np.int8)
