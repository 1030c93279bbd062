"""Draw Gaussians into the cameras of a rig, differentiably. Training and debug views only."""

from __future__ import annotations

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians
from gausstr_core.splatting.projection import SplatImages

__all__ = ['SplatImages', 'splat']

BACKENDS = ('auto', 'reference', 'cpu', 'gsplat')


def splat(
    gaussians: Gaussians, rig: CameraRig, height: int, width: int, *, backend: str = 'auto'
) -> SplatImages:
    """Splat the Gaussians' features, depth and alpha into every camera, by gsplat's rules.

    alpha = min(0.999, opacity * exp(-s)) at the pixel centre (+0.5), skipped below 1/255; the ray
    stops before its transmittance would fall to 1e-4; 0.3 px^2 of blur; depths 0.1 to 100 m.

    Args:
        gaussians: ego frame; gradients flow to all five tensors.
        rig: cameras of any image size, rescaled here to `height` x `width`; skew is ignored.
        height: of the splatted images, pixels.
        width: likewise.
        backend: 'reference' (plain torch, any device, float64 too), 'cpu' (numba tiles, float32),
            'gsplat' (CUDA) or 'auto': 'cpu' on the CPU, 'gsplat' on CUDA, else 'reference'.

    Returns:
        Images on the Gaussians' device. `depth` is the sum of w_i z_i, not divided by alpha.

    Raises:
        ValueError: the backend is unknown or cannot run on this device or dtype.
    """
    if backend not in BACKENDS:
        raise ValueError(
            f'splatting backend must be one of {", ".join(BACKENDS)}, got {backend!r}'
        )
    if height < 1 or width < 1:
        raise ValueError(f'splatted images must be at least 1x1, got {height}x{width} (HxW)')
    rig = rig.resized(height, width)
    if backend == 'auto':
        device = gaussians.means.device.type
        backend = {'cpu': 'cpu', 'cuda': 'gsplat'}.get(device, 'reference')
    if backend == 'cpu':
        from gausstr_core.splatting import cpu

        return cpu.render(gaussians, rig)
    if backend == 'gsplat':
        from gausstr_core.splatting import gsplat_backend

        return gsplat_backend.render(gaussians, rig)
    from gausstr_core.splatting import reference

    return reference.render(gaussians, rig)
