"""Where frames were at any instant of a recording, from its transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from gausstr_core.stamps import SECOND


@dataclass(frozen=True)
class Link:
    """How one frame moved in its parent; a static link holds one sample."""

    parent: str
    static: bool
    stamps: NDArray[np.int64]  # [S] ns, strictly ascending
    poses: NDArray[np.float64]  # [S, 7] x y z in metres, qx qy qz qw (ROS order): child in parent

    def at(
        self, stamps: NDArray[np.int64], gap: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """parent_from_child at some instants, as `TransformTree.pose` has it."""
        if self.static:
            known = np.ones(len(stamps), bool)
            return np.broadcast_to(matrices_of(self.poses)[0], (len(stamps), 4, 4)), known
        after = np.searchsorted(self.stamps, stamps, 'left').clip(max=len(self.stamps) - 1)
        before = (after - (self.stamps[after] != stamps)).clip(min=0)
        earlier, later = self.stamps[before], self.stamps[after]
        known = (earlier <= stamps) & (stamps <= later) & (later - earlier <= gap)
        return self._interpolated(np.where(known, stamps, earlier)), known

    def _interpolated(self, stamps: NDArray[np.int64]) -> NDArray[np.float64]:
        if len(self.stamps) == 1:
            return matrices_of(np.repeat(self.poses, len(stamps), axis=0))
        # relative to the first one, so that a float counts nanoseconds
        seconds = (self.stamps - self.stamps[0]) / SECOND
        asked = (stamps - self.stamps[0]) / SECOND
        poses = np.empty((len(stamps), 7))
        for axis in range(3):
            poses[:, axis] = np.interp(asked, seconds, self.poses[:, axis])
        turns = Rotation.from_quat(self.poses[:, 3:])
        poses[:, 3:] = Slerp(seconds, turns)(asked).as_quat()
        return matrices_of(poses)


@dataclass(frozen=True)
class TransformTree:
    """The links of a recording by child frame."""

    links: dict[str, Link]

    def chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root.

        Raises:
            ValueError: the links form a loop.
        """
        chain = [frame]
        while chain[-1] in self.links:
            parent = self.links[chain[-1]].parent
            if parent in chain:
                raise ValueError(f'the transforms form a loop: {" -> ".join([*chain, parent])}')
            chain.append(parent)
        return chain

    def pose(
        self, fixed: str, frame: str, stamps: NDArray[np.int64], gap: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """fixed_from_frame at some instants: linear in the position, slerp in the rotation.

        Args:
            fixed: the frame itself or one above it.
            frame: a frame, such as a camera's.
            stamps: [M] nanoseconds.
            gap: nanoseconds that the two samples around an instant may lie apart.

        Returns:
            Matrices [M, 4, 4] in metres, and whether each is known [M]: an instant before the
            first sample of a link, after its last or in a gap is not. Nothing is extrapolated.

        Raises:
            ValueError: no link leads from one frame to the other; what is known is named.
        """
        chain = self.chain(frame)
        if fixed not in chain:
            raise ValueError(
                f'no transform from {frame} to {fixed}: the recording links {" -> ".join(chain)}'
            )
        matrices = np.tile(np.eye(4), (len(stamps), 1, 1))
        known = np.ones(len(stamps), bool)
        for child in chain[: chain.index(fixed)]:
            step, found = self.links[child].at(stamps, gap)
            matrices, known = step @ matrices, known & found
        return matrices, known

    def above(self, frames: set[str]) -> TransformTree:
        """The tree of some frames and what they hang on; joints of arms and wheels fall away."""
        needed = {name for frame in frames for name in self.chain(frame)}
        return TransformTree({name: self.links[name] for name in needed & self.links.keys()})


def rigid_inverse(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses of rigid transforms [..., 4, 4], by transposition of the rotation."""
    turned = np.swapaxes(matrices[..., :3, :3], -1, -2)
    inverse = np.zeros_like(matrices)
    inverse[..., :3, :3] = turned
    inverse[..., :3, 3:] = -turned @ matrices[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


def pose_of(transform: Any) -> tuple[float, ...]:
    """The numbers of a geometry_msgs/Transform: x y z in metres, qx qy qz qw (ROS order)."""
    place, turn = transform.translation, transform.rotation
    return place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w


def matrices_of(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transforms [S, 4, 4] of poses [S, 7], each as `pose_of` has it."""
    matrices = np.zeros((len(poses), 4, 4))
    matrices[:, :3, :3] = Rotation.from_quat(poses[:, 3:]).as_matrix()
    matrices[:, :3, 3] = poses[:, :3]
    matrices[:, 3, 3] = 1
    return matrices
