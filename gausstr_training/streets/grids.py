"""The grids in which a street may have its voxel truth, and how its files call them.

Down to 0.2 m the truth covers the grid of Occ3D. Finer ones cover +-12 m around the ego: 0.1 m
voxels over all of it would be 41 million, of which a small robot maps the near ones alone.
"""

from __future__ import annotations

from gausstr_core.contracts import VoxelGrid

RESOLUTION = 0.4  # metres; that of Occ3D, and what a street has unless asked for others
FINEST_EVERYWHERE = 0.2  # metres; the truth of finer voxels ends at NEAR
NEAR = 12.0  # metres from the ego to each side


def truth_grid(resolution: float = RESOLUTION) -> VoxelGrid:
    """Where a street's truth of a resolution in metres lies, ego frame.

    Raises:
        ValueError: the range is not a whole number of such voxels.
    """
    whole = VoxelGrid()
    if resolution >= FINEST_EVERYWHERE:
        return VoxelGrid(whole.lower, whole.upper, resolution)
    lower, upper = whole.lower[2], whole.upper[2]
    return VoxelGrid((-NEAR, -NEAR, lower), (NEAR, NEAR, upper), resolution)


def truth_names(resolution: float) -> tuple[str, str]:
    """What a truth file calls voxels and camera mask of a resolution."""
    suffix = _suffix(resolution)
    return f'voxels{suffix}', f'camera_mask{suffix}'


def moving_name(resolution: float) -> str:
    """What a truth file calls the mask of what moves."""
    return f'moving{_suffix(resolution)}'


def _suffix(resolution: float) -> str:
    return '' if resolution == RESOLUTION else f'_{resolution:g}'


def listed(resolutions: tuple[float, ...]) -> str:
    """Resolutions for people: '0.8, 0.4 m', or 'none'."""
    return f'{", ".join(f"{value:g}" for value in resolutions)} m' if resolutions else 'none'
