"""The outputs of one cycle as messages, made one by one as somebody listens."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from gausstr_core.splatting import SplatImages, splat
from gausstr_ros import conversions
from gausstr_ros.mapper import MappedSet
from gausstr_ros.markers import VoxelPoints, gaussian_markers, voxel_markers
from gausstr_ros.parameters import Settings

_LOGGER = logging.getLogger(__name__)


class Outputs:
    """Makes messages, all with the stamp of the set and in the base frame."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._points = VoxelPoints(settings.grid)
        self._ellipsoids: list[Marker] = []
        self._rendered: tuple[MappedSet, SplatImages] | None = None
        self._makers: dict[str, tuple[type, Any]] = {
            'occupancy_grid': (OccupancyGrid, self._occupancy_grid),
            'voxels': (PointCloud2, self._voxels),
            'gaussians': (MarkerArray, self._gaussians),
            'voxel_markers': (MarkerArray, self._voxel_markers),
        }
        for camera in settings.names:
            self._makers[f'{camera}/depth'] = (Image, partial(self._depth, camera))
            self._makers[f'{camera}/semantics'] = (Image, partial(self._semantics, camera))

    @property
    def types(self) -> dict[str, type]:
        """Name, relative to the node -> message class."""
        return {name: kind for name, (kind, _) in self._makers.items()}

    def make(self, name: str, mapped: MappedSet) -> Any | None:
        """One output; None where the set has nothing to show, because its camera was missing."""
        header = conversions.header_message(mapped.stamp, self._settings.base_frame)
        return self._makers[name][1](mapped, header)

    def _occupancy_grid(self, mapped: MappedSet, header: Any) -> OccupancyGrid:
        return conversions.occupancy_grid(
            mapped.result.occupancy, mapped.vocabulary.categories, self._settings.band, header
        )

    def _voxels(self, mapped: MappedSet, header: Any) -> PointCloud2:
        return conversions.voxel_cloud(
            mapped.result.occupancy, mapped.vocabulary.categories, header
        )

    def _gaussians(self, mapped: MappedSet, header: Any) -> MarkerArray:
        best = mapped.result.probabilities.argmax(-1).cpu().numpy()
        limit = self._settings.max_gaussians
        message, left_out = gaussian_markers(
            mapped.result.gaussians,
            best,
            mapped.vocabulary.categories,
            header,
            limit,
            self._ellipsoids,
        )
        self._report('gaussians', 'publish.max_gaussians', left_out, limit)
        return message

    def _voxel_markers(self, mapped: MappedSet, header: Any) -> MarkerArray:
        limit = self._settings.max_cubes
        message, left_out = voxel_markers(
            mapped.result.occupancy, mapped.vocabulary.categories, header, self._points, limit
        )
        self._report('voxel_markers', 'publish.max_cubes', left_out, limit)
        return message

    def _depth(self, camera: str, mapped: MappedSet, header: Any) -> Image | None:
        """z-depth in metres seen in the Gaussians; 0 where there are none."""
        if camera not in mapped.result.rig.names:
            return None
        drawn, view = self._render(mapped), mapped.result.rig.names.index(camera)
        alpha = drawn.alpha[view].cpu().numpy()
        depth = drawn.depth[view].cpu().numpy() / np.maximum(alpha, 1e-6)
        pixels = np.where(alpha > 0.5, depth, 0).astype(np.float32)
        return conversions.image_message(pixels, '32FC1', header)

    def _semantics(self, camera: str, mapped: MappedSet, header: Any) -> Image | None:
        """The colour of the likeliest category per pixel; black where there are no Gaussians."""
        if camera not in mapped.result.rig.names:
            return None
        drawn, view = self._render(mapped), mapped.result.rig.names.index(camera)
        best = drawn.features[view].argmax(0).cpu().numpy()
        pixels = conversions.color_table(mapped.vocabulary.categories)[best]
        pixels[drawn.alpha[view].cpu().numpy() <= 0.5] = 0
        return conversions.image_message(pixels, 'rgb8', header)

    def _render(self, mapped: MappedSet) -> SplatImages:
        """The Gaussians seen by the cameras; drawn once for all images of a set."""
        if self._rendered is None or self._rendered[0] is not mapped:
            result = mapped.result
            painted = replace(result.gaussians, features=result.probabilities)
            height, width = result.rig.image_sizes[0]
            self._rendered = (mapped, splat(painted, result.rig, height, width))
        return self._rendered[1]

    @staticmethod
    def _report(output: str, parameter: str, left_out: int, limit: int) -> None:
        if left_out:
            _LOGGER.warning('~/%s leaves out %d of %d: %s is %d', output, left_out,
                            left_out + limit, parameter, limit)  # fmt: skip
