"""The RViz configuration, made for another rig: its cameras, frames and namespace."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_ros.settings.settings import CameraSettings, Settings

_NODE = '/gausstr/'  # in the shipped file
_FRONT = NUSCENES_CAMERAS[0]
_POINTS, _CUBES = 'Voxels', 'Voxels by category'  # displays


def fitted(shipped: Mapping[str, Any], settings: Settings, node: str) -> dict[str, Any]:
    """The shipped configuration for the cameras of some settings.

    Args:
        shipped: content of rviz/gausstr.rviz, whose displays of images are those of nuScenes.
        settings: of the node.
        node: full name of the node, such as /robot/gausstr.
    """
    made = copy.deepcopy(dict(shipped))
    manager = made['Visualization Manager']
    manager['Global Options']['Fixed Frame'] = settings.base_frame
    for view in (manager['Views']['Current'], *manager['Views']['Saved']):
        view['Target Frame'] = settings.base_frame
    _show_memory(manager['Displays'], settings)
    for display in manager['Displays']:
        if 'Displays' in display:
            display['Displays'] = [
                _for_camera(front, camera, node, first=number == 0)
                for number, camera in enumerate(settings.cameras)
                for front in display['Displays']
                if front['Name'].split()[0] == _FRONT
            ]
        elif 'Topic' in display:
            topic = display['Topic']
            topic['Value'] = topic['Value'].replace(_NODE, f'{node}/', 1)
    return made


def _show_memory(displays: list[dict[str, Any]], settings: Settings) -> None:
    """With a memory the cubes are on: points have one alpha for what is seen and remembered."""
    if settings.memory is not None:
        for display in displays:
            if display['Name'] in (_POINTS, _CUBES):
                display['Enabled'] = display['Name'] == _CUBES


def _for_camera(
    front: Mapping[str, Any], camera: CameraSettings, node: str, *, first: bool
) -> dict[str, Any]:
    """A display of the front camera made one of another; only the first is on from the start."""
    made = copy.deepcopy(dict(front))
    made['Name'] = front['Name'].replace(_FRONT, camera.name, 1)
    made['Enabled'] = front['Enabled'] and first
    topic = made['Topic']
    if topic['Value'].startswith(_NODE):
        topic['Value'] = f'{node}/{camera.name}/{topic["Value"].rpartition("/")[2]}'
    else:
        topic['Value'] = camera.image_topic
    return made
