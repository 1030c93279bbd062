"""Whether a camera can hang over the ground as its transform says."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

# A body frame (x forward, y left, z up) taken for an optical one (z forward, x right, y down) puts
# the optical axis where up is, and the upper edge of the image to the right of the robot. A pitch
# or a roll of the mount by less than 60 and 30 degrees leaves them within these limits. What is
# mounted on purpose does not come within both: cameras that are upright or upside down have the
# image's up axis steep, those that stand on edge the optical axis level, those that look down, as
# a fisheye under a drone does, the optical axis below the horizon.
STEEP = math.radians(30)  # the optical axis above the horizon, at least
LEVEL = math.radians(30)  # the image's up axis off the horizon, at most


def wrong_axis(camera: str, frame: str, base_frame: str, mount: NDArray[np.float64]) -> str:
    """What is wrong with the frame of a camera's images, and what helps; '' where nothing is.

    A body frame that is rolled by 90 or 180 degrees cannot be told from a camera that looks to
    the side or down.

    Args:
        camera: its name.
        frame: frame_id of its images.
        base_frame: name of the ego frame.
        mount: base_from_camera [4, 4].
    """
    _, down, forward = np.arcsin(np.clip(mount[2, :3], -1.0, 1.0))  # axes of the image over level
    if forward < STEEP or abs(down) > LEVEL:
        return ''
    optical = re.sub('_(link|frame|body)$', '', frame) + '_optical_frame'
    return (
        f'camera {camera}: looks along the wrong axis: the z axis of its frame {frame} points '
        f'{math.degrees(forward):.0f} degrees above the level of {base_frame}, as in a body frame '
        '(x forward), but images are taken along z (x right, y down). Let its images have the '
        f'frame_id of its optical frame; where there is none, publish {optical}: ros2 run tf2_ros '
        'static_transform_publisher --roll -1.5708 --yaw -1.5708 '
        f'--frame-id {frame} --child-frame-id {optical}'
    )
