"""The `compact` foundation network: one small CNN for text-aligned features and metric depth.

Input 320x180 RGB (any image is resized), normalised as (x - 127) / 128; features at stride 4 in
the space of the MiniLM text encoder (384 channels); depth at full resolution. About 1 M
parameters. It stands where GaussTR has CLIP/DINOv2 and Metric3D; trained here on synthetic
streets (docs/training.md), weights in gausstr_core/weights, Apache-2.0.

Depth: per pixel the network chooses between three inverse depths. The flat ground's follows
exactly from the calibration: at 20 m one pixel at this size is a metre of ground, so the
calibration knows the ground better than any regression does. What stands on the ground has that of
the row where it meets the ground: the network says how many rows below the pixel that is, which
holds whatever the camera's height, tilt and focal length. The third is free.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_core.foundation.efficientnet_lite import (
    CHANNELS,
    EfficientNetLite0,
    absorb_padding,
    fuse_batch_norms,
)
from gausstr_core.foundation.interface import resize_images

REFERENCE_FOCAL = 253.0  # pixels at 320x180; free depth is predicted for this focal length
GROUND_CORRECTION = 0.3  # the ground may deviate by a factor exp(+-0.3)
HINTS = 3
NUMBERS = 6  # per pixel: free, ground or not, ground's correction, foot or not, rows, free or not
ROWS = 15.0  # pixels: the scale of the rows between a pixel and where its object meets the ground
SOFT = 200.0  # 1/m: how sharply the inverse depth of what stands ends at the farthest depth


class CompactNetwork(nn.Module):
    """Images uint8 [N, 180, 320, 3] and rig -> features [N, C, 45, 80], depth [N, 180, 320]."""

    predicts_depth = True

    def __init__(
        self,
        feature_dim: int = 384,
        input_size: tuple[int, int] = (180, 320),
        width: int = 64,
        max_depth: float = 80.0,
    ) -> None:
        super().__init__()
        self.feature_dim, self.input_size, self.max_depth = feature_dim, input_size, max_depth
        self.encoder = EfficientNetLite0()
        self.deep = _Joint(CHANNELS[16] + HINTS, 0, 96)
        self.context = nn.Conv2d(96, 96, 1)
        self.middle = _Joint(CHANNELS[8] + HINTS, 96, width)
        self.fine = _Joint(CHANNELS[4] + HINTS, width, width)
        self.finest = _Joint(CHANNELS[2] + HINTS, width, 32)
        self.feature_head = nn.Conv2d(width, feature_dim, 1)
        self.depth_head = nn.Conv2d(32, NUMBERS, 3, padding=1)
        # all zero: a third of each, and 15 m where free, a start from which all can be learned
        for parameter in self.depth_head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor, rig: CameraRig) -> FoundationMaps:
        """See `FoundationNetwork`; any size is taken, `input_size` is what it was trained at."""
        height, width = images.shape[1:3]
        # HWC images are already channels-last, the layout in which CPU convolutions are fastest
        x = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        # strides divide 16: the decoder's maps then line up with pixels exactly
        x = F.pad(x, (0, -width % 16, 0, -height % 16))
        hints = geometry_hints(rig, x.shape[-2], x.shape[-1]).to(x.dtype)
        # one plane of another layout and every map joined with it would be copied back and forth
        joined = hints.contiguous(memory_format=torch.channels_last)
        fine, finest = self._decode(self.encoder(x), joined)
        codes = fine[..., : -(-height // 4), : -(-width // 4)]
        raw = F.interpolate(self.depth_head(finest).contiguous(), x.shape[-2:], mode='bilinear')
        inverse = self._inverse_depth(raw, hints, rig)[..., :height, :width]
        depth = 1.0 / inverse.clamp_min(1.0 / self.max_depth)
        return FoundationMaps(codes, depth, self._basis())

    def encode(
        self, images: Sequence[Tensor], rig: CameraRig, device: torch.device | str = 'cpu'
    ) -> tuple[FoundationMaps, CameraRig]:
        """See `FoundationNetwork`."""
        height, width = self.input_size
        small = rig.resized(height, width).to(device)
        return self(resize_images(list(images), height, width).to(device), small), small

    def _decode(self, maps: dict[int, Tensor], hints: Tensor) -> tuple[Tensor, Tensor]:
        def fresh(stride: int) -> Tensor:
            skip = maps[stride]
            known = F.interpolate(hints, skip.shape[-2:], mode='bilinear')
            return torch.cat([skip, known], dim=1)

        deep = self.deep(fresh(16))
        # the mean over the image tells day from dusk and street from square
        deep = deep + self.context(deep.mean(dim=(2, 3), keepdim=True))
        fine = self.fine(fresh(4), self.middle(fresh(8), deep))
        return fine, self.finest(fresh(2), fine)

    def _basis(self) -> Tensor:
        """[C, width + 1] the feature head, which runs where features are read: see FeatureMap."""
        assert self.feature_head.bias is not None
        return torch.cat([self.feature_head.weight.flatten(1), self.feature_head.bias[:, None]], 1)

    def _inverse_depth(self, raw: Tensor, hints: Tensor, rig: CameraRig) -> Tensor:
        """Blend the inverse depths of ground, of its foot and free [N, H, W] in 1/m."""
        focal = rig.intrinsics[:, 0, 0].to(raw)[:, None, None]
        free = torch.exp(raw[:, 0] - 2.7) * (REFERENCE_FOCAL / focal)
        flat = hints[:, 2] / HINT_SCALE
        ground = flat.clamp_min(0) * torch.exp(GROUND_CORRECTION * torch.tanh(raw[:, 2]))
        far = 1.0 / self.max_depth
        foot = flat + per_row(rig).to(raw)[:, None, None] * (ROWS * F.softplus(raw[:, 4]))
        foot = far + F.softplus((foot - far) * SOFT) / SOFT
        shares = raw[:, [1, 3, 5]].softmax(1)
        return shares[:, 0] * ground + shares[:, 1] * foot + shares[:, 2] * free

    def optimise_for_inference(self) -> CompactNetwork:
        """Switch to eval mode, fold batch norms and padding; the outputs stay the same."""
        self.eval()
        fuse_batch_norms(self)
        absorb_padding(self.encoder)  # `forward` pads to multiples of 16: every size is even
        return self.to(memory_format=torch.channels_last)


HINT_SCALE = 5.0  # metres: brings the ground's inverse depth (0.02 to 0.6 per metre) to order one


def geometry_hints(rig: CameraRig, height: int, width: int) -> Tensor:
    """What the calibration knows about every pixel [N, 3, height, width].

    Channels: the ray's x and y at unit z-depth in the optical frame, and the inverse z-depth
    (1/m, times HINT_SCALE) at which the pixel would see flat ground at z = 0 of the ego frame;
    negative above the horizon, cut to +-3.
    """
    device = rig.intrinsics.device
    v, u = torch.meshgrid(
        torch.arange(height, device=device) + 0.5,
        torch.arange(width, device=device) + 0.5,
        indexing='ij',
    )
    k = rig.intrinsics
    x = (u[None] - k[:, 0, 2, None, None]) / k[:, 0, 0, None, None]
    y = (v[None] - k[:, 1, 2, None, None]) / k[:, 1, 1, None, None]
    pose = rig.ego_from_camera
    row = pose[:, 2, :3, None, None]  # the ego z axis, written in the optical frame
    descent = -(row[:, 0] * x + row[:, 1] * y + row[:, 2])
    # a camera below the ground plane (a robot on a ramp) keeps a finite hint
    camera_height = pose[:, 2, 3, None, None].clamp_min(0.1)
    ground = (HINT_SCALE * descent / camera_height).clamp(-3, 3)
    return torch.stack([x, y, ground], dim=1).float()


def per_row(rig: CameraRig) -> Tensor:
    """[N] by how much the flat ground's inverse depth grows from row to row, 1/m."""
    pose = rig.ego_from_camera
    return -pose[:, 2, 1] / (rig.intrinsics[:, 1, 1] * pose[:, 2, 3].clamp_min(0.1))


class _Joint(nn.Sequential):
    """Mix a map and the coarser one below it 1x1, then look around 3x3.

    Mixing and bilinear enlarging are linear and may change places: the coarse map is mixed while
    it is small, and as many channels are enlarged as come out, not as go in.

    Args:
        fresh, coarse: channels of the map and of the coarser one; 0: there is none.
        out: channels that come out.
    """

    def __init__(self, fresh: int, coarse: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(fresh + coarse, out, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )
        self._fresh = fresh

    def forward(self, fresh: Tensor, coarse: Tensor | None = None) -> Tensor:
        """[N, fresh, h, w] and, where there is one, [N, coarse, h', w'] -> [N, out, h, w]."""
        mix = self[0]
        assert isinstance(mix, nn.Conv2d)
        x = F.conv2d(fresh, mix.weight[:, : self._fresh], mix.bias)
        if coarse is not None:
            below = F.conv2d(coarse, mix.weight[:, self._fresh :])
            x = x + F.interpolate(below, x.shape[-2:], mode='bilinear')
        for layer in list(self)[1:]:
            x = layer(x)
        return x
