"""The annotated boxes of a keyframe as a MarkerArray, which RViz and Foxglove draw."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from gausstr_core.bags.messages import TYPES
from gausstr_training.bags.messages import FIXED_FRAME, header
from gausstr_training.nuscenes.scene import Box, Scene

# Not through gausstr_core.vocabulary.vocabulary: workers without torch take a tenth of the memory.
_VOCABULARY = files('gausstr_core.config') / 'vocabulary_occ3d.yaml'
MARKERS = 'visualization_msgs/msg/MarkerArray'
_OPACITY = 0.5
_OTHER = (128, 128, 128)
# Name of our vocabulary by the beginning of a nuScenes category; the rest is Occ3D's `others`.
_CLASSES = {
    'human.pedestrian': 'pedestrian',
    'movable_object.barrier': 'barrier',
    'movable_object.trafficcone': 'traffic cone',
    'vehicle.bicycle': 'bicycle',
    'vehicle.bus': 'bus',
    'vehicle.car': 'car',
    'vehicle.construction': 'construction vehicle',
    'vehicle.motorcycle': 'motorcycle',
    'vehicle.trailer': 'trailer',
    'vehicle.truck': 'truck',
}


class MarkerMaker:
    """Makes the markers of a scene: an object has the same id in all of its keyframes."""

    def __init__(self, scene: Scene) -> None:
        instances = (box.instance for sample in scene.samples for box in sample.boxes)
        self._ids = {token: number for number, token in enumerate(dict.fromkeys(instances))}
        vocabulary = yaml.safe_load(_VOCABULARY.read_text(encoding='utf-8'))
        self._colors: dict[str, Sequence[int]] = {
            category['name']: category['color'] for category in vocabulary['categories']
        }

    def markers(self, stamp: int, boxes: Sequence[Box]) -> Any:
        """MarkerArray at a stamp in ns, in the fixed frame.

        The first marker deletes the earlier ones. The others are cubes: `ns` is the category,
        `text` the token of the instance, `scale` length, width, height in metres.
        """
        clear = _marker(header(stamp, FIXED_FRAME), action='DELETEALL')
        return TYPES[MARKERS]([clear, *(self._cube(stamp, box) for box in boxes)])

    def _cube(self, stamp: int, box: Box) -> Any:
        w, x, y, z = box.pose.rotation
        width, length, height = box.size
        cube = _marker(header(stamp, FIXED_FRAME), action='ADD')
        cube.ns, cube.id, cube.text = box.category, self._ids[box.instance], box.instance
        cube.pose = TYPES['geometry_msgs/msg/Pose'](
            TYPES['geometry_msgs/msg/Point'](*box.pose.translation),
            TYPES['geometry_msgs/msg/Quaternion'](x, y, z, w),
        )
        cube.scale = TYPES['geometry_msgs/msg/Vector3'](length, width, height)
        color = (value / 255 for value in self._color(box.category))
        cube.color = TYPES['std_msgs/msg/ColorRGBA'](*color, _OPACITY)
        return cube

    def _color(self, category: str) -> Sequence[int]:
        name = _CLASSES.get('.'.join(category.split('.')[:2]), '')
        return self._colors.get(name, _OTHER)


def _marker(head: Any, *, action: str) -> Any:
    """A cube of no size; ROS leaves no field of a message out."""
    kind = TYPES['visualization_msgs/msg/Marker']
    nothing = np.zeros(0, np.uint8)
    return kind(
        header=head,
        ns='',
        id=0,
        type=kind.CUBE,
        action=getattr(kind, action),
        pose=TYPES['geometry_msgs/msg/Pose'](
            TYPES['geometry_msgs/msg/Point'](0.0, 0.0, 0.0),
            TYPES['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0),
        ),
        scale=TYPES['geometry_msgs/msg/Vector3'](0.0, 0.0, 0.0),
        color=TYPES['std_msgs/msg/ColorRGBA'](0.0, 0.0, 0.0, 0.0),
        lifetime=TYPES['builtin_interfaces/msg/Duration'](0, 0),
        frame_locked=False,
        points=[],
        colors=[],
        texture_resource='',
        texture=TYPES['sensor_msgs/msg/CompressedImage'](header(0, ''), '', nothing),
        uv_coordinates=[],
        text='',
        mesh_resource='',
        mesh_file=TYPES['visualization_msgs/msg/MeshFile']('', nothing),
        mesh_use_embedded_materials=False,
    )
