"""MarkerArrays for RViz: the Gaussians as ellipsoids, the voxels as cubes."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from gausstr_core.contracts import Gaussians, Occupancy, VoxelGrid
from gausstr_core.vocabulary import Category
from gausstr_ros.conversions import color_table, occupied_voxels


def gaussian_markers(
    gaussians: Gaussians,
    best: NDArray[np.int64],
    categories: tuple[Category, ...],
    header: Header,
    limit: int,
    pool: list[Marker] | None = None,
) -> tuple[MarkerArray, int]:
    """The one-sigma ellipsoids of the most opaque Gaussians, coloured by category.

    Args:
        gaussians: in the frame of the header.
        best: [G] category of each.
        categories: what the numbers mean.
        header: stamp and frame.
        limit: most ellipsoids to draw; RViz slows down beyond a few thousand.
        pool: markers of an earlier message, which are filled anew; it grows as needed. Making a
            marker costs 20 times as much as filling one.

    Returns:
        The markers, the first of which removes the old ones, and how many were left out.
    """
    pool = [] if pool is None else pool
    opacities = gaussians.opacities.cpu().numpy()
    order = np.argsort(-opacities, kind='stable')[:limit]
    means = gaussians.means.cpu().double().numpy()[order].tolist()
    turns = gaussians.rotations.cpu().double().numpy()[order].tolist()
    sizes = (2 * gaussians.scales.cpu().double().numpy()[order]).tolist()
    colors = _colors(categories)
    alphas = np.maximum(opacities[order], 0.1).tolist()
    pool += [_ellipsoid(number) for number in range(len(pool), len(order))]
    rows = zip(pool, best[order].tolist(), means, turns, sizes, alphas, strict=False)
    for marker, category, mean, turn, size, alpha in rows:
        marker.header = header
        position, orientation, scale = marker.pose.position, marker.pose.orientation, marker.scale
        position.x, position.y, position.z = mean
        # wxyz in the core, xyzw in messages
        orientation.w, orientation.x, orientation.y, orientation.z = turn
        scale.x, scale.y, scale.z = size
        color, shade = marker.color, colors[category]
        color.r, color.g, color.b, color.a = shade.r, shade.g, shade.b, alpha
    markers = [remove_all(header), *pool[: len(order)]]
    return MarkerArray(markers=markers), len(opacities) - len(order)


def _ellipsoid(number: int) -> Marker:
    return Marker(ns='gaussians', id=number, type=Marker.SPHERE)


class VoxelPoints:
    """Point objects of the voxels of a grid, made once each: making them is what costs."""

    def __init__(self, grid: VoxelGrid) -> None:
        self._grid = grid
        self._points = np.full(int(np.prod(grid.shape)), None, object)

    def at(self, index: NDArray[np.intp]) -> list[Point]:
        """The centres of voxels [V, 3]."""
        flat = np.ravel_multi_index(tuple(index.T), self._grid.shape)
        new = np.flatnonzero(np.equal(self._points[flat], None))
        centers = (index[new] + 0.5) * self._grid.resolution + np.asarray(self._grid.lower)
        for place, (x, y, z) in zip(flat[new].tolist(), centers.tolist(), strict=True):
            self._points[place] = Point(x=x, y=y, z=z)
        return self._points[flat].tolist()


def voxel_markers(
    occupancy: Occupancy,
    categories: tuple[Category, ...],
    header: Header,
    points: VoxelPoints,
    limit: int,
) -> tuple[MarkerArray, int]:
    """One CUBE_LIST per category that occurs, at most `limit` cubes in all.

    Returns:
        The markers, the first of which removes the old ones, and how many cubes were left out:
        those farthest from the origin.
    """
    index, labels = occupied_voxels(occupancy)
    left_out = max(0, len(index) - limit)
    if left_out:
        centers = (index + 0.5) * occupancy.grid.resolution + np.asarray(occupancy.grid.lower)
        near = np.argsort((centers**2).sum(-1), kind='stable')[:limit]
        index, labels = index[near], labels[near]
    edge = float(occupancy.grid.resolution)
    colors = _colors(categories)
    markers = [remove_all(header)]
    for category in np.unique(labels).tolist():
        marker = Marker(header=header, ns=categories[category].name, id=category)
        marker.type = Marker.CUBE_LIST
        marker.pose.orientation.w = 1.0
        marker.scale = Vector3(x=edge, y=edge, z=edge)
        marker.color = colors[category]
        marker.points = points.at(index[labels == category])
        markers.append(marker)
    return MarkerArray(markers=markers), left_out


def remove_all(header: Header) -> Marker:
    """The marker that removes all earlier ones of its topic."""
    return Marker(header=header, action=Marker.DELETEALL)


def _colors(categories: tuple[Category, ...]) -> list[ColorRGBA]:
    table = (color_table(categories) / 255.0).tolist()
    return [ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in table]
