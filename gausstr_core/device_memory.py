"""The accelerator's memory: given back while a pipeline rests, and asked for less of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from gausstr_core.contracts import VoxelGrid
from gausstr_core.pipeline import OccupancyPipeline


class DeviceMemory:
    """What one pipeline takes of its device."""

    def __init__(self, pipeline: OccupancyPipeline) -> None:
        self._pipeline = pipeline
        self._lowered = 0  # steps

    def leave(self) -> None:
        """Keep the weights in main memory and give the accelerator's back; idle where it is."""
        self._pipeline.model.to('cpu')
        self._empty_cache()

    def enter(self) -> None:
        """Bring the weights to where they run; nothing is done where they are."""
        self._pipeline.model.to(self._pipeline.device)

    def lower(self, check: Callable[[VoxelGrid], object] | None = None) -> str | None:
        """Need less from the next cycle on.

        First the network encodes one camera at a time, which changes no map; then voxels are
        twice as large, where the grid is a whole number of those.

        Args:
            check: raises ValueError for a grid that is of no use to the caller.

        Returns:
            What has changed, in words; None where nothing smaller is left.
        """
        self._empty_cache()
        self._lowered += 1
        if self._lowered == 1:
            self._pipeline.camera_by_camera = True
            return 'the network encodes one camera at a time'
        if self._lowered == 2:
            with contextlib.suppress(ValueError):
                grid = self._pipeline.grid
                coarse = VoxelGrid(grid.lower, grid.upper, 2 * grid.resolution)
                if check is not None:
                    check(coarse)
                self._pipeline.grid = coarse
                return f'one camera at a time, and voxels of {coarse.resolution:g} m'
        return None

    def _empty_cache(self) -> None:
        """Else torch would keep what is freed."""
        if self._pipeline.device.type == 'cuda':
            torch.cuda.empty_cache()
