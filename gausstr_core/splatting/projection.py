"""EWA projection of 3D Gaussians to image ellipses, in torch, shared by the CPU backends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, matrix_from_quaternion

NEAR, FAR = 0.1, 100.0  # metres
BLUR = 0.3  # px^2 added to the image covariance: no Gaussian falls between pixels
ALPHA_MAX, ALPHA_MIN = 0.999, 1 / 255
TRANSMITTANCE_MIN = 1e-4
EXTENT = math.sqrt(2 * math.log(255.0)) + 1e-3  # deviations where opacity 1 falls to ALPHA_MIN


@dataclass(frozen=True)
class SplatImages:
    """What the N cameras see of the Gaussians."""

    features: Tensor  # [N, C, h, w] sum of w_i f_i, premultiplied by alpha
    depth: Tensor  # [N, h, w] sum of w_i z_i in metres, not divided by alpha
    alpha: Tensor  # [N, h, w] in [0, 1)


@dataclass(frozen=True)
class Ellipses:
    """The P (camera, Gaussian) pairs that may touch an image, by camera, then near to far."""

    camera: Tensor  # [P] int64, ascending
    gaussian: Tensor  # [P] int64
    means: Tensor  # [P, 2] pixels (x, y)
    conics: Tensor  # [P, 3] xx, xy, yy of the inverse covariance, 1 / px^2
    depth: Tensor  # [P] metres
    radii: Tensor  # [P, 2] half sizes in pixels of the box where alpha >= ALPHA_MIN

    def of_camera(self, index: int) -> slice:
        """Return where the pairs of one camera lie."""
        ends = torch.searchsorted(self.camera, torch.tensor([index, index + 1]).to(self.camera))
        return slice(int(ends[0]), int(ends[1]))


def project(gaussians: Gaussians, rig: CameraRig) -> Ellipses:
    """Project the Gaussians into every camera; differentiable, in the dtype of the means.

    The perspective Jacobian is taken at a point held within 1.3 times the image's half angle, as
    gsplat does: far outside the linearisation explodes. Pairs behind `NEAR`, beyond `FAR`, off
    the image, fainter than `ALPHA_MIN` or not finite are left out: they get zero gradient.
    """
    means = gaussians.means
    intrinsics = rig.intrinsics.to(means)
    camera_from_ego = rig.camera_from_ego.to(means)
    limits = _limits(intrinsics, rig).to(means)
    camera, gaussian = _candidates(gaussians, intrinsics, camera_from_ego, limits, rig)

    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[camera, :2]
    turn = camera_from_ego[camera, :3, :3]
    local = (turn @ means[gaussian, :, None])[..., 0] + camera_from_ego[camera, :3, 3]
    depth = local[:, 2]
    slope = local[:, :2] / depth[:, None]
    image_means = slope * focal + intrinsics[camera, :2, 2]
    held = torch.minimum(torch.maximum(slope, limits[camera, 0]), limits[camera, 1])
    # rows of J @ R: (f / z) * (row of R - held slope * optical axis of R)
    rows = (focal / depth[:, None])[..., None] * (turn[:, :2] - held[..., None] * turn[:, 2:])
    axes = matrix_from_quaternion(gaussians.rotations) * gaussians.scales[:, None, :]
    half = rows @ axes[gaussian]
    covariance = half @ half.transpose(-1, -2)
    xx, xy, yy = covariance[:, 0, 0] + BLUR, covariance[:, 0, 1], covariance[:, 1, 1] + BLUR
    area = xx * yy - xy * xy
    sound = torch.isfinite(area) & (area > 0)  # else too large or too thin for this dtype
    area = torch.where(sound, area, torch.ones_like(area))
    conics = torch.stack([yy, -xy, xx], dim=-1) / area[:, None]
    radii = _radii(torch.stack([xx, yy], dim=-1), gaussians.opacities[gaussian])
    keep = (sound & _touching(image_means, radii, camera, rig)).nonzero()[:, 0]
    keep = keep[_near_to_far(camera[keep], depth[keep])]
    return Ellipses(
        camera[keep], gaussian[keep], image_means[keep], conics[keep], depth[keep], radii[keep]
    )


def _limits(intrinsics: Tensor, rig: CameraRig) -> Tensor:
    """[N, 2 (low, high), 2] slopes x/z, y/z between which the Jacobian is taken."""
    size = torch.tensor([(w, h) for h, w in rig.image_sizes]).to(intrinsics)
    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[:, :2]
    center = intrinsics[:, :2, 2]
    margin = 0.15 * size / focal
    return torch.stack([-center / focal - margin, (size - center) / focal + margin], dim=1)


@torch.no_grad()
def _candidates(
    gaussians: Gaussians,
    intrinsics: Tensor,
    camera_from_ego: Tensor,
    limits: Tensor,
    rig: CameraRig,
) -> tuple[Tensor, Tensor]:
    """Indices (camera, gaussian) of the pairs whose bounding circle may touch the image."""
    local = gaussians.means @ camera_from_ego[:, :3, :3].transpose(-1, -2)
    local = local + camera_from_ego[:, None, :3, 3]
    depth = local[..., 2]
    safe = depth.clamp_min(NEAR)
    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[:, :2]
    stretch = (focal**2 * (1 + limits.abs().amax(1) ** 2)).sum(-1)
    largest = gaussians.scales.amax(-1)
    radius = EXTENT * torch.sqrt(stretch[:, None] * (largest / safe) ** 2 + BLUR) + 1
    pixel = local[..., :2] / safe[..., None] * focal[:, None] + intrinsics[:, None, :2, 2]
    size = torch.tensor([(w, h) for h, w in rig.image_sizes]).to(pixel)[:, None]
    near = (pixel + radius[..., None] > 0) & (pixel - radius[..., None] < size)
    keep = near.all(-1) & (depth > NEAR) & (depth < FAR) & (gaussians.opacities >= ALPHA_MIN)
    camera, gaussian = keep.nonzero(as_tuple=True)
    return camera, gaussian


@torch.no_grad()
def _radii(variance: Tensor, opacity: Tensor) -> Tensor:
    extent = torch.sqrt(2 * torch.log(opacity / ALPHA_MIN).clamp_min(0)) + 1e-3
    return torch.ceil(extent[:, None] * torch.sqrt(variance))


@torch.no_grad()
def _touching(means: Tensor, radii: Tensor, camera: Tensor, rig: CameraRig) -> Tensor:
    size = torch.tensor([(w, h) for h, w in rig.image_sizes]).to(means)[camera]
    inside = (means + radii > 0) & (means - radii < size) & (radii > 0)
    return inside.all(-1)


@torch.no_grad()
def _near_to_far(camera: Tensor, depth: Tensor) -> Tensor:
    by_depth = torch.argsort(depth, stable=True)
    return by_depth[torch.argsort(camera[by_depth], stable=True)]
