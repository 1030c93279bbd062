"""A memory over half an hour: it grows neither in its arrays nor in the process."""

from __future__ import annotations

import torch
from cycles import BUILDING, GRID, SECOND, cycle, pose, words

from gausstr_core.process.memory import resident_memory
from gausstr_core.remembering import Evidence, Memory, MemorySettings
from gausstr_core.remembering.evidence import plain_table
from gausstr_core.voxels.rules import CalibratedRule

CYCLES = 30 * 60  # half an hour at one a second
GROWN = 4 * 2**20  # bytes: of the allocator, not of a memory that keeps what it saw


def test_half_an_hour_of_driving_round_costs_no_memory() -> None:
    vocabulary = words()
    random = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(8):
        labels = torch.randint(-1, 4, GRID.shape, generator=random)
        labels[torch.rand(GRID.shape, generator=random) < 0.7] = -1
        labels[12:] = BUILDING
        drawn.append(cycle(labels, 6.0))
    memory = Memory(MemorySettings(), GRID, Evidence(plain_table(), CalibratedRule()))
    occupied, sizes = memory.nbytes, []
    for number in range(CYCLES):
        ego = pose(x=2.5 * number, y=0.01 * number, yaw=0.1 * number)
        found = memory.remember(drawn[number % len(drawn)], vocabulary, ego, number * SECOND)
        if number % 30 == 0:
            sizes.append(resident_memory())
    assert not memory.resets and bool((found.occupancy.labels >= 0).any())
    assert memory.nbytes == occupied
    warm = sizes[len(sizes) // 3]
    assert max(sizes[-5:]) - warm < GROWN, [size >> 20 for size in sizes]
