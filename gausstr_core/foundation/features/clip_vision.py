"""CLIP's image tower (ViT), with the dense value features of MaskCLIP.

Parameter names are those of the published CLIP files under `visual.`, so that no renaming table
is needed. MaskCLIP (arXiv 2112.01071) drops the last block's attention: each patch keeps its own
value vector, which stays aligned with the words while the class token's mixture does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.weights.tensors import fill, read_tensors, require, under

HEAD_WIDTH = 64  # CLIP's towers have one attention head per 64 channels


class ClipVision(nn.Module):
    """Normalised images [N, 3, H, W] -> vectors in CLIP's space of `out` channels."""

    def __init__(self, width: int, patch: int, grid: int, layers: int, out: int) -> None:
        super().__init__()
        self.patch, self.out = patch, out
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(grid * grid + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = _Transformer(width, layers)
        self.proj = nn.Parameter(scale * torch.randn(width, out))

    @classmethod
    def from_file(cls, path: Path) -> ClipVision:
        """Read the `visual.*` part of a published CLIP file; the sizes come from its tensors.

        Raises:
            ValueError: the file cannot be read or is not a CLIP with an image transformer.
        """
        tensors = under(read_tensors(path), 'visual.', path)
        width, _, _, patch = require(tensors, 'conv1.weight', path).shape
        grid = round((require(tensors, 'positional_embedding', path).shape[0] - 1) ** 0.5)
        tower = cls(width, patch, grid, _layers(tensors), require(tensors, 'proj', path).shape[1])
        fill(tower, tensors, path)
        return tower.eval()

    def forward(self, images: Tensor) -> Tensor:
        """One vector [N, out] per image, as CLIP compares it with a sentence."""
        tokens = self._embed(images)
        for block in self.transformer.resblocks:
            tokens = block(tokens)
        return self.ln_post(tokens[:, 0]) @ self.proj

    def dense(self, images: Tensor) -> Tensor:
        """One vector per patch: [N, out, H / patch, W / patch]."""
        tokens = self._embed(images)
        blocks = self.transformer.resblocks
        for block in blocks[:-1]:
            tokens = block(tokens)
        last = cast(_Block, blocks[-1])
        values = self.ln_post(last.value(tokens)[:, 1:]) @ self.proj
        rows, columns = (int(side) // self.patch for side in images.shape[2:])
        return values.transpose(1, 2).unflatten(2, (rows, columns))

    def _embed(self, images: Tensor) -> Tensor:
        """Tokens [N, 1 + patches, width], the class token first."""
        patches = self.conv1(images)
        # whole numbers, not what an export traces: an exported file has one size
        rows, columns = map(int, patches.shape[2:])
        patches = patches.flatten(2).transpose(1, 2)
        start = self.class_embedding.expand(len(images), 1, -1)
        tokens = torch.cat([start, patches], 1) + self._positions(rows, columns)
        return self.ln_pre(tokens)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Positional embedding [1 + rows * columns, width] for any number of patches."""
        grid = round((len(self.positional_embedding) - 1) ** 0.5)
        if rows == columns == grid:
            return self.positional_embedding
        patches = self.positional_embedding[1:].T.unflatten(1, (grid, grid))[None]
        # the tenth of a patch is how the features of the released model were made
        factors = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        patches = F.interpolate(
            patches, scale_factor=factors, mode='bicubic', recompute_scale_factor=False
        )
        return torch.cat([self.positional_embedding[:1], patches[0].flatten(1).T])


class _Transformer(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([_Block(width) for _ in range(layers)])


class _Block(nn.Module):
    """Pre-norm attention and perceptron, with CLIP's quick approximation of GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module('c_fc', nn.Linear(width, 4 * width))
        self.mlp.add_module('gelu', _QuickGelu())
        self.mlp.add_module('c_proj', nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))

    def value(self, x: Tensor) -> Tensor:
        """Every token's own value after the output projection; no mixing, no residual."""
        width = x.shape[-1]
        weight, bias = self.attn.in_proj_weight[-width:], self.attn.in_proj_bias[-width:]
        return self.attn.out_proj(F.linear(self.ln_1(x), weight, bias))


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _layers(tensors: Mapping[str, Tensor]) -> int:
    return len([name for name in tensors if name.endswith('.ln_1.weight')])
