"""MarkerArrays for RViz: the Gaussians as ellipsoids, the voxels as cubes.

They are made as the bytes that go over the wire. As Python objects, 5000 ellipsoids cost 200 ms:
rclpy copies object by object, and what repeats is copied too. Here rclpy serialises one or two
markers of each kind, and NumPy repeats their bytes with the numbers filled in. CDR aligns to at
most 8 bytes, and everything that is repeated or put in is a multiple of that or ends as it began.
Bytes between fields are zeros, lest what lay in memory is repeated 5000 times and recorded.
"""

from __future__ import annotations

import struct
import sys

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from torch import Tensor
from visualization_msgs.msg import Marker, MarkerArray

from gausstr_core.contracts import Gaussians, Occupancy
from gausstr_core.vocabulary.vocabulary import Category
from gausstr_ros.messages.grids_and_clouds import color_table, occupied_voxels
from gausstr_ros.messages.serialised import serialised

# Numbers that are looked for in the bytes; they hold 0xff, which no text in UTF-8 does.
_BLANK, _BLANK_ID = -sys.float_info.max, 2**31 - 1
_REMEMBERED = 256  # is added to a label, which fits into a byte
_PALE = 0.35  # alpha of what is remembered


def gaussian_markers(
    gaussians: Gaussians,
    best: NDArray[np.int64],
    categories: tuple[Category, ...],
    header: Header,
    limit: int,
) -> tuple[bytes, int]:
    """The one-sigma ellipsoids of the most opaque Gaussians, coloured by category.

    Args:
        gaussians: in the frame of the header.
        best: [G] category of each.
        categories: what the numbers mean.
        header: stamp and frame.
        limit: most ellipsoids to draw; RViz slows down beyond a few thousand.

    Returns:
        A serialised MarkerArray, the first marker of which removes the old ones, and how many
        Gaussians were left out.
    """
    opacities = gaussians.opacities.cpu().numpy()
    order = np.argsort(-opacities, kind='stable')[:limit]
    places = np.empty((len(order), 10))
    places[:, :3] = gaussians.means.cpu().numpy()[order]
    # wxyz in the core, xyzw in messages
    places[:, 3:7] = gaussians.rotations.cpu().numpy()[order][:, [1, 2, 3, 0]]
    places[:, 7:] = 2 * gaussians.scales.cpu().double().numpy()[order]
    colors = np.empty((len(order), 4), np.float32)
    colors[:, :3] = color_table(categories)[best[order]] / np.float32(255)
    colors[:, 3] = np.maximum(opacities[order], 0.1)
    return _ellipsoids(header, places, colors), len(opacities) - len(order)


def _ellipsoids(header: Header, places: NDArray[np.float64], colors: NDArray[np.float32]) -> bytes:
    """Serialised SPHEREs: position, quaternion xyzw and diameters [G, 10]; RGBA [G, 4]."""
    if not len(places):
        return serialised(MarkerArray(markers=[_remove_all(header)]))
    pair = [_blank_ellipsoid(header, 0), _blank_ellipsoid(header, _BLANK_ID)]
    raw = serialised(MarkerArray(markers=[_remove_all(header), *pair]))
    blank = struct.pack('=10d', *[_BLANK] * 10)
    first = raw.index(blank)
    second = raw.index(blank, first + len(blank))
    # from the place of one marker to that of the next, whose number lies between
    numbers = raw.index(struct.pack('=i', _BLANK_ID), first, second) - first
    record = np.dtype(
        {
            'names': ['place', 'color', 'next'],
            'formats': [('=f8', 10), ('=f4', 4), '=i4'],
            'offsets': [0, len(blank), numbers],
            'itemsize': second - first,
        }
    )
    body = bytearray(raw[first:second] * len(places))
    records = np.frombuffer(body, record)
    records['place'], records['color'] = places, colors
    records['next'] = np.arange(1, len(places) + 1)
    body_end = len(body) - record.itemsize + len(raw) - second  # without a head that none follows
    # 4 bytes name the encoding, 4 count the markers
    return b''.join([raw[:4], struct.pack('=I', 1 + len(places)), raw[8:first], body[:body_end]])


def _blank_ellipsoid(header: Header, number: int) -> Marker:
    return Marker(
        header=header,
        ns='gaussians',
        id=number,
        type=Marker.SPHERE,
        pose=Pose(
            position=Point(x=_BLANK, y=_BLANK, z=_BLANK),
            orientation=Quaternion(x=_BLANK, y=_BLANK, z=_BLANK, w=_BLANK),
        ),
        scale=Vector3(x=_BLANK, y=_BLANK, z=_BLANK),
    )


def voxel_markers(
    occupancy: Occupancy,
    categories: tuple[Category, ...],
    header: Header,
    limit: int,
    age: Tensor | None = None,
) -> tuple[bytes, int]:
    """One CUBE_LIST per category that occurs, at most `limit` cubes in all.

    Args:
        occupancy: the labelled voxels.
        categories: what the labels mean.
        header: stamp and frame.
        limit: most cubes to draw.
        age: [X, Y, Z] seconds since they were seen; what is remembered has lists of its own,
            which one can look through. None: all is seen.

    Returns:
        A serialised MarkerArray, the first marker of which removes the old ones, and how many
        cubes were left out: those farthest from the origin.
    """
    index, labels = occupied_voxels(occupancy)
    if age is not None:
        labels = labels + _REMEMBERED * (age.cpu().numpy()[tuple(index.T)] > 0)
    centers = (index + 0.5) * occupancy.grid.resolution + np.asarray(occupancy.grid.lower)
    left_out = max(0, len(index) - limit)
    if left_out:
        near = np.argsort((centers**2).sum(-1), kind='stable')[:limit]
        centers, labels = centers[near], labels[near]
    occurring = np.unique(labels).tolist()
    edge = float(occupancy.grid.resolution)
    blanks = [_blank_cubes(header, categories, number, edge) for number in occurring]
    raw = serialised(MarkerArray(markers=[_remove_all(header), *blanks]))
    *parts, end = raw.split(struct.pack('=3d', *[_BLANK] * 3))
    assert len(parts) == len(occurring)
    message = []
    for category, part in zip(occurring, parts, strict=True):
        points = centers[labels == category]
        assert part[-4:] == struct.pack('=I', 1)  # how many points follow
        message += [part[:-4], struct.pack('=I', len(points)), points.astype('=f8').tobytes()]
    return b''.join([*message, end]), left_out


def _blank_cubes(
    header: Header, categories: tuple[Category, ...], number: int, edge: float
) -> Marker:
    remembered, label = divmod(number, _REMEMBERED)
    category = categories[label]
    red, green, blue = (channel / 255 for channel in category.color)
    return Marker(
        header=header,
        ns=f'{category.name} (remembered)' if remembered else category.name,
        id=number,
        type=Marker.CUBE_LIST,
        pose=Pose(orientation=Quaternion(w=1.0)),
        scale=Vector3(x=edge, y=edge, z=edge),
        color=ColorRGBA(r=red, g=green, b=blue, a=_PALE if remembered else 1.0),
        points=[Point(x=_BLANK, y=_BLANK, z=_BLANK)],
    )


def _remove_all(header: Header) -> Marker:
    """The marker that removes all earlier ones of its topic."""
    return Marker(header=header, action=Marker.DELETEALL)
