"""Where else there is what nobody publishes on a topic: under another transport, type or name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from rclpy.node import Node

from gausstr_ros.settings.settings import CameraSettings, Settings

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, CLOUD = 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/PointCloud2'
_PLUGIN = '/compressed'  # what image_transport adds to a topic
_ALIKE = 0.6  # how much of its name, as difflib counts, a topic shares with its neighbours


@dataclass(frozen=True)
class Source:
    """What is expected on a topic of a camera or a lidar, and the parameter that names it."""

    kind: str  # full name of the message type
    parameter: str

    @property
    def pictures(self) -> bool:
        """Whether it is images that come under other transports as well."""
        return self.kind in (IMAGE, COMPRESSED) and not self.depth

    @property
    def depth(self) -> bool:
        """Whether it is depth: its types are those of images."""
        return self.parameter.endswith('depth_topic')


def sources(camera: CameraSettings, settings: Settings) -> dict[str, Source]:
    """The topics of a camera by their names in the settings."""
    own = f'cameras.{camera.name}'
    found = {
        camera.image_topic: Source(
            COMPRESSED if settings.compressed else IMAGE, f'{own}.image_topic'
        ),
        camera.camera_info_topic: Source(INFO, f'{own}.camera_info_topic'),
    }
    if settings.depth_images:
        kind = COMPRESSED if camera.compressed_depth else IMAGE
        found[camera.depth_topic] = Source(kind, f'{own}.depth_topic')
    return found


def all_sources(settings: Settings) -> dict[tuple[str, str], Source]:
    """The topics of all streams, by the stream (camera, or topic of a lidar) and their names."""
    found = {
        (camera.name, topic): source
        for camera in settings.cameras
        for topic, source in sources(camera, settings).items()
    }
    return found | {
        (topic, topic): Source(CLOUD, 'lidar.topic') for topic in settings.lidar_topics
    }


def advice(node: Node, topic: str, source: Source, others: Mapping[str, list[str]]) -> str:
    """What to do about a topic on which nothing comes; '' where nothing like it is published.

    Args:
        node: whose graph is looked at.
        topic: full name.
        source: what is expected there.
        others: the topics that the node does not listen to, with their types.
    """
    kinds = {info.topic_type for info in node.get_publishers_info_by_topic(topic)}
    if kinds:
        return '' if source.kind in kinds else _other_type(topic, source, kinds)
    sibling, kind, transport = _of_other_transport(topic, source)
    found = [sibling] if kind in others.get(sibling, ()) else []
    for name in found + _neighbours(topic, source, others):
        if node.count_publishers(name):
            fix = f'set image_transport to {transport}'
            if name != sibling:
                alike = source.depth or source.kind in others[name]
                fix = f'see {source.parameter}' + ('' if alike else ' and image_transport')
            return f'{name} has a publisher ({", ".join(others[name])}): {fix}'
    return ''


def _other_type(topic: str, source: Source, kinds: set[str]) -> str:
    also = ' and image_transport' if source.pictures else ''
    return (
        f'{topic} is published as {", ".join(sorted(kinds))}, expected {source.kind}: see '
        f'{source.parameter}{also}'
    )


def _of_other_transport(topic: str, source: Source) -> tuple[str, str, str]:
    """The topic on which image_transport offers the same images otherwise, its type, and how."""
    if not source.pictures:
        return '', '', ''
    if source.kind == IMAGE:
        return topic + _PLUGIN, COMPRESSED, 'compressed'
    return topic.removesuffix(_PLUGIN), IMAGE, 'raw'


def _neighbours(topic: str, source: Source, types: Mapping[str, list[str]]) -> list[str]:
    """Topics that may be meant, the likeliest first: below the same camera, or of like names."""
    place = topic.removesuffix(_PLUGIN).rpartition('/')[0]
    camera = place.rpartition('/')[2]  # what another camera has is nothing to this one
    fitting = {source.kind} if source.kind in (INFO, CLOUD) else {IMAGE, COMPRESSED}
    of_camera = source.kind != CLOUD

    def likeness(name: str) -> tuple[bool, float]:
        return source.kind in types[name], difflib.SequenceMatcher(None, topic, name).ratio()

    found = [
        name
        for name, kinds in types.items()
        if fitting & set(kinds)
        and (source.kind in (INFO, CLOUD) or _is_depth(name) == source.depth)
        and (not of_camera or camera in name.split('/'))
        and ((place and name.startswith(f'{place}/')) or likeness(name)[1] >= _ALIKE)
    ]
    return sorted(found, key=likeness, reverse=True)


def _is_depth(name: str) -> bool:
    # image_transport offers colours as compressedDepth, too
    return 'depth' in name.removesuffix('/compressedDepth').lower()
