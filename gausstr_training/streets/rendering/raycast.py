"""Ray casting with Embree, the only file that imports it.

`embreex` answers an occlusion query with 0 for blocked and -1 for clear, and a miss with
primitive -1. Ray directions need not have unit length: distances are in their multiples.
"""

from __future__ import annotations

import platform

import numpy as np

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ModuleNotFoundError as error:
    if (error.name or '').partition('.')[0] != 'embreex':
        raise
    EmbreeScene = None  # no wheel for this machine: what needs no rays works without

SHADOW_OFFSET = 4e-3  # metres off the surface; float32 positions at 100 m are exact to 1e-5


def check_caster() -> None:
    """Raise ValueError where Embree is not installed, before anything is begun."""
    if EmbreeScene is None:
        raise ValueError(
            'making streets needs embreex, which is not installed: its wheels are for x86-64, '
            f'this machine is {platform.machine()}; make them on an x86-64 machine and copy the '
            'folders, or pip install embreex'
        )


class RayScene:
    """A triangle mesh that rays can be shot at.

    Raises:
        ValueError: Embree is not installed.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        check_caster()
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(
            self._scene,
            np.ascontiguousarray(vertices, dtype=np.float32),
            np.ascontiguousarray(triangles, dtype=np.int32),
        )

    def first_hits(
        self, origin: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shoot rays [N, 3] from one point [3].

        Returns:
            triangle [N] int32 (-1: nothing hit), distance [N] float32 in multiples of the
            direction, unit normal [N, 3] float32 turned towards the origin.
        """
        directions = np.ascontiguousarray(directions, dtype=np.float32)
        origins = np.ascontiguousarray(np.broadcast_to(origin, directions.shape), dtype=np.float32)
        hits = self._scene.run(origins, directions, query='INTERSECT', output=True)
        normal = hits['Ng']
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        normal = normal / np.maximum(length, 1e-20)
        normal *= np.where((normal * directions).sum(axis=1, keepdims=True) > 0, -1.0, 1.0)
        return hits['primID'], hits['tfar'], normal.astype(np.float32)

    def blocked(self, points: np.ndarray, normals: np.ndarray, towards: np.ndarray) -> np.ndarray:
        """Which points [N, 3] something hides from the direction [3]: bool [N]."""
        origins = np.ascontiguousarray(points + SHADOW_OFFSET * normals, dtype=np.float32)
        directions = np.ascontiguousarray(
            np.broadcast_to(towards, origins.shape), dtype=np.float32
        )
        return np.asarray(self._scene.run(origins, directions, query='OCCLUDED')) == 0


class LayeredScene:
    """Several meshes shot at together, so that what stands still is built only once."""

    def __init__(self, layers: list[tuple[RayScene, np.ndarray]]) -> None:
        """Take scenes and, for each, the number [T] that its triangles go by."""
        self._layers = layers

    def first_hits(
        self, origin: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `RayScene.first_hits`, with the triangles' own numbers."""
        (scene, numbers), *others = self._layers
        triangle, distance, normal = scene.first_hits(origin, directions)
        triangle = np.where(triangle >= 0, numbers[triangle], -1)
        for scene, numbers in others:
            other, near, facing = scene.first_hits(origin, directions)
            closer = np.flatnonzero((other >= 0) & ((near < distance) | (triangle < 0)))
            triangle[closer] = numbers[other[closer]]
            distance[closer] = near[closer]
            normal[closer] = facing[closer]
        return triangle, distance, normal

    def blocked(self, points: np.ndarray, normals: np.ndarray, towards: np.ndarray) -> np.ndarray:
        """As `RayScene.blocked`."""
        dark = np.zeros(len(points), dtype=bool)
        for scene, _ in self._layers:
            dark |= scene.blocked(points, normals, towards)
        return dark
