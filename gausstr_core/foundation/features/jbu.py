"""FeatUp's upsampler (arXiv 2403.10516): four joint bilateral steps, each doubling the size.

Every output pixel is a weighted mean over a 7x7 window of the bicubically enlarged features. The
weights come from how alike the guiding image's pixels are (learned), times a Gaussian of their
distance, plus a small learned correction. Parameter names are those of the published files under
`upsampler.`.

Features of 512 channels at full image size are 680 MB an image. `pooled` never makes them: all
that follows the last kernel is linear, so its weights are added up over each cell first (26 times
fewer products), and the closing 1x1 correction comes after the mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RADIUS = 3
WINDOW = 2 * RADIUS + 1


class JointBilateralStack(nn.Module):
    """Features [N, C, h, w] and normalised image [N, 3, 16h, 16w] -> features at image size."""

    def __init__(self, channels: int, key: int = 32) -> None:
        super().__init__()
        self.up1, self.up2 = _Step(key), _Step(key)
        self.up3, self.up4 = _Step(key), _Step(key)
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(channels, channels, 1))

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Features [N, C, 16h, 16w]."""
        for step in (self.up1, self.up2, self.up3, self.up4):
            features = _filter(features, step.kernel(_guide(features, image)))
        return features + 0.1 * self.fixup_proj(features)

    def pooled(self, features: Tensor, image: Tensor, cell: int) -> Tensor:
        """The mean of `forward` over cells of `cell` pixels: [N, C, 16h / cell, 16w / cell]."""
        for step in (self.up1, self.up2, self.up3):
            features = _filter(features, step.kernel(_guide(features, image)))
        kernel = self.up4.kernel(_guide(features, image))
        features = _filter_pooled(features, kernel, cell)
        return features + 0.1 * self.fixup_proj(features)


class _Step(nn.Module):
    """The weights of one step."""

    def __init__(self, key: int) -> None:
        super().__init__()
        taps = WINDOW * WINDOW
        self.range_temp = nn.Parameter(torch.tensor(0.0))
        self.sigma_spatial = nn.Parameter(torch.tensor(1.0))
        self.range_proj = nn.Sequential(
            nn.Conv2d(3, key, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(key, key, 1)
        )
        self.fixup_proj = nn.Sequential(
            nn.Conv2d(3 + taps, taps, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(taps, taps, 1)
        )

    def kernel(self, guide: Tensor) -> Tensor:
        """Weights [N, 49, H, W] of the window around each pixel of the guide [N, 3, H, W]."""
        keys = self.range_proj(guide)
        height, width = guide.shape[2:]
        padded = F.pad(keys, [RADIUS] * 4, mode='reflect')
        # window by window: unfolding all keys would take 49 copies of them
        alike = torch.stack(
            [
                (padded[..., y : y + height, x : x + width] * keys).sum(1)
                for y in range(WINDOW)
                for x in range(WINDOW)
            ],
            1,
        )
        weights = (self.range_temp.exp().clamp(1e-4, 1e4) * alike).softmax(1)
        weights = weights * self._distances()
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-7)
        return weights + 0.1 * self.fixup_proj(torch.cat([weights, guide], 1))

    def _distances(self) -> Tensor:
        """A Gaussian [1, 49, 1, 1] over the window, whose corners lie at +-1."""
        line = torch.linspace(-1, 1, WINDOW, device=self.sigma_spatial.device)
        square = line[:, None].square() + line.square()
        return torch.exp(-square / (2 * self.sigma_spatial.square())).view(1, -1, 1, 1)


def _guide(features: Tensor, image: Tensor) -> Tensor:
    """The image averaged down to twice the size of the features."""
    height, width = features.shape[2:]
    return F.adaptive_avg_pool2d(image, (2 * height, 2 * width))


def _filter(features: Tensor, kernel: Tensor) -> Tensor:
    """Enlarge features [N, C, h, w] to the kernel's size and apply it [N, 49, H, W]."""
    height, width = kernel.shape[2:]
    groups = []
    for group in features.split(_group(features), dim=1):
        padded = _enlarged(group, height, width)
        result = padded.new_zeros(*group.shape[:2], height, width)
        for tap in range(WINDOW * WINDOW):
            y, x = divmod(tap, WINDOW)
            window = padded[..., y : y + height, x : x + width]
            result.addcmul_(window, kernel[:, tap : tap + 1])
        groups.append(result)
    return torch.cat(groups, 1)


def _filter_pooled(features: Tensor, kernel: Tensor, cell: int) -> Tensor:
    """`_filter` averaged over cells: the kernels of a cell are added up before they apply."""
    height, width = kernel.shape[2:]
    side = cell + 2 * RADIUS
    taps = kernel.unflatten(3, (-1, cell)).unflatten(2, (-1, cell)).transpose(3, 4)
    total = kernel.new_zeros(len(kernel), height // cell, width // cell, side, side)
    for tap in range(WINDOW * WINDOW):
        y, x = divmod(tap, WINDOW)
        total[..., y : y + cell, x : x + cell] += taps[:, tap]
    groups = []
    for group in features.split(_group(features), dim=1):
        windows = _enlarged(group, height, width).unfold(2, side, cell).unfold(3, side, cell)
        groups.append(torch.einsum('ncrsyx,nrsyx->ncrs', windows, total) / cell**2)
    return torch.cat(groups, 1)


def _enlarged(features: Tensor, height: int, width: int) -> Tensor:
    large = F.interpolate(features, (height, width), mode='bicubic', align_corners=False)
    return F.pad(large, [RADIUS] * 4, mode='reflect')


def _group(features: Tensor) -> int:
    """Channels at once: few on a CPU, whose caches then hold them through all 49 taps."""
    return 64 if features.is_cuda else 8
