"""Label maps that somebody computed before, one file per image, such as those of a segmenter.

Files are called as in the released data, after nuScenes' images:
`<anything>__<camera>__<stamp in microseconds>` with an ending of
`gausstr_core.foundation.precomputed`; `<camera>__<stamp>` is enough. They hold whole numbers from
0 to 255 and belong to the original image, whatever their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.foundation.precomputed import SUFFIXES, read_map, stem_of


class StoredMasks:
    """The label maps of a folder, found by camera and stamp.

    Raises:
        ValueError: the folder holds no label map, or two of one image.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[tuple[str, int], Path] = {}
        for path in sorted(folder.rglob('*')):
            parts = stem_of(path.name).rsplit('__', 2)
            if path.suffix not in SUFFIXES or len(parts) < 2 or not parts[-1].isdecimal():
                continue
            other = self._paths.setdefault((parts[-2], int(parts[-1])), path)
            if other != path:
                raise ValueError(f'{other} and {path} are label maps of the same image')
        if not self._paths:
            raise ValueError(
                f'{folder} holds no label map: expected files called like '
                'CAM_FRONT__1532402927612460.npy'
            )

    def of(self, cameras: Sequence[str], stamps: Sequence[int], size: tuple[int, int]) -> Tensor:
        """The label maps of a frame.

        Args:
            cameras: names.
            stamps: of their images in ns.
            size: (height, width) wanted.

        Returns:
            [N, height, width] uint8, the nearest label of every pixel.

        Raises:
            ValueError: a map is missing or unreadable, or does not hold labels; it is named.
        """
        views = [
            self._one(camera, stamp, size) for camera, stamp in zip(cameras, stamps, strict=True)
        ]
        return torch.stack(views)

    def _one(self, camera: str, stamp: int, size: tuple[int, int]) -> Tensor:
        path = self._paths.get((camera, stamp // 1000))
        if path is None:
            raise ValueError(f'no label map {camera}__{stamp // 1000} in {self._folder}')
        labels = read_map(path.parent, stem_of(path.name))
        if labels.ndim != 2 or not bool(((labels == labels.round()) & (labels >= 0)).all()):
            raise ValueError(f'{path}: expected labels [H, W], whole numbers from 0 to 255')
        if labels.max() > 255:
            raise ValueError(f'{path}: expected labels up to 255, got {labels.max():g}')
        return F.interpolate(labels[None, None], size, mode='nearest')[0, 0].to(torch.uint8)
