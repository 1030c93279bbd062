"""Surface depth from splatted planes: where centre depth is biased, this is not."""

from __future__ import annotations

import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians
from gausstr_core.foundation.compact import HINT_SCALE, geometry_hints
from gausstr_core.splatting import splat
from gausstr_core.transformer.build import build
from gausstr_training.compact.planar_depth import meet_planes, plane_parameters, splat_surfaces

HEIGHT, WIDTH = 48, 80


@pytest.fixture(scope='module')
def ground() -> tuple[Gaussians, CameraRig, torch.Tensor]:
    """Untrained Gaussians on flat ground, and its true depth below the horizon (0 above)."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[2, 3] = 1.5
    k = torch.tensor([[60.0, 0, WIDTH / 2], [0, 60.0, HEIGHT / 2], [0, 0, 1]])
    rig = CameraRig(('front',), k[None], pose[None], ((HEIGHT, WIDTH),))
    inverse = geometry_hints(rig, HEIGHT, WIDTH)[:, 2] / HINT_SCALE
    maps = FoundationMaps(torch.randn(1, 384, 12, 20), 1 / inverse.clamp_min(1 / 60))
    with torch.no_grad():
        gaussians = build('tiny').transformer(maps, rig)
    return gaussians, rig, torch.where(inverse > 1 / 20, 1 / inverse, 0.0)


def test_ground_depth_is_unbiased(ground: tuple[Gaussians, CameraRig, torch.Tensor]) -> None:
    gaussians, rig, truth = ground
    _, depth, alpha = splat_surfaces(gaussians, rig, HEIGHT, WIDTH)
    seen = (truth > 0) & (alpha > 0.5)
    ratio = (depth / truth)[seen]
    # the last rows below the horizon are covered by Gaussians that lie above it too
    assert (ratio - 1).abs().quantile(0.75) < 1e-3
    centres = splat(gaussians, rig, HEIGHT, WIDTH)
    biased = (centres.depth / centres.alpha / truth)[seen]
    assert biased.median() < 0.99  # what this module is for


def test_plane_met_by_hand() -> None:
    """The plane x = 10 m ahead of a camera at x = 1 m: z-depth 9 m in every pixel."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[:3, 3] = torch.tensor([1.0, 0.0, 1.5])
    k = torch.tensor([[8.0, 0, 4.0], [0, 8.0, 3.0], [0, 0, 1]])
    rig = CameraRig(('front',), k[None], pose[None], ((6, 8),))
    plane = torch.tensor([1.0, 0.0, 0.0, 10.0])[None, :, None, None].expand(1, 4, 6, 8)
    torch.testing.assert_close(meet_planes(0.3 * plane, rig), torch.full((1, 6, 8), 9.0))


def test_normals_point_away_from_the_camera(
    ground: tuple[Gaussians, CameraRig, torch.Tensor],
) -> None:
    gaussians, rig, _ = ground
    planes = plane_parameters(gaussians, rig)
    from_camera = gaussians.means - rig.ego_from_camera[0, :3, 3]
    assert ((planes[:, :3] * from_camera).sum(-1) >= 0).all()
    torch.testing.assert_close((planes[:, :3] * gaussians.means).sum(-1), planes[:, 3])
