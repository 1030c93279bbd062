"""Small bags for tests: a drive without rendering, and any bag with its messages changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from gausstr_training.streets.bag import DriveWriter
from gausstr_training.streets.rig import StreetRig, sample_rig
from gausstr_training.streets.scene.shapes import rotation

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types
START = 1_700_000_000_000_000_000
PERIOD = 500_000_000
WIDTH, HEIGHT = 64, 36


class Recorded(NamedTuple):
    """A message with its time of recording."""

    time: int
    topic: str
    kind: str
    message: Any


def ego_pose(stamp: int) -> np.ndarray:
    """odom_from_ego [4, 4]: 10 m/s straight on while turning 0.5 rad/s, exact to interpolate."""
    seconds = (stamp - START) / 1e9
    pose = np.eye(4)
    pose[:3, :3] = rotation(0.5 * seconds, 0.02, -0.01)
    pose[:3, 3] = [100 + 10 * seconds, -5 + seconds, 0.2]
    return pose


def picture(frame: int, camera: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A smooth RGB image [H, W, 3] unlike those of other frames and cameras."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [np.sin(3 * x + camera), np.cos(2 * y + frame), np.sin(x + 2 * y + frame - camera)]
    return np.round(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def write_bag_of_drive(path: Path, frames: int = 4, seed: int = 0) -> StreetRig:
    """A drive of a staggered rig of six, its ego poses every 50 ms and not at the images'."""
    rig = sample_rig(np.random.default_rng(seed), WIDTH, HEIGHT)
    writer = DriveWriter(path, rig)
    for frame in range(frames):
        for camera in range(6):
            stamp = START + frame * PERIOD + int(rig.delays[camera])
            writer.add_image(camera, stamp, picture(frame, camera))
    for stamp in range(START - 20_000_000, START + frames * PERIOD, 50_000_000):
        writer.add_ego_pose(stamp, ego_pose(stamp))
    writer.write()
    return rig


def messages_of(bag: Path) -> list[Recorded]:
    """All messages of a bag, decoded."""
    with Reader(bag) as reader:
        return [
            Recorded(time, c.topic, c.msgtype, STORE.deserialize_cdr(raw, c.msgtype))
            for c, time, raw in reader.messages()
        ]


def write_bag(
    path: Path,
    messages: Iterable[Recorded],
    plugin: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write messages into a new bag, in the order of their recording."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression != CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        for key, value in (notes or {}).items():
            writer.set_custom_data(key, value)
        connections: dict[str, Any] = {}
        for item in sorted(messages, key=lambda item: item.time):
            if item.topic not in connections:
                connections[item.topic] = writer.add_connection(
                    item.topic, item.kind, typestore=STORE
                )
            raw = STORE.serialize_cdr(item.message, item.kind)
            writer.write(connections[item.topic], item.time, raw)
    return path


def header(stamp: int, frame: str) -> Any:
    """A std_msgs/Header."""
    time = T['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
    return T['std_msgs/msg/Header'](time, frame)


def raw_image(compressed: Any, encoding: str, padding: int = 0) -> Any:
    """A CompressedImage as a raw Image, its rows padded by some bytes."""
    pixels = cv2.imdecode(compressed.data, cv2.IMREAD_COLOR)
    if encoding == 'rgb8':
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if encoding == 'mono8':
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)))
    return T['sensor_msgs/msg/Image'](
        compressed.header, height, width, encoding, 0, rows.shape[1], rows.ravel()
    )


def cloud(stamp: int, frame: str, points: np.ndarray) -> Any:
    """A PointCloud2 of points [P, 3] with an intensity between its coordinates."""
    field = T['sensor_msgs/msg/PointField']
    fields = [field('intensity', 0, 7, 1)] + [
        field(name, 4 * (index + 1), 7, 1) for index, name in enumerate('xyz')
    ]
    table = np.concatenate([np.zeros((len(points), 1)), points], 1).astype('<f4')
    data = np.frombuffer(table.tobytes(), np.uint8)
    return T['sensor_msgs/msg/PointCloud2'](
        header(stamp, frame), 1, len(points), fields, False, 16, 16 * len(points), data, True
    )
