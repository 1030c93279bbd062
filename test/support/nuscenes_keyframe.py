"""One real nuScenes keyframe, and its messages; read from outside the repository.

nuScenes (Caesar et al., CVPR 2020) scene-0061, six cameras with the lidar sweep.
"""

from __future__ import annotations

import array
import json
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from gausstr_ros.messages.images import image_message
from gausstr_ros.messages.stamps import header_message

FRAME = Path(__file__).parents[3] / 'shared' / 'data' / 'nuscenes_frame'
LIDAR_TIME = 1_532_402_927_647_951_000
IMAGE_SIZE = (900, 1600)
DEPTH_SIZE = (180, 320)
# Pixels of a depth image that lie farther from any lidar point stay unknown.
REACH = 6.0


def read_frame():
    """Calibration, and the lidar points [P, 3] in the ego frame at LIDAR_TIME."""
    calibration = json.loads((FRAME / 'calib.json').read_text())
    points = np.fromfile(FRAME / 'lidar.bin', np.float32).reshape(-1, 5)[:, :3].astype(float)
    return calibration, points


def stamps_of(calibration):
    """When each camera fired: what the ego moved along its path, at the speed of this scene."""
    ego = np.array(calibration['ego2global'])
    stamps = {}
    for name, camera in calibration['cams'].items():
        moved = (np.array(camera['ego2global_cam'])[:3, 3] - ego[:3, 3]) @ ego[:3, 0]
        stamps[name] = LIDAR_TIME + round(moved / 9.0 * 1e9)
    return stamps


def moved(points, matrix):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def lidar_depth(points, camera, ego_at_lidar, image_size=IMAGE_SIZE):
    """z-depth [H, W] in metres between the lidar points that a camera sees; 0 is unknown."""
    camera_from_lidar_ego = (
        np.linalg.inv(np.array(camera['cam2ego']))
        @ np.linalg.inv(np.array(camera['ego2global_cam']))
        @ ego_at_lidar
    )
    local = moved(points, camera_from_lidar_ego)
    local = local[local[:, 2] > 1.0]
    height, width = DEPTH_SIZE
    scale = np.array([width / image_size[1], height / image_size[0]])
    pixels = (local @ np.array(camera['K']).T)[:, :2] / local[:, 2:] * scale
    inside = ((pixels >= 0) & (pixels < [width, height])).all(-1)
    pixels, depth = pixels[inside], local[inside, 2]
    order = np.argsort(-depth)  # near points last, so that they win their pixel
    nearest = np.zeros(DEPTH_SIZE)
    column, row = pixels[order].astype(int).T
    nearest[row, column] = depth[order]
    row, column = np.nonzero(nearest)
    from scipy.interpolate import LinearNDInterpolator

    # a plane is linear in inverse depth
    between = LinearNDInterpolator(np.stack([column, row], -1), 1 / nearest[row, column])
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    inverse = np.nan_to_num(between(columns, rows))
    far = cv2.distanceTransform((nearest == 0).astype(np.uint8), cv2.DIST_L2, 5) > REACH
    return np.where((inverse > 0) & ~far, 1 / np.maximum(inverse, 1e-6), 0).astype(np.float32)


class KeyframePublisher:
    """Publishes the keyframe once: transforms, calibrations, images, depth where asked for."""

    def __init__(self, tester, calibration, depth_topics):
        self._tester, self._calibration = tester, calibration
        tester.cameras = self.names = list(calibration['cams'])
        self._publishers = {
            name: (
                tester.publisher(CompressedImage, f'/{name}/image_raw/compressed'),
                tester.publisher(CameraInfo, f'/{name}/camera_info'),
                *([tester.publisher(Image, f'/{name}/depth')] if depth_topics else []),
            )
            for name in self.names
        }

    def wait_matched(self):
        every = [publisher for group in self._publishers.values() for publisher in group]
        self._tester.wait(
            lambda: all(p.get_subscription_count() for p in every), what='subscriptions'
        )

    def publish(self, points=None):
        """Send everything; depth is made of the points [P, 3] where they are given."""
        stamps = stamps_of(self._calibration)
        ego_at_lidar = np.array(self._calibration['ego2global'])
        self._publish_transforms(stamps)
        for name, camera in self._calibration['cams'].items():
            header = header_message(stamps[name], name)
            image, info, *depth = self._publishers[name]
            calibrated = CameraInfo(header=header, height=IMAGE_SIZE[0], width=IMAGE_SIZE[1])
            calibrated.k = np.array(camera['K'], float).ravel()
            info.publish(calibrated)
            if depth:
                plane = lidar_depth(points, camera, ego_at_lidar)
                depth[0].publish(image_message(plane, '32FC1', header))
            jpeg = array.array('B', (FRAME / f'{name}.jpg').read_bytes())
            image.publish(CompressedImage(header=header, format='jpeg', data=jpeg))

    def _publish_transforms(self, stamps):
        tester, cameras = self._tester, self._calibration['cams']
        static = [
            tester.transform('base_link', name, LIDAR_TIME, np.array(camera['cam2ego']))
            for name, camera in cameras.items()
        ]
        tester.tf_static.publish(TFMessage(transforms=static))
        for name, camera in cameras.items():
            pose = np.array(camera['ego2global_cam'])
            moving = tester.transform('map', 'base_link', stamps[name], pose)
            tester.tf.publish(TFMessage(transforms=[moving]))
