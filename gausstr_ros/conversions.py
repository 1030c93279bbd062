"""Messages <-> arrays. Pure functions, whole arrays at a time, no node and no state."""

from __future__ import annotations

import array
import sys
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from gausstr_core.contracts import Occupancy
from gausstr_core.vocabulary import Category

UNKNOWN, FREE, OCCUPIED = -1, 0, 100

# Read straight from the buffer; dtype and channels.
_PLAIN = {
    'bgr8': (np.uint8, 3),
    'rgb8': (np.uint8, 3),
    'mono8': (np.uint8, 1),
    '16UC1': (np.uint16, 1),
    'mono16': (np.uint16, 1),
    '32FC1': (np.float32, 1),
}

# One point of ~/voxels, 24 bytes; the two bytes after the label are padding.
VOXEL_POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'rgb', 'label', 'confidence'],
        'formats': ['<f4', '<f4', '<f4', '<u4', '<u2', '<f4'],
        'offsets': [0, 4, 8, 12, 16, 20],
        'itemsize': 24,
    }
)
_FIELD_TYPES = {'rgb': PointField.FLOAT32, 'label': PointField.UINT16}


def stamp_of(header: Header) -> int:
    """The stamp of a header in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def time_message(stamp: int) -> Time:
    """A message of a stamp in nanoseconds."""
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def header_message(stamp: int, frame: str) -> Header:
    """A header with a stamp in nanoseconds."""
    return Header(stamp=time_message(stamp), frame_id=frame)


def rgb_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """RGB pixels [H, W, 3] of a raw or compressed image.

    Raises:
        ValueError: the image is damaged, empty or of an encoding that cannot be read.
    """
    if isinstance(message, CompressedImage):
        return _decode(message)
    plane = _pixels(message)
    if message.encoding == 'rgb8':
        return plane
    if message.encoding == 'bgr8':
        return cv2.cvtColor(plane, cv2.COLOR_BGR2RGB)
    if message.encoding == 'mono8':
        return cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)
    if message.encoding in _PLAIN:
        raise ValueError(f'expected a colour image, got encoding {message.encoding!r}')
    return plane


def depth_image(message: Image) -> NDArray[np.float32]:
    """Depth in metres [H, W] of a 32FC1 (metres) or 16UC1 (millimetres) image; 0 is unknown.

    Raises:
        ValueError: another encoding, or fewer bytes than height and step promise.
    """
    if message.encoding not in ('32FC1', '16UC1', 'mono16'):
        raise ValueError(
            f'expected depth as 32FC1 (m) or 16UC1 (mm), got encoding {message.encoding!r}'
        )
    plane = _pixels(message)
    if message.encoding == '32FC1':
        return plane
    return plane.astype(np.float32) * np.float32(0.001)


def image_message(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """A raw image of rgb8 [H, W, 3], mono8 or 32FC1 [H, W] pixels."""
    dtype, channels = _PLAIN[encoding]
    assert pixels.dtype == dtype and pixels.ndim == (3 if channels > 1 else 2)
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = width * channels * pixels.itemsize
    message.is_bigendian = int(sys.byteorder == 'big')
    message.data = array.array('B', np.ascontiguousarray(pixels).tobytes())
    return message


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
    occupancy: Occupancy, categories: tuple[Category, ...], header: Header
) -> PointCloud2:
    """The centres of the occupied voxels with x, y, z, rgb, label and confidence."""
    index, labels = occupied_voxels(occupancy)
    points = np.zeros(len(index), VOXEL_POINT)
    centers = (index + 0.5) * occupancy.grid.resolution + np.asarray(occupancy.grid.lower)
    points['x'], points['y'], points['z'] = centers.astype(np.float32).T
    colors = color_table(categories).astype(np.uint32)
    packed = colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2]
    points['rgb'] = packed[labels]
    points['label'] = labels
    points['confidence'] = occupancy.confidence.cpu().numpy()[tuple(index.T)]
    fields = [
        PointField(
            name=name,
            offset=offset,
            datatype=_FIELD_TYPES.get(name, PointField.FLOAT32),
            count=1,
        )
        for name, (_, offset) in (VOXEL_POINT.fields or {}).items()
    ]
    message = PointCloud2(header=header, height=1, width=len(points), fields=fields)
    message.point_step = VOXEL_POINT.itemsize
    message.row_step = VOXEL_POINT.itemsize * len(points)
    message.is_dense = True
    message.data = array.array('B', points.tobytes())
    return message


def color_table(categories: tuple[Category, ...]) -> NDArray[np.uint8]:
    """RGB [K, 3] of the categories."""
    return np.array([category.color for category in categories], np.uint8)


def _decode(message: CompressedImage) -> NDArray[np.uint8]:
    data = np.frombuffer(message.data, np.uint8)
    if not data.size:
        raise ValueError('the compressed image is empty')
    jpeg = data[:2].tobytes() == b'\xff\xd8'
    # A decoder fills the rest of a truncated JPEG with grey and says nothing. Some cameras pad
    # after the end marker, so it is looked for from behind.
    if jpeg and data.tobytes().rfind(b'\xff\xd9') < data.size // 2:
        raise ValueError(f'truncated JPEG: {data.size} bytes without an end marker')
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f'{data.size} bytes of format {message.format!r} do not decode')
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _pixels(message: Image) -> NDArray[Any]:
    """A view of the buffer where the encoding is plain; rows may be padded to `step` bytes."""
    if not (message.height and message.width):
        raise ValueError(f'empty image of {message.width}x{message.height} (WxH)')
    if message.encoding not in _PLAIN:
        return _by_cv_bridge(message)
    dtype, channels = np.dtype(_PLAIN[message.encoding][0]), _PLAIN[message.encoding][1]
    pixel = dtype.itemsize * channels
    if message.step < message.width * pixel or len(message.data) < message.height * message.step:
        raise ValueError(
            f'{message.encoding} image of {message.width}x{message.height} (WxH) needs rows of '
            f'{message.width * pixel} bytes, got step {message.step} and {len(message.data)} '
            'bytes in all'
        )
    dtype = dtype.newbyteorder('>' if message.is_bigendian else '<')
    shape: tuple[int, ...] = (message.height, message.width)
    strides: tuple[int, ...] = (message.step, pixel)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    return np.ndarray(shape, dtype, buffer=memoryview(message.data), strides=strides)


def _by_cv_bridge(message: Image) -> NDArray[np.uint8]:
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # built against another NumPy it raises what it likes
        raise ValueError(
            f'encoding {message.encoding!r} needs cv_bridge, which does not load ({error}); '
            'install a cv_bridge built for this NumPy, or let the camera send bgr8, rgb8 or mono8'
        ) from error
    try:
        return CvBridge().imgmsg_to_cv2(message, 'rgb8')
    except Exception as error:  # CvBridgeError, cv2.error, ...
        raise ValueError(f'encoding {message.encoding!r} cannot be read: {error}') from error
