"""What nuScenes fixes for everything that is like it; numbers and names only, no torch.

Workers that convert bags import this: with torch each would take half a gigabyte and seconds.
"""

from __future__ import annotations

# In nuScenes' order: what the node, the streets and the converted bags have unless told otherwise.
NUSCENES_CAMERAS = (
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_FRONT_LEFT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
)
