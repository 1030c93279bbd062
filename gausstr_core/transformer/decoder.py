"""The decoder: cross-attention, self-attention, feed-forward; and the neck of `compact`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.contracts import FoundationMaps
from gausstr_core.transformer.deformable import DeformableAttention
from gausstr_core.transformer.head import LOG_MIDDLE


class Neck(nn.Module):
    """Foundation maps -> memory levels at 1/2, 1/4 and 1/8 of the feature map, D channels.

    Depth enters beside the features as its logarithm: what a Gaussian should do to its depth
    depends on the depth around it. The finest map itself is read only at the anchors: projecting
    all of it would cost more than the rest of the decoder.
    """

    def __init__(self, feature_dim: int, dim: int, levels: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(feature_dim, dim, 1, bias=False)
        self.depth_entry = nn.Conv2d(1, dim, 1)
        self.down = nn.ModuleList(
            nn.Conv2d(dim, dim, 3, stride=2, padding=1) for _ in range(levels - 1)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, dim) for _ in range(levels))

    def forward(self, maps: FoundationMaps) -> list[Tensor]:
        """Levels [N, D, h, w], the finest first."""
        features = maps.feature_map.halved()
        inverse = F.interpolate(1.0 / maps.depth[:, None], features.codes.shape[-2:], mode='area')
        # every pixel to unit variance, after the projection: that is three times less to multiply
        size = features.norms().clamp_min(1e-6) / self.entry.in_channels**0.5
        projected = features.projected(self.entry.weight[:, :, 0, 0])
        x = projected / size + self.depth_entry(_centred_log(inverse))
        levels = [self.norms[0](x)]
        for down, norm in zip(self.down, list(self.norms)[1:], strict=True):
            levels.append(norm(F.relu(down(levels[-1]))))
        return levels


def _centred_log(inverse_depth: Tensor) -> Tensor:
    """Logarithm of the depth, zero at 15 m."""
    return -inverse_depth.log() - LOG_MIDDLE


class SelfAttention(nn.Module):
    """Multi-head self-attention; queries and keys carry the position, values do not."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(dim, 2 * dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x, position [B, G, D] -> [B, G, D], without the residual."""

        def split(tensor: Tensor) -> Tensor:
            return tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key = self.query_key(x + position).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(split(query), split(key), split(self.value(x)))
        return self.output(mixed.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Cross-attention per view, self-attention among the queries, feed-forward.

    Args:
        dim, heads, levels, points, hidden: sizes, as of the parts.
        sample_first, dropout: of the cross-attention.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        levels: int,
        points: int,
        hidden: int,
        *,
        sample_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cross = DeformableAttention(
            dim, heads, levels, points, sample_first=sample_first, dropout=dropout
        )
        self.self_attention = SelfAttention(dim, heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: list[Tensor],
        groups: int = 1,
    ) -> Tensor:
        """Refine the queries.

        Args:
            query, position: [N, Q, D].
            reference: [N, Q, 2] normalised.
            memory: per level [N, D, h, w].
            groups: how many groups of neighbouring views attend apart: 1 lets all views attend to
                each other, N leaves each alone; more scenes than one are so many groups.
        """
        x = self.norms[0](query + self.cross(query + position, reference, memory))
        together, where = _grouped(x, groups), _grouped(position, groups)
        x = self.norms[1](together + self.self_attention(together, where)).reshape(x.shape)
        return self.norms[2](x + self.feed_forward(x))


def _grouped(x: Tensor, groups: int) -> Tensor:
    """[N, Q, D] -> [groups, N / groups * Q, D]."""
    return x.reshape(groups, -1, x.shape[-1])


class PositionEncoding(nn.Module):
    """PE(mu_3D): sine code of the mean in the ego frame, then a small MLP.

    Wavelengths run from 0.8 m, two voxels, to 102.4 m, the width of the scene.
    """

    wavelengths: Tensor

    def __init__(self, dim: int, octaves: int = 8) -> None:
        super().__init__()
        self.register_buffer('wavelengths', 0.8 * 2.0 ** torch.arange(octaves), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(3 * 2 * octaves, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, means: Tensor) -> Tensor:
        """means [..., 3] metres -> [..., D]."""
        phase = means[..., None] * (2 * torch.pi / self.wavelengths)
        code = torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2)
        return self.mlp(code)
