"""Whether measured depth is in metres: compared with the ground that the calibration knows."""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig

NEAR = 8.0  # camera heights: farther off, a degree of pitch or a slope changes the ground too much
SAMPLES = 100  # pixels in each direction that are looked at
LEAST = 0.01  # share of the pixels that must show near ground and be measured
ALIKE = 0.15  # relative: what lies flat has one ratio, what stands on it has all kinds
PLAUSIBLE = 0.8, 1.25  # ratios that slopes, loads and calibration explain


def ground_ratio(depth: Tensor, rig: CameraRig) -> float | None:
    """Median ratio of measured depth to that of the ground, z = 0 of the ego frame.

    Only where it looks down at near ground, and only where at least half of that agrees in one
    ratio: things that stand there are nearer than the ground behind them, each pixel by another
    factor.

    Args:
        depth: z-depth [H, W] in metres; not finite or <= 0 is unknown.
        rig: the camera alone, at any size.

    Returns:
        The ratio; None where there is too little ground, or something stands on it.

    Raises:
        ValueError: the rig has more cameras than one.
    """
    if len(rig) != 1:
        raise ValueError(f'expected one camera, got {", ".join(rig.names)}')
    height, width = depth.shape
    rows = torch.arange(0, height, max(1, height // SAMPLES))
    columns = torch.arange(0, width, max(1, width // SAMPLES))
    ground = _ground_depth(rig.resized(height, width), rows + 0.5, columns + 0.5)
    measured = depth[rows][:, columns].double().cpu()
    up = float(rig.ego_from_camera[0, 2, 3])
    seen = (ground > 0) & (ground < NEAR * up) & torch.isfinite(measured) & (measured > 0)
    if int(seen.sum()) < LEAST * ground.numel():
        return None
    ratios = measured[seen] / ground[seen]
    median = ratios.median()
    alike = (ratios - median).abs() <= ALIKE * median
    return float(median) if alike.double().mean() >= 0.5 else None


def is_plausible(ratio: float) -> bool:
    """Whether depth of such a `ground_ratio` may be in metres."""
    low, high = PLAUSIBLE
    return low <= ratio <= high


def _ground_depth(rig: CameraRig, rows: Tensor, columns: Tensor) -> Tensor:
    """z-depth [R, C] in metres at which pixels (y, x) see the ground; < 0 above the horizon."""
    k, pose = rig.intrinsics[0].double().cpu(), rig.ego_from_camera[0].double().cpu()
    y, x = torch.meshgrid(rows.double(), columns.double(), indexing='ij')
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ torch.linalg.inv(k).T
    fall = -(rays @ pose[2, :3])  # metres down per metre of depth
    return pose[2, 3] / torch.where(fall.abs() < 1e-9, -1e-9, fall)
