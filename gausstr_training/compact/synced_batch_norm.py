"""Batch normalisation over the images of all processes.

torch's own SyncBatchNorm runs on GPUs only; the compact network is trained on CPUs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from gausstr_training.processes import ranks


def synced(network: nn.Module) -> None:
    """Let the network's batch norms see the images of all processes, in training.

    With one process nothing changes. Parameters and their names stay, and so does every other
    use of the network: the modules only learn another `forward`.
    """
    if ranks.count() == 1:
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm


class SyncedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose mean and variance are those of all processes' images."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C, h, w]."""
        if not self.training:
            return super().forward(x)
        pixels = ranks.summed(torch.tensor(float(x.numel() // x.shape[1])))
        mean = all_reduce(x.sum((0, 2, 3))) / pixels
        centred = x - mean[:, None, None]
        variance = all_reduce((centred * centred).sum((0, 2, 3))) / pixels
        with torch.no_grad():
            self._follow(mean, variance * pixels / (pixels - 1))
        scale = self.weight / (variance + self.eps).sqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        share = self.momentum
        assert share is not None and self.running_mean is not None
        assert self.running_var is not None and self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
        self.num_batches_tracked.add_(1)
