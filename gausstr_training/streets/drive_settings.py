"""What a drive is made of: all that reading one needs to know of how it is made."""

from __future__ import annotations

from dataclasses import dataclass

from gausstr_training.streets.grids import RESOLUTION

USUAL_RATE = 2.0  # Hz
FORMAT = 1  # of the folder; another one cannot be read


@dataclass(frozen=True)
class DriveSettings:
    """What a drive is made of; the same settings give the same bytes."""

    seed: int
    frames: int = 1
    width: int = 448
    height: int = 252
    voxels: bool = True
    randomise: bool = False  # domain randomisation, see variation.py
    resolutions: tuple[float, ...] = (RESOLUTION,)  # metres, of the voxel truth; see grids.py
    style: str = ''  # a name in styles.STYLES; '': as they are
    moving: bool = False  # whether the truth says which voxels belong to what moves
    rate: float = USUAL_RATE  # cycles a second
    hilly: bool = False  # slopes and a turn

    @property
    def period(self) -> int:
        """Nanoseconds between cycles."""
        return round(1e9 / self.rate)
