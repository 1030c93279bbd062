"""An OccupancyGrid as the files of Nav2's map_server: PGM and YAML, as map_saver writes them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
import yaml
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray

IMAGE, DESCRIPTION = 'map.pgm', 'map.yaml'
# nav2_map_server's map_io, trinary: cells are sorted by the thresholds that map_saver has by
# default, and the thresholds in the file tell the three greys apart.
_FREE_BELOW, _OCCUPIED_FROM = 25, 65  # percent
_FREE, _OCCUPIED, _UNKNOWN = 254, 0, 205
_THRESHOLDS = {'occupied_thresh': 0.65, 'free_thresh': 0.196}


def write_map(grid: OccupancyGrid, folder: Path, *, overwrite: bool = False) -> Path:
    """Write map.pgm and map.yaml; returns the latter, which map_server is given.

    Args:
        grid: the map.
        folder: where; made if it is not there.
        overwrite: replace a map that lies there.

    Raises:
        ValueError: as `check_folder`, or the message's cells are not as many as it says.
        OSError: that cannot be written.
    """
    check_folder(folder, overwrite=overwrite)
    encoded = cv2.imencode('.pgm', pixels(grid))[1].tobytes()
    text = yaml.safe_dump(description(grid), sort_keys=False, default_flow_style=None)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / IMAGE, encoded)
    _write(folder / DESCRIPTION, text.encode())
    return folder / DESCRIPTION


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise ValueError unless a map can go there: a file is in its place, or a map lies there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder} is a file, expected a folder for the map')
    there = [name for name in (IMAGE, DESCRIPTION) if (folder / name).exists()]
    if there and not overwrite:
        raise ValueError(f'{folder} holds {" and ".join(there)} already: give --overwrite')


def pixels(grid: OccupancyGrid) -> NDArray[np.uint8]:
    """The greys of the image [height, width]; its first row is the one of the largest y.

    Raises:
        ValueError: the cells are not as many as width and height say, or none.
    """
    height, width = grid.info.height, grid.info.width
    cells = np.asarray(grid.data, np.int16)
    if not cells.size or cells.size != height * width:
        raise ValueError(f'the map has {cells.size} cells, expected {width} x {height} of them')
    cells = cells.reshape(height, width)[::-1]
    greys = np.full(cells.shape, _UNKNOWN, np.uint8)
    greys[(cells >= 0) & (cells <= _FREE_BELOW)] = _FREE
    greys[(cells >= _OCCUPIED_FROM) & (cells <= 100)] = _OCCUPIED
    return greys


def description(grid: OccupancyGrid) -> dict[str, object]:
    """What map.yaml says; x and y of the lower left corner in metres, yaw in radians."""
    origin = grid.info.origin
    q = origin.orientation
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    # float32 in the message: 0.4 would be 0.4000000059604645
    resolution = float(f'{grid.info.resolution:.7g}')
    return {
        'image': IMAGE,
        'mode': 'trinary',
        'resolution': resolution,
        'origin': [origin.position.x, origin.position.y, yaw],
        'negate': 0,
        **_THRESHOLDS,
    }


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f'.{path.name}.partial')
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
