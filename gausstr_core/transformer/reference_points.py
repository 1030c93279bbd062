"""Where the queries look first: a fixed query grid of cells that covers every image.

The released model draws its points with torch.rand at every forward; a fixed query grid makes
inference deterministic and leaves no part of the image unseen. Rows are packed near the horizon,
because there a pixel of height spans metres of ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig

MOST = 100_000  # Gaussians a view: one for each pixel of 230 x 430


@dataclass(frozen=True)
class QueryGrid:
    """Cells per view (rows x columns), each split into sub x sub anchors for Gaussians.

    Raises:
        ValueError: a number is < 1, or there are more than `MOST` Gaussians a view.
    """

    rows: int = 10
    columns: int = 14
    sub: int = 3
    horizon_gain: float = 2.0  # extra density of rows at the horizon, in units of the plain one
    horizon_width: float = 0.12  # standard deviation of the packing, in image heights

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.sub) < 1 or self.queries * self.anchors > MOST:
            raise ValueError(
                'a lattice must be rows, columns and anchors along each side of a cell, all >= 1 '
                f'and at most {MOST} Gaussians a view, got {self.rows}, {self.columns}, {self.sub}'
            )

    @property
    def queries(self) -> int:
        """Cells per view."""
        return self.rows * self.columns

    @property
    def anchors(self) -> int:
        """Gaussians per cell."""
        return self.sub * self.sub


def spread_points(count: int) -> Tensor:
    """[count, 2] fixed points (x, y) in (0, 1) without gaps or clusters, whatever the count.

    The additive recurrence on the plastic number (Roberts 2018, "R2"): the largest empty box
    shrinks as 1 / count, where that of random points is log(count) times as large.
    """
    plastic = 1.32471795724474602596  # the real root of p^3 = p + 1
    step = torch.tensor([1 / plastic, 1 / plastic**2], dtype=torch.float64)
    index = torch.arange(1, count + 1, dtype=torch.float64)
    return torch.frac(0.5 + index[:, None] * step).float()


def anchor_points(rig: CameraRig, query_grid: QueryGrid) -> tuple[Tensor, Tensor]:
    """Seats and their spacing, both normalised to the image.

    Returns:
        points [N, Q, K, 2] (x, y) in (0, 1) and spacing [N, Q, K, 2] between neighbouring anchors,
        Q row-major over the cells, K row-major inside the cell.
    """
    edges_y = _row_edges(rig, query_grid)  # [N, rows * sub + 1]
    y, dy = (edges_y[:, 1:] + edges_y[:, :-1]) / 2, edges_y[:, 1:] - edges_y[:, :-1]
    count = query_grid.columns * query_grid.sub
    x = ((torch.arange(count, device=y.device) + 0.5) / count).expand(len(rig), count)
    dx = torch.full_like(x, 1 / count)

    def spread(horizontal: Tensor, vertical: Tensor) -> Tensor:
        n, sub = len(rig), query_grid.sub
        grid = torch.stack(
            [
                horizontal[:, None, :].expand(n, vertical.shape[1], count),
                vertical[:, :, None].expand(n, vertical.shape[1], count),
            ],
            dim=-1,
        )
        grid = grid.reshape(n, query_grid.rows, sub, query_grid.columns, sub, 2)
        return grid.permute(0, 1, 3, 2, 4, 5).reshape(n, query_grid.queries, query_grid.anchors, 2)

    return spread(x, y), spread(dx, dy)


def _row_edges(rig: CameraRig, query_grid: QueryGrid) -> Tensor:
    """[N, rows * sub + 1] edges in [0, 1], dense around each camera's own horizon."""
    steps = 256
    horizon = horizon_rows(rig)
    centre = (torch.arange(steps, device=horizon.device) + 0.5) / steps
    bump = torch.exp(-0.5 * ((centre - horizon[:, None]) / query_grid.horizon_width) ** 2)
    density = 1 + query_grid.horizon_gain * bump
    cumulative = torch.cat([torch.zeros_like(density[:, :1]), density.cumsum(1)], dim=1)
    cumulative = cumulative / cumulative[:, -1:]
    count = query_grid.rows * query_grid.sub
    wanted = (torch.arange(count + 1, device=horizon.device) / count).expand(len(rig), -1)
    upper = torch.searchsorted(cumulative, wanted.contiguous()).clamp(1, steps)
    low, high = cumulative.gather(1, upper - 1), cumulative.gather(1, upper)
    return (upper - 1 + (wanted - low) / (high - low)) / steps


def horizon_rows(rig: CameraRig) -> Tensor:
    """[N] image height (normalised, may lie outside 0..1) of the horizon in the middle column."""
    up = rig.ego_from_camera[:, 2, :3]  # the ego z axis in the optical frame
    safe = torch.where(up[:, 1].abs() < 1e-6, torch.full_like(up[:, 1], -1e-6), up[:, 1])
    slope = -up[:, 2] / safe
    rows = rig.intrinsics[:, 1, 1] * slope + rig.intrinsics[:, 1, 2]
    heights = torch.tensor([size[0] for size in rig.image_sizes], device=rows.device)
    return (rows / heights).float()
