"""Whether one cycle can follow another: what must make a memory start afresh."""

from __future__ import annotations

import numpy as np

from gausstr_core.remembering.settings import MemorySettings

BACKWARDS = 'stamps went back'
GAP = 'gap longer than the memory'
JUMP = 'pose jumped'
GRID = 'another grid'
# poses of odometry are noisy, and two stamps may lie close together
SLACK_METRES, SLACK_RADIANS = 0.3, 0.05


def reset_reason(
    settings: MemorySettings,
    before: tuple[int, np.ndarray],
    now: tuple[int, np.ndarray],
) -> str:
    """Why nothing can be carried over between two (stamp in ns, fixed_from_ego [4, 4]); ''."""
    (then, old), (stamp, new) = before, now
    if stamp <= then:
        return BACKWARDS
    seconds = (stamp - then) / 1e9
    if seconds > settings.seconds:
        return GAP
    moved = float(np.linalg.norm(new[:3, 3] - old[:3, 3]))
    cosine = (float(np.trace(new[:3, :3].T @ old[:3, :3])) - 1) / 2
    turned = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    if moved > settings.max_speed * seconds + SLACK_METRES:
        return JUMP
    if turned > settings.max_turn * seconds + SLACK_RADIANS:
        return JUMP
    return ''


def checked_pose(fixed_from_ego: np.ndarray) -> np.ndarray:
    """The pose as float64 [4, 4]; raises ValueError unless it is finite and rigid."""
    pose = np.asarray(fixed_from_ego, dtype=np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f'fixed_from_ego must be a finite [4, 4] pose, got shape {pose.shape}')
    if np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-3:
        raise ValueError('fixed_from_ego must be rigid: its rotation is not orthonormal')
    return pose
