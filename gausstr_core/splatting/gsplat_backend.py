"""Splatting on CUDA through the gsplat library (nerfstudio-project/gsplat, 1.5)."""

from __future__ import annotations

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians
from gausstr_core.splatting.projection import BLUR, FAR, NEAR, SplatImages

CHANNELS_AT_ONCE = 32  # the backward kernel of 128 channels fits only data-centre cards


def render(gaussians: Gaussians, rig: CameraRig) -> SplatImages:
    """Splat into a rig whose images all have one size; see `splatting.splat` for the rules.

    Raises:
        ValueError: the Gaussians are not on a CUDA device, or gsplat is not installed.
    """
    device = gaussians.means.device
    if device.type != 'cuda':
        raise ValueError(f"splatting backend 'gsplat' needs Gaussians on CUDA, got {device}")
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise ValueError(
            "splatting on CUDA needs the package gsplat (pip install 'gsplat>=1.5'), "
            "or choose backend='reference'"
        ) from error
    height, width = rig.image_sizes[0]
    drawn, alpha, _ = rasterization(
        means=gaussians.means,
        quats=gaussians.rotations,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=gaussians.features,
        viewmats=rig.camera_from_ego.to(gaussians.means),
        Ks=rig.intrinsics.to(gaussians.means),
        width=width,
        height=height,
        near_plane=NEAR,
        far_plane=FAR,
        eps2d=BLUR,
        render_mode='RGB+D',
        channel_chunk=CHANNELS_AT_ONCE,
    )
    return SplatImages(drawn[..., :-1].permute(0, 3, 1, 2), drawn[..., -1], alpha[..., 0])
