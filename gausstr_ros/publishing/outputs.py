"""The outputs of one cycle as messages, made one by one as somebody listens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from gausstr_ros.cycle.steps import MappedSet
from gausstr_ros.messages import grids_and_clouds, stamps
from gausstr_ros.messages.images import image_message
from gausstr_ros.messages.markers import gaussian_markers, voxel_markers
from gausstr_ros.publishing.drawn_views import View, draw
from gausstr_ros.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)


class Outputs:
    """Makes messages, all with the stamp of the set and in the base frame."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._whole: dict[str, tuple[type, Callable[[MappedSet, Any], Any]]] = {
            'occupancy_grid': (OccupancyGrid, self._occupancy_grid),
            'voxels': (PointCloud2, self._voxels),
            'gaussians': (MarkerArray, self._gaussians),
            'voxel_markers': (MarkerArray, self._voxel_markers),
        }
        self._pictures: dict[str, Callable[[View, MappedSet, Any], Image | None]] = {
            'depth': self._depth,
            'semantics': self._semantics,
        }
        if settings.activation_category:
            self._pictures['activation'] = self._activation
        self._told: set[str] = set()

    @property
    def types(self) -> dict[str, type]:
        """Name, relative to the node -> message class."""
        cameras, pictures = self._settings.names, self._pictures
        return {name: kind for name, (kind, _) in self._whole.items()} | {
            f'{camera}/{picture}': Image for camera in cameras for picture in pictures
        }

    def make(self, names: Iterable[str], mapped: MappedSet) -> Iterator[tuple[str, Any]]:
        """Name and message of the outputs asked for, in their order; MarkerArrays serialised.

        An output is left out where the set has nothing to show, as when its camera was missing.
        Cameras that are not asked for are not drawn.
        """
        header = stamps.header_message(mapped.stamp, self._settings.base_frame)
        cameras = [name.rpartition('/')[0] for name in names]
        views: dict[str, View] | None = None  # drawn late: the map does not wait for pictures
        for name, camera in zip(names, cameras, strict=True):
            if not camera:
                yield name, self._whole[name][1](mapped, header)
                continue
            if views is None:
                views = draw(mapped, cameras, self._settings.image_scale)
            if camera in views:
                picture = self._pictures[name.rpartition('/')[2]]
                message = picture(views[camera], mapped, header)
                if message is not None:
                    yield name, message

    def _occupancy_grid(self, mapped: MappedSet, header: Any) -> OccupancyGrid:
        return grids_and_clouds.occupancy_grid(
            mapped.result.occupancy, mapped.vocabulary.categories, self._settings.band, header
        )

    def _voxels(self, mapped: MappedSet, header: Any) -> PointCloud2:
        return grids_and_clouds.voxel_cloud(
            mapped.result.occupancy, mapped.vocabulary.categories, header, mapped.age
        )

    def _gaussians(self, mapped: MappedSet, header: Any) -> bytes:
        best = mapped.result.probabilities.argmax(-1).cpu().numpy()
        limit = self._settings.max_gaussians
        message, left_out = gaussian_markers(
            mapped.result.gaussians, best, mapped.vocabulary.categories, header, limit
        )
        self._report('gaussians', 'publish.max_gaussians', left_out, limit)
        return message

    def _voxel_markers(self, mapped: MappedSet, header: Any) -> bytes:
        limit = self._settings.max_cubes
        message, left_out = voxel_markers(
            mapped.result.occupancy, mapped.vocabulary.categories, header, limit, mapped.age
        )
        self._report('voxel_markers', 'publish.max_cubes', left_out, limit)
        return message

    def _depth(self, view: View, mapped: MappedSet, header: Any) -> Image:
        return image_message(view.depth(), '32FC1', header)

    def _semantics(self, view: View, mapped: MappedSet, header: Any) -> Image:
        pixels = view.semantics(mapped.vocabulary.categories)
        return image_message(pixels, 'rgb8', header)

    def _activation(self, view: View, mapped: MappedSet, header: Any) -> Image | None:
        wanted = self._settings.activation_category
        names = [category.name for category in mapped.vocabulary.categories]
        if wanted not in names:
            self._warn_once(
                f'~/<camera>/activation is silent: activation_category {wanted!r} is none of '
                f'{", ".join(names)}'
            )
            return None
        return image_message(view.activation(names.index(wanted)), '32FC1', header)

    def _report(self, output: str, parameter: str, left_out: int, limit: int) -> None:
        if left_out:
            self._warn_once(f'~/{output} leaves out what is beyond {parameter}, {limit}')

    def _warn_once(self, text: str) -> None:
        """At several sets a second, a warning per set would bury all others."""
        if text not in self._told:
            self._told.add(text)
            _LOGGER.warning(text)
