"""Subset of tf_transformations over transforms3d. Quaternions are xyzw, as in ROS messages."""

from __future__ import annotations

import numpy as np
import transforms3d.quaternions
from numpy.typing import ArrayLike, NDArray

__all__ = ['quaternion_from_matrix', 'quaternion_matrix']


def quaternion_matrix(quaternion: ArrayLike) -> NDArray[np.float64]:
    """Homogeneous rotation [4,4] of a quaternion [4] (xyzw).

    quaternion_matrix([1, 0, 0, 0]) = diag(1, -1, -1, 1), half a turn about x.
    """
    x, y, z, w = np.asarray(quaternion, dtype=np.float64)
    matrix = np.identity(4)
    matrix[:3, :3] = transforms3d.quaternions.quat2mat((w, x, y, z))
    return matrix


def quaternion_from_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """Unit quaternion [4] (xyzw, w >= 0) of the rotation in a matrix [4,4]."""
    rotation = np.asarray(matrix, dtype=np.float64)[:3, :3]
    w, x, y, z = transforms3d.quaternions.mat2quat(rotation)
    return np.array([x, y, z, w])
