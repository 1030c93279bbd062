"""Splatting on the CPU: numba compositing with an analytic backward, float32.

Each camera is drawn by one thread, ellipse by ellipse from near to far over the pixels that the
ellipse really covers; a camera's gradients go to its own pairs only, so nothing races and every
run gives the same bits. The projection and its gradient stay in torch (`projection.project`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians
from gausstr_core.process.parallel import run
from gausstr_core.splatting.cpu_kernels import (
    Gradients,
    Images,
    Pairs,
    composite,
    composite_backward,
)
from gausstr_core.splatting.projection import SplatImages, project


def render(gaussians: Gaussians, rig: CameraRig) -> SplatImages:
    """Splat into a rig whose images all have one size; see `splatting.splat` for the rules.

    Raises:
        ValueError: the Gaussians are not float32 on the CPU.
    """
    for tensor in (gaussians.means, gaussians.features):
        if tensor.dtype != torch.float32 or tensor.device.type != 'cpu':
            raise ValueError(
                "splatting backend 'cpu' takes float32 Gaussians on the CPU, got "
                f'{tensor.dtype} on {tensor.device}'
            )
    height, width = rig.image_sizes[0]
    pairs = project(gaussians, rig)
    ends = torch.searchsorted(pairs.camera, torch.arange(len(rig) + 1))
    features, depth, alpha = _Composite.apply(
        pairs.means,
        pairs.conics,
        gaussians.opacities[pairs.gaussian],
        gaussians.features[pairs.gaussian],
        pairs.depth,
        pairs.radii,
        ends,
        (len(rig), height, width),
    )
    return SplatImages(features.permute(0, 3, 1, 2), depth, alpha)


class _Composite(torch.autograd.Function):
    """Pairs sorted by camera and depth -> features [N, h, w, C], depth and alpha [N, h, w]."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        conics: Tensor,
        opacities: Tensor,
        features: Tensor,
        depths: Tensor,
        radii: Tensor,
        ends: Tensor,
        size: tuple[int, int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = [t.detach().contiguous() for t in (means, conics, opacities, features, depths)]
        inputs += [radii.contiguous(), ends]
        feature_image = torch.zeros(*size, features.shape[1])
        depth_image = torch.zeros(size)
        transmittance = torch.ones(size)
        stop = torch.empty(size, dtype=torch.int32)
        images = _arrays([feature_image, depth_image, transmittance])
        run(composite, Pairs(*_arrays(inputs)), Images(*images), stop.numpy())
        ctx.save_for_backward(*inputs, transmittance, stop)
        return feature_image, depth_image, 1 - transmittance

    @staticmethod
    def backward(
        ctx: Any, d_features: Tensor, d_depth: Tensor, d_alpha: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, (transmittance, stop) = saved[:7], saved[7:]
        incoming = [t.contiguous() for t in (d_features, d_depth, d_alpha)]
        gradients = [torch.zeros_like(t) for t in inputs[:5]]
        run(
            composite_backward,
            Pairs(*_arrays(inputs)),
            transmittance.clone().numpy(),
            stop.numpy(),
            Images(*_arrays(incoming)),
            Gradients(*_arrays(gradients)),
        )
        return (*gradients, None, None, None)


def _arrays(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tensors]
