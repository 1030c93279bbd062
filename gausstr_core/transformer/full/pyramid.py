"""The simple feature pyramid of the released model (ViTDet, arXiv 2203.16527, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # what mmcv's builder injects; the class of the released code says 1e-6


class PixelNorm(nn.Module):
    """LayerNorm over the channels of each pixel of [N, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> the same, its channels last in memory."""
        last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, (last.shape[-1],), self.weight, self.bias, EPSILON)
        return normed.permute(0, 3, 1, 2)


class NormedConv(nn.Module):
    """A convolution without bias, then a norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = PixelNorm(outputs)
        nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, h, w]."""
        return self.norm(self.conv(x))


class Pyramid(nn.Module):
    """One feature map -> levels at 4, 2, 1 and 1/2 times its resolution, all `dim` channels.

    No top-down path and no activation: each level is its own branch of the one map.
    """

    LEVELS = 4

    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__()
        if feature_dim % 4:
            raise ValueError(f'feature_dim must be a multiple of 4, got {feature_dim}')
        half, quarter = feature_dim // 2, feature_dim // 4
        self.four_times = nn.Sequential(
            nn.ConvTranspose2d(feature_dim, half, 2, stride=2),
            PixelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        self.twice = nn.ConvTranspose2d(feature_dim, half, 2, stride=2)
        widths = (quarter, half, feature_dim, feature_dim)
        self.laterals = nn.ModuleList(NormedConv(width, dim, 1) for width in widths)
        self.outputs = nn.ModuleList(NormedConv(dim, dim, 3) for _ in widths)

    def forward(self, features: Tensor) -> list[Tensor]:
        """[N, C, h, w] -> four levels [N, D, h', w'], the finest first; half sizes round down."""
        # every norm wants the channels last: convolutions that keep them there save the copies
        features = features.contiguous(memory_format=torch.channels_last)
        branches = (
            self.four_times(features),
            self.twice(features),
            features,
            F.max_pool2d(features, 2),
        )
        return [
            output(lateral(branch))
            for branch, lateral, output in zip(branches, self.laterals, self.outputs, strict=True)
        ]
