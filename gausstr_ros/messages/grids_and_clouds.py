"""Arrays -> messages: pure functions, whole arrays at a time."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import create_cloud, dtype_from_fields
from std_msgs.msg import Header
from torch import Tensor

from gausstr_core.contracts import Occupancy
from gausstr_core.vocabulary.vocabulary import Category

UNKNOWN, FREE, OCCUPIED = -1, 0, 100

# One point of ~/voxels, 24 bytes without padding. As RViz and PCL have it, rgb is 0x00RRGGBB in
# the bits of a float, and label is UINT32: PCL's PointXYZRGBL leaves another one out.
VOXEL_FIELDS = [
    PointField(name=name, offset=offset, datatype=datatype, count=1)
    for name, offset, datatype in (
        ('x', 0, PointField.FLOAT32),
        ('y', 4, PointField.FLOAT32),
        ('z', 8, PointField.FLOAT32),
        ('rgb', 12, PointField.FLOAT32),
        ('label', 16, PointField.UINT32),
        ('confidence', 20, PointField.FLOAT32),
    )
]
# With a memory: seconds since the voxel was seen, 0 where it is now.
AGE_FIELD = PointField(name='age', offset=24, datatype=PointField.FLOAT32, count=1)


def occupancy_grid(
    occupancy: Occupancy,
    categories: tuple[Category, ...],
    band: tuple[float, float],
    header: Header,
) -> OccupancyGrid:
    """The map from above, ready for a Nav2 static layer.

    A cell is occupied (100) where a voxel of the band holds an obstacle, that is a category of
    role `object`; free (0) where there is none and at least half of the band's voxels were
    observed; unknown (-1) elsewhere.

    Args:
        occupancy: the labelled voxels.
        categories: what the labels mean.
        band: lowest and highest z in metres, in the frame of the grid; voxels whose centre lies
            between count.
        header: stamp and frame.

    Raises:
        ValueError: no voxel has its centre in the band.
    """
    grid = occupancy.grid
    columns = band_slice(grid, band)
    obstacle = np.array([category.role == 'object' for category in categories] + [False])
    labels = occupancy.labels[:, :, columns].cpu().numpy()
    observed = occupancy.observed[:, :, columns].cpu().numpy()
    cells = np.full(labels.shape[:2], UNKNOWN, np.int8)
    cells[observed.mean(-1) >= 0.5] = FREE
    cells[obstacle[labels].any(-1)] = OCCUPIED  # label -1 reads the last entry, False
    message = OccupancyGrid(header=header)
    message.info.map_load_time = header.stamp
    message.info.resolution = float(grid.resolution)
    message.info.width, message.info.height = cells.shape
    message.info.origin.position.x, message.info.origin.position.y = map(float, grid.lower[:2])
    message.info.origin.orientation.w = 1.0
    # rows of the message run along y, its columns along x
    message.data = array.array('b', np.ascontiguousarray(cells.T).tobytes())
    return message


def band_slice(grid: Any, band: tuple[float, float]) -> slice:
    """Which voxels along z have their centre in a band of heights.

    Raises:
        ValueError: none has.
    """
    centers = grid.lower[2] + (np.arange(grid.shape[2]) + 0.5) * grid.resolution
    inside = np.flatnonzero((centers >= band[0]) & (centers <= band[1]))
    if not len(inside):
        raise ValueError(
            f'map.min_height {band[0]} to map.max_height {band[1]} m holds no voxel centre of '
            f'grid.range z {grid.lower[2]} to {grid.upper[2]} m with grid.resolution '
            f'{grid.resolution} m'
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def occupied_voxels(occupancy: Occupancy) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Indices [V, 3] and labels [V] of the occupied voxels."""
    labels = occupancy.labels.cpu().numpy()
    flat = np.flatnonzero(labels >= 0)  # 4 times as fast as in three dimensions
    return np.stack(np.unravel_index(flat, labels.shape), -1), labels.ravel()[flat]


def voxel_cloud(
    occupancy: Occupancy,
    categories: tuple[Category, ...],
    header: Header,
    age: Tensor | None = None,
) -> PointCloud2:
    """The centres of the occupied voxels with x, y, z, rgb, label and confidence.

    Args:
        occupancy: the labelled voxels.
        categories: what the labels mean.
        header: stamp and frame.
        age: [X, Y, Z] seconds since they were seen, one more field; None: there is none.
    """
    index, labels = occupied_voxels(occupancy)
    fields = VOXEL_FIELDS if age is None else [*VOXEL_FIELDS, AGE_FIELD]
    points = np.zeros(len(index), dtype_from_fields(fields))
    centers = (index + 0.5) * occupancy.grid.resolution + np.asarray(occupancy.grid.lower)
    points['x'], points['y'], points['z'] = centers.astype(np.float32).T
    points['rgb'] = packed_rgb(color_table(categories)).view(np.float32)[labels]
    points['label'] = labels
    points['confidence'] = occupancy.confidence.cpu().numpy()[tuple(index.T)]
    if age is not None:
        points['age'] = age.cpu().numpy()[tuple(index.T)]
    message = create_cloud(header, fields, points)
    message.is_dense = True  # no NaN
    return message


def packed_rgb(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """RGB [K, 3] as 0x00RRGGBB [K]."""
    red, green, blue = colors.astype(np.uint32).T
    return red << 16 | green << 8 | blue


def color_table(categories: tuple[Category, ...]) -> NDArray[np.uint8]:
    """RGB [K, 3] of the categories."""
    return np.array([category.color for category in categories], np.uint8)
