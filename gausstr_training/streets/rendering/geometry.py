"""From bodies to triangles: one indexed mesh whose moving parts can be posed at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gausstr_training.streets.scene.shapes import ASPHALT, GRASS, PAVING, SURFACE, unit_mesh
from gausstr_training.streets.scene.world import World

GROUND_MATERIALS = (ASPHALT, PAVING, GRASS)  # of road, sidewalk, terrain: parts 0, 1, 2


@dataclass(frozen=True)
class Geometry:
    """T triangles over V vertices, P parts and B bodies; body 0 and parts 0..2 are the ground."""

    vertices: np.ndarray  # [V, 3] body frame, metres
    body_of_vertex: np.ndarray  # [V]
    triangles: np.ndarray  # [T, 3] int32
    part_of_triangle: np.ndarray  # [T]
    body_of_part: np.ndarray  # [P]
    shape: np.ndarray  # [P]
    label: np.ndarray  # [P] uint8
    material: np.ndarray  # [P]
    color: np.ndarray  # [P, 3]
    mottle: np.ndarray  # [P, 5], see `shapes.Mottle`
    body_from_unit: np.ndarray  # [P, 4, 4]
    unit_from_body: np.ndarray  # [P, 4, 4]
    size: np.ndarray  # [P, 3] metres along the unit axes

    def posed(
        self, world_from_body: np.ndarray, vertices: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """[V, 3] the vertices (all, or those numbered) in the world, bodies at [B, 4, 4]."""
        pose = world_from_body[self.body_of_vertex[vertices]]
        local = self.vertices[vertices]
        return np.einsum('vij,vj->vi', pose[:, :3, :3], local) + pose[:, :3, 3]

    def select(self, bodies: np.ndarray) -> tuple[Geometry, np.ndarray]:
        """Return some bodies (bool [B]) alone, and the numbers their triangles had."""
        keep = np.flatnonzero(bodies[self.body_of_vertex])
        number = np.zeros(len(self.vertices), dtype=np.int32)
        number[keep] = np.arange(len(keep), dtype=np.int32)
        chosen = np.flatnonzero(bodies[self.body_of_part[self.part_of_triangle]])
        part = replace(
            self,
            vertices=self.vertices[keep],
            body_of_vertex=self.body_of_vertex[keep],
            triangles=number[self.triangles[chosen]],
            part_of_triangle=self.part_of_triangle[chosen],
        )
        return part, chosen


def build_geometry(world: World) -> Geometry:
    """Collect the meshes of the ground and of every body."""
    vertices, triangles, label = world.ground
    ground = len(GROUND_MATERIALS)
    all_vertices, all_triangles = [vertices], [triangles]
    vertex_bodies, triangle_parts = [np.zeros(len(vertices), int)], [label.astype(int)]
    parts = [(index + 1, part) for index, body in enumerate(world.bodies) for part in body.parts]
    offset = len(vertices)
    for number, (body, part) in enumerate(parts):
        unit, faces = unit_mesh(part.shape)
        all_vertices.append(unit @ part.body_from_unit[:3, :3].T + part.body_from_unit[:3, 3])
        all_triangles.append(faces + offset)
        vertex_bodies.append(np.full(len(unit), body))
        triangle_parts.append(np.full(len(faces), number + ground))
        offset += len(unit)
    matrices = np.stack([np.eye(4)] * ground + [part.body_from_unit for _, part in parts])
    return Geometry(
        vertices=np.concatenate(all_vertices),
        body_of_vertex=np.concatenate(vertex_bodies),
        triangles=np.concatenate(all_triangles).astype(np.int32),
        part_of_triangle=np.concatenate(triangle_parts),
        body_of_part=np.array([0] * ground + [body for body, _ in parts]),
        shape=np.array([SURFACE] * ground + [part.shape for _, part in parts]),
        label=np.array([*range(ground), *(part.label for _, part in parts)], dtype=np.uint8),
        material=np.array([*GROUND_MATERIALS, *(part.material for _, part in parts)]),
        color=np.array([*world.ground_colors, *(part.color for _, part in parts)], np.float64),
        mottle=np.array([*world.ground_mottles, *(part.mottle for _, part in parts)], np.float64),
        body_from_unit=matrices,
        unit_from_body=np.linalg.inv(matrices),
        size=np.linalg.norm(matrices[:, :3, :3], axis=1),
    )


def body_poses(world: World, seconds: float) -> np.ndarray:
    """[B, 4, 4] world_from_body at a time; body 0 is the ground."""
    bodies = [body.world_from_body(world.road, seconds) for body in world.bodies]
    return np.stack([np.eye(4), *bodies])
