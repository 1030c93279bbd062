"""Reading and feeding the ring on the CPU with numba; plain.py is the twin of both."""

from __future__ import annotations

import math

import numpy as np

from gausstr_core.process.parallel import kernel
from gausstr_core.remembering.evidence import GROUND
from gausstr_core.remembering.looking import UNSEEN
from gausstr_core.remembering.ring import NAMELESS, NEVER, STEP

SHARES = 255.0
TURNS = 4  # cycles in which each name that is seen learns its feature once
# Places in `levels`, log-odds from which on what is remembered is shown: of ground, of objects
# that stay, of movable ones, where the present sees too; of the same where it does not.
GROUNDS, FIXED, MOVABLE, OUT_OF_VIEW = 0, 1, 2, 3
# below these, what the present sees itself is taken away; and free space out of view is known
KEPT_GROUND, KEPT_OBJECT, FREE = 6, 7, 8


@kernel
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
    """Add what is remembered to the map of a cycle, in place.

    `limits` are now, the memory's length and that of movable categories, all int64 ms; `decay`
    is the factor at each of its steps of that length. `levels` are named above.
    """
    now, longest, movable_longest = limits
    steps = len(decay)
    # no past, of `most` log-odds at best, shows what now looks as free as that
    hopeless = min(levels[GROUNDS], levels[FIXED], levels[MOVABLE]) - most
    m = cells_from_voxel
    nx, ny, nz = size
    # the ring's index of the window's lowest cell, so that no cell needs a modulo
    ox, oy, oz = origin[0] % nx, origin[1] % ny, origin[2] % nz
    for i in range(bins.shape[0]):
        for j in range(bins.shape[1]):
            x0 = m[0, 0] * i + m[0, 1] * j + m[0, 3]
            y0 = m[1, 0] * i + m[1, 1] * j + m[1, 3]
            z0 = m[2, 0] * i + m[2, 1] * j + m[2, 3]
            for k in range(bins.shape[2]):
                label = labels[i, j, k]
                age[i, j, k] = 0.0 if label >= 0 or observed[i, j, k] else np.inf
                if label >= 0 and movable[label]:
                    continue
                looked = bins[i, j, k]
                if (
                    label < 0
                    and observed[i, j, k]
                    and looked != UNSEEN
                    and table[looked] < hopeless
                ):
                    continue
                x = math.floor(x0 + m[0, 2] * k) - origin[0]
                y = math.floor(y0 + m[1, 2] * k) - origin[1]
                z = math.floor(z0 + m[2, 2] * k) - origin[2]
                if x < 0 or y < 0 or z < 0 or x >= nx or y >= ny or z >= nz:
                    continue
                x, y, z = x + ox, y + oy, z + oz
                x = x - nx if x >= nx else x
                y = y - ny if y >= ny else y
                z = z - nz if z >= nz else z
                cell = (x * ny + y) * nz + z
                old = now - seen[cell]
                if seen[cell] == NEVER or old > longest:
                    continue
                name = slot[cell]
                if name != NAMELESS and movable[label_of[name]] and old > movable_longest:
                    continue
                past = odds[cell] / STEP
                if observed[i, j, k]:
                    past *= decay[old * (steps - 1) // longest]
                total = past + table[looked] if looked != UNSEEN else past
                if label >= 0:
                    kept = levels[KEPT_GROUND if kinds[label] == GROUND else KEPT_OBJECT]
                    if looked != UNSEEN and total < kept:
                        labels[i, j, k] = -1
                        confidence[i, j, k] = 0.0
                    continue
                least = np.inf
                if name != NAMELESS:
                    which = FIXED
                    if kinds[label_of[name]] == GROUND:
                        which = GROUNDS
                    elif movable[label_of[name]]:
                        which = MOVABLE
                    least = levels[which + (0 if observed[i, j, k] else OUT_OF_VIEW)]
                if total >= least:
                    labels[i, j, k] = label_of[name]
                    confidence[i, j, k] = share_of[name] / SHARES / (1.0 + math.exp(-total))
                    observed[i, j, k] = True
                    age[i, j, k] = old / 1000.0
                elif not observed[i, j, k] and total < levels[FREE]:
                    observed[i, j, k] = True
                    age[i, j, k] = old / 1000.0


@kernel
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
    """Add what a cycle saw to the ring, each cell from the voxel that its middle lies in.

    `wanted` int32 [S, 3] gets the names whose feature shall be learned now; their number is
    returned. Slot, flat voxel, whether the name is new: new ones, and of the others every
    TURNS-th, which one says `turn`: features cost most of all.
    """
    now, longest, _ = limits
    count = 0
    steps = len(decay)
    m = voxel_from_cell
    nx, ny, nz = size
    cells_x, cells_y, cells_z = bins.shape
    ox, oy, oz = origin[0] % nx, origin[1] % ny, origin[2] % nz
    tilt_x, tilt_y = abs(m[0, 2]) * nz, abs(m[1, 2]) * nz
    for a in range(nx):
        x = a + ox if a + ox < nx else a + ox - nx
        for b in range(ny):
            x0 = m[0, 0] * a + m[0, 1] * b + m[0, 3]
            y0 = m[1, 0] * a + m[1, 1] * b + m[1, 3]
            z0 = m[2, 0] * a + m[2, 1] * b + m[2, 3]
            if x0 < -tilt_x or x0 >= cells_x + tilt_x or y0 < -tilt_y or y0 >= cells_y + tilt_y:
                continue
            y = b + oy if b + oy < ny else b + oy - ny
            for c in range(nz):
                i = math.floor(x0 + m[0, 2] * c)
                j = math.floor(y0 + m[1, 2] * c)
                k = math.floor(z0 + m[2, 2] * c)
                if i < 0 or j < 0 or k < 0 or i >= cells_x or j >= cells_y or k >= cells_z:
                    continue
                looked = bins[i, j, k]
                if looked == UNSEEN:
                    continue
                z = c + oz if c + oz < nz else c + oz - nz
                cell = (x * ny + y) * nz + z
                past = 0.0
                old = now - seen[cell]
                if seen[cell] != NEVER and old <= longest:
                    past = odds[cell] / STEP * decay[old * (steps - 1) // longest]
                elif slot[cell] != NAMELESS:
                    slot[cell] = NAMELESS
                total = min(max(past + table[looked] * scale, -most), most)
                odds[cell] = np.int16(math.floor(total * STEP + 0.5))
                seen[cell] = now
                label = labels[i, j, k]
                if label < 0:
                    continue
                name = slot[cell]
                share = np.uint8(math.floor(confidence[i, j, k] * SHARES + 0.5))
                fresh = name == NAMELESS
                if fresh:
                    name = hand[0]
                    hand[0] = (name + 1) % len(owner)
                    before = owner[name]
                    if before != NAMELESS and slot[before] == name:
                        slot[before] = NAMELESS
                    owner[name] = cell
                    slot[cell] = name
                    label_of[name], share_of[name] = label, share
                elif label_of[name] == label:
                    share_of[name] = share
                else:
                    # another label: the surer one stays, a little less sure each time
                    weaker = share_of[name] - share_of[name] // 4
                    share_of[name] = weaker
                    if share < weaker:
                        continue
                    label_of[name], share_of[name] = label, share
                named[name] = now
                if (fresh or (name + turn) % TURNS == 0) and count < len(wanted):
                    wanted[count, 0] = name
                    wanted[count, 1] = (i * cells_y + j) * cells_z + k
                    wanted[count, 2] = fresh
                    count += 1
    return count
