"""A map of features, kept as the few channels from which a network's last layer makes them.

The last layer of a foundation network is linear, and so is nearly all that reads its features:
averages, samples between pixels, projections. They may change places with it. A map of 384
channels that 64 decide is then never written out, and the layer runs only where a feature is read:
at 7560 places of the 21600 pixels of `compact`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-12  # of a squared length: the root of 0 has no gradient


@dataclass(frozen=True)
class FeatureMap:
    """Features [N, C, h, w], written as basis (codes, 1)."""

    codes: Tensor  # [N, c, h, w]
    basis: Tensor | None = None  # [C, c + 1], the bias last; None: the codes are the features

    def dense(self) -> Tensor:
        """The features themselves [N, C, h, w]: the twin that all others must agree with."""
        if self.basis is None:
            return self.codes
        return F.conv2d(self.codes, self.basis[:, :-1, None, None], self.basis[:, -1])

    def halved(self) -> FeatureMap:
        """Each two by two pixels averaged, at odd rims fewer."""
        return FeatureMap(F.avg_pool2d(self.codes, 2, ceil_mode=True), self.basis)

    def projected(self, matrix: Tensor) -> Tensor:
        """The features times a matrix [D, C] -> [N, D, h, w]."""
        if self.basis is None:
            return F.conv2d(self.codes, matrix[:, :, None, None])
        return FeatureMap(self.codes, matrix @ self.basis).dense()

    def norms(self) -> Tensor:
        """Their lengths [N, 1, h, w]; of basis B and y = (codes, 1), the root of y' B'B y."""
        if self.basis is None:
            return self.codes.norm(dim=1, keepdim=True)
        turned = FeatureMap(self.codes, self.basis.mT @ self.basis).dense()
        square = (self.codes * turned[:, :-1]).sum(1, keepdim=True) + turned[:, -1:]
        return square.clamp_min(SMALLEST).sqrt()

    def decoded(self, rows: Tensor) -> Tensor:
        """Features [..., C] of codes [..., c] that were read from the map."""
        if self.basis is None:
            return rows
        return F.linear(rows, self.basis[:, :-1], self.basis[:, -1])
