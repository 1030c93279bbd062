"""Reads a bag once, from the beginning to the end, and writes down what lies where."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gausstr_core.bags.messages import decode
from gausstr_core.bags.reading import CDR, Bag, Connection, Message, encoding_of
from gausstr_core.camera.camera_info import Calibration
from gausstr_core.stamps import nanoseconds
from gausstr_training.bags.keyframes import Keyframe, keyframes_of
from gausstr_training.bags.messages import COMPRESSED, INFO, TF, TF_STATIC, TRANSFORMS
from gausstr_training.bags.poses import Link, TransformTree, pose_of
from gausstr_training.bags.storage import version_of

RAW, CLOUD = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2'
NO_STAMP = 'message without a stamp'
SAME_STAMP = 'message with the stamp of another'
NO_POSE = 'transform that is not finite or has no unit quaternion'
_IMAGES = re.compile(r'/(?P<camera>.+)/image_raw(?P<compressed>/compressed)?')
_Reader = Callable[[Message, Any], None]


@dataclass(frozen=True)
class Layout:
    """Where a bag has what is not found by its name alone."""

    base_frame: str = 'base_link'
    cloud_topic: str = '/lidar_top/points'


@dataclass(frozen=True)
class Stream:
    """The messages of one topic, by their own stamps."""

    topic: str
    kind: str  # message type
    frame: str  # frame_id of their headers
    stamps: NDArray[np.int64]  # [n] ns of the headers, strictly ascending
    logged: NDArray[np.int64]  # [n] ns at which they were recorded


@dataclass(frozen=True)
class Camera:
    """A camera's images, and its calibrations in the order of time."""

    images: Stream
    calibrations: tuple[Calibration, ...]  # each unlike the one before it
    since: tuple[int, ...]  # ns: stamp of the first CameraInfo that says so


@dataclass(frozen=True)
class Contents:
    """All that training needs to know of a bag to find its frames."""

    version: str  # `storage.version_of` the bag that this is said of
    file: str  # `Bag.file`
    cameras: dict[str, Camera]
    cloud: Stream | None
    transforms: TransformTree  # of the cameras, the lidar and the ego
    keyframes: tuple[Keyframe, ...]
    skipped: Counter[tuple[str, str]]  # (topic, reason) -> messages


def scan(bag: Path, layout: Layout) -> Contents:
    """Read all messages of the layout's topics; images are not decoded.

    Raises:
        ValueError: the bag or a message is damaged, or what the bag says contradicts itself; the
            message names bag, topic and time.
    """
    version = version_of(bag)
    with Bag(bag) as opened:
        topics = [topic for topic in opened.connections if encoding_of(topic) == CDR]
        found = _Found(_camera_topics(topics), layout)
        readers = found.readers(topics)
        for message in opened.messages({topic for topic, _ in readers}):
            reader = readers.get((message.topic, message.kind))
            if reader is None or message.encoding != CDR:
                continue  # of somebody else with the same name
            try:
                reader(message, decode(message))
            except ValueError as error:
                raise ValueError(
                    f'{bag}: {message.topic}, recorded at {message.logged} ns: {error}'
                ) from error
        notes, file = opened.notes, opened.file
    try:
        return found.contents(version, file, keyframes_of(notes))
    except ValueError as error:
        raise ValueError(f'{bag}: {error}') from error


def _camera_topics(topics: Iterable[Connection]) -> dict[str, str]:
    """Image topic by camera; where a camera has both kinds, the compressed one is read."""
    cameras: dict[str, str] = {}
    for topic in topics:
        match = _IMAGES.fullmatch(topic.topic)
        if match is None or not topic.msgcount:
            continue
        compressed = match['compressed'] is not None
        if topic.msgtype == (COMPRESSED if compressed else RAW) and (
            compressed or match['camera'] not in cameras
        ):
            cameras[match['camera']] = topic.topic
    return cameras


@dataclass
class _Stamps:
    """The stamps of a topic as they come."""

    kind: str = ''
    frame: str | None = None
    stamps: array[int] = field(default_factory=lambda: array('q'))
    logged: array[int] = field(default_factory=lambda: array('q'))

    def add(self, message: Message, header: Any) -> None:
        frame = _frame(header.frame_id)
        if self.frame is None:
            self.frame, self.kind = frame, message.kind
        if frame != self.frame:
            raise ValueError(f'frame_id changes from {self.frame!r} to {frame!r}')
        self.stamps.append(nanoseconds(header.stamp))
        self.logged.append(message.logged)

    def stream(self, topic: str, skipped: Counter[tuple[str, str]]) -> Stream:
        stamps, logged = np.array(self.stamps, np.int64), np.array(self.logged, np.int64)
        unset = stamps == 0
        order, first = np.unique(stamps[~unset], return_index=True)
        skipped[topic, NO_STAMP] += int(unset.sum())
        skipped[topic, SAME_STAMP] += int(len(stamps) - unset.sum() - len(order))
        return Stream(topic, self.kind, self.frame or '', order, logged[~unset][first])


@dataclass
class _Samples:
    """The samples of one link as they come."""

    parent: str
    static: bool
    stamps: array[int] = field(default_factory=lambda: array('q'))
    poses: array[float] = field(default_factory=lambda: array('d'))
    conflict: str = ''

    def link(self) -> Link:
        stamps = np.array(self.stamps, np.int64)
        poses = np.array(self.poses).reshape(-1, 7)
        if self.static:
            return Link(self.parent, True, stamps[-1:], poses[-1:])
        # of two samples of one instant the later one holds, as in tf2
        order, last = np.unique(stamps[::-1], return_index=True)
        return Link(self.parent, False, order, poses[::-1][last])


class _Found:
    """Collects while the bag is read."""

    def __init__(self, image_topics: dict[str, str], layout: Layout) -> None:
        self._layout = layout
        self._image_topics = image_topics
        self._streams: dict[str, _Stamps] = {}
        self._infos: dict[str, dict[int, Calibration]] = {}
        self._same: dict[Calibration, Calibration] = {}
        self._samples: dict[str, _Samples] = {}
        self._skipped: Counter[tuple[str, str]] = Counter()

    def readers(self, topics: Iterable[Connection]) -> dict[tuple[str, str], _Reader]:
        """Who takes the messages of which topic and type."""
        wanted: dict[tuple[str, str], _Reader] = {
            (TF, TRANSFORMS): self._add_transforms,
            (TF_STATIC, TRANSFORMS): self._add_transforms,
            (self._layout.cloud_topic, CLOUD): self._add_stamped,
        }
        for camera, topic in self._image_topics.items():
            wanted[f'/{camera}/camera_info', INFO] = self._add_info
            wanted[topic, COMPRESSED if topic.endswith('/compressed') else RAW] = self._add_stamped
        kinds = ((topic.topic, topic.msgtype) for topic in topics)
        return {key: wanted[key] for key in kinds if key in wanted}

    def contents(self, version: str, file: str, keyframes: tuple[Keyframe, ...]) -> Contents:
        cameras = {
            name: Camera(self._stream(topic), *self._calibrations(f'/{name}/camera_info'))
            for name, topic in self._image_topics.items()
        }
        topic = self._layout.cloud_topic
        cloud = self._stream(topic) if topic in self._streams else None
        frames = {camera.images.frame for camera in cameras.values()}
        frames |= {self._layout.base_frame} | ({cloud.frame} if cloud else set())
        tree = TransformTree({child: samples.link() for child, samples in self._samples.items()})
        tree = tree.above(frames)
        for child in tree.links:
            if self._samples[child].conflict:
                raise ValueError(self._samples[child].conflict)
        return Contents(version, file, cameras, cloud, tree, keyframes, +self._skipped)

    def _stream(self, topic: str) -> Stream:
        return self._streams[topic].stream(topic, self._skipped)

    def _calibrations(self, topic: str) -> tuple[tuple[Calibration, ...], tuple[int, ...]]:
        infos = sorted(self._infos.get(topic, {}).items(), key=lambda item: item[0])
        new = [
            (stamp, info)
            for index, (stamp, info) in enumerate(infos)
            if not index or infos[index - 1][1] != info
        ]
        return tuple(info for _, info in new), tuple(stamp for stamp, _ in new)

    def _add_stamped(self, message: Message, content: Any) -> None:
        self._streams.setdefault(message.topic, _Stamps()).add(message, content.header)

    def _add_info(self, message: Message, content: Any) -> None:
        stamp = nanoseconds(content.header.stamp)
        info = Calibration.of(content)
        # one for all that are equal: a camera sends it with every image
        self._infos.setdefault(message.topic, {})[stamp] = self._same.setdefault(info, info)

    def _add_transforms(self, message: Message, content: Any) -> None:
        static = message.topic == TF_STATIC
        for transform in content.transforms:
            child, parent = _frame(transform.child_frame_id), _frame(transform.header.frame_id)
            pose = pose_of(transform.transform)
            norm = np.linalg.norm(pose[3:])
            if not (np.isfinite(pose).all() and abs(norm - 1) < 0.01):
                self._skipped[message.topic, NO_POSE] += 1
                continue
            samples = self._samples.setdefault(child, _Samples(parent, static))
            if (samples.parent, samples.static) != (parent, static):
                # of no concern for a frame that no camera hangs on
                samples.conflict = (
                    f'{child} hangs on {samples.parent} ('
                    f'{TF_STATIC if samples.static else TF}) and on {parent} '
                    f'({message.topic}): expected one parent'
                )
                continue
            samples.stamps.append(nanoseconds(transform.header.stamp))
            samples.poses.extend(pose)


def _frame(name: str) -> str:
    return name.removeprefix('/')
