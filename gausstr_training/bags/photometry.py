"""What light, lens and sensor do to an image: random changes that leave its geometry alone.

All functions take and give uint8 RGB [N, H, W, 3], draw every image's own change from the
generator, and give the same images for the same generator.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLUR_REACH = 3  # pixels: kernels are 7 x 7
SHARPEST, SOFTEST, FASTEST = 0.25, 1.2, 2.5  # pixels, standard deviations of blur
LOUDEST = 0.05  # of full scale, standard deviation of noise in the brightest pixels
QUALITIES = (25, 95)  # of JPEG


def photometric(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, contrast and white balance per image."""
    n = images.shape[0]

    def around_one(spread: float, channels: int) -> Tensor:
        return 1 + spread * (2 * torch.rand(n, 1, 1, channels, generator=generator) - 1)

    x = images.float()
    mean = x.mean((1, 2), keepdim=True)
    x = (x - mean) * around_one(0.25, 1) + mean * around_one(0.2, 1) * around_one(0.06, 3)
    return x.clamp(0, 255).to(torch.uint8)


def degraded(images: Tensor, generator: torch.Generator) -> Tensor:
    """What a camera adds to light and colour: gamma, vignetting, blur, noise and JPEG.

    Each happens to some of the images only, so that some stay as they were.
    """
    x = images.permute(0, 3, 1, 2).float() / 255
    x = _vignetted(_gamma(x, generator), generator)
    x = _noisy(_blurred(x, generator), generator)
    x = (x.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return recompressed(x.permute(0, 2, 3, 1).contiguous(), generator)


def recompressed(images: Tensor, generator: torch.Generator, share: float = 0.4) -> Tensor:
    """JPEG at a random quality, for a random share of the images."""
    n = len(images)
    chosen = torch.rand(n, generator=generator) < share
    quality = torch.randint(*QUALITIES, (n,), generator=generator).tolist()
    result = images.clone()
    for index in chosen.nonzero()[:, 0].tolist():
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality[index]]
        # as BGR: JPEG thins out the colours, and must know which plane is which
        done, data = cv2.imencode('.jpg', images[index].flip(-1).numpy(), settings)
        assert done
        again = cv2.imdecode(data, cv2.IMREAD_COLOR)
        result[index] = torch.from_numpy(np.ascontiguousarray(again)).flip(-1)
    return result


def _gamma(x: Tensor, generator: torch.Generator) -> Tensor:
    """Another tone curve: exponents from 0.6 to 1.6, the same to either side of one."""
    power = _between(math.log(0.6), math.log(1.6), len(x), generator).exp()
    return x.clamp_min(1e-4).pow(power[:, None, None, None])


def _vignetted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Corners up to 60 % darker, in half of the images."""
    n, _, height, width = x.shape
    loss = _between(-0.6, 0.6, n, generator).clamp_min(0)
    rows = torch.linspace(-1, 1, height)[:, None]
    columns = torch.linspace(-1, 1, width)
    from_centre = (rows.square() + columns.square()) / 2
    return x * (1 - loss[:, None, None, None] * from_centre)


def _blurred(x: Tensor, generator: torch.Generator) -> Tensor:
    """Defocus and motion in half of the images: a Gaussian, as long as it is wide or longer."""
    n, channels, height, width = x.shape
    blurs = torch.rand(n, generator=generator) < 0.5
    across = torch.where(blurs, _between(SHARPEST, SOFTEST, n, generator), SHARPEST)
    moves = torch.rand(n, generator=generator) < 0.5
    along = torch.where(blurs & moves, _between(SOFTEST, FASTEST, n, generator), across)
    angle = _between(0, math.pi, n, generator)
    offset = torch.arange(-BLUR_REACH, BLUR_REACH + 1).float()
    v, u = torch.meshgrid(offset, offset, indexing='ij')
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    forth, aside = cos * u + sin * v, cos * v - sin * u
    spread = (forth / along[:, None, None]) ** 2 + (aside / across[:, None, None]) ** 2
    kernels = torch.exp(-0.5 * spread)
    kernels = (kernels / kernels.sum((1, 2), keepdim=True)).repeat_interleave(channels, 0)[:, None]
    padded = F.pad(x, (BLUR_REACH,) * 4, mode='replicate').reshape(1, n * channels, -1, width + 6)
    return F.conv2d(padded, kernels, groups=n * channels).reshape(n, channels, height, width)


def _noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sensor noise that grows with the root of the light, in most images hardly any."""
    n = len(x)
    strength = LOUDEST * torch.rand(n, generator=generator) ** 2
    noise = torch.randn(x.shape, generator=generator)
    return x + strength[:, None, None, None] * noise * x.clamp_min(0.05).sqrt()


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
