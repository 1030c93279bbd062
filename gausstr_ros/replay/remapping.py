"""Inputs of a replay under other names: of a robot in a namespace, of a driver's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_topic_name import validate_topic_name

from gausstr_core.bags.reading import Bag
from gausstr_ros.listening.neighbours import COMPRESSED
from gausstr_ros.replay.topics import TRANSFORMS
from gausstr_ros.settings.settings import CameraSettings, Settings

_LOGGER = logging.getLogger(__name__)

TRANSFORM_TOPICS = ('/tf', '/tf_static')


def read_rules(texts: Sequence[str], settings: Settings) -> dict[str, str]:
    """Name of an input -> name of it in the bag, of texts FROM:=TO as ROS takes them.

    Raises:
        ValueError: a text is not of that form, or FROM is no input.
    """
    inputs = [
        *TRANSFORM_TOPICS,
        *(topic for camera in settings.cameras for topic in _topics(camera)),
        *settings.lidar_topics,
    ]
    rules: dict[str, str] = {}
    for text in texts:
        name, sign, other = text.partition(':=')
        if not sign or not other:
            raise ValueError(f'--remap {text!r}: expected FROM:=TO, such as /tf:=/robot/tf')
        for topic in (name, other):
            _check_topic(text, topic)
        if name not in inputs:
            raise ValueError(f'--remap {text!r}: {name} is no input; they are {", ".join(inputs)}')
        rules[name] = other
    return rules


def remapped(settings: Settings, rules: Mapping[str, str]) -> Settings:
    """Settings whose cameras and lidars are heard under the other names."""
    cameras = (
        replace(
            camera,
            image_topic=rules.get(camera.image_topic, camera.image_topic),
            camera_info_topic=rules.get(camera.camera_info_topic, camera.camera_info_topic),
            depth_topic=rules.get(camera.depth_topic, camera.depth_topic),
        )
        for camera in settings.cameras
    )
    lidars = tuple(rules.get(topic, topic) for topic in settings.lidar_topics)
    return replace(settings, cameras=tuple(cameras), lidar_topics=lidars)


def as_recorded(settings: Settings, bag: Bag) -> Settings:
    """Settings whose compressed images come without /compressed where the bag has them so."""
    kinds = {connection.topic: connection.msgtype for connection in bag.connections}

    def recorded(camera: CameraSettings) -> CameraSettings:
        base = camera.image_topic.removesuffix('/compressed')
        if camera.image_topic in kinds or kinds.get(base) != COMPRESSED:
            return camera
        return replace(camera, image_topic=base)

    if not settings.compressed:
        return settings
    return replace(settings, cameras=tuple(map(recorded, settings.cameras)))


def transform_topics(rules: Mapping[str, str]) -> list[str]:
    """The topics of moving and of static transforms in the bag."""
    return [rules.get(name, name) for name in TRANSFORM_TOPICS]


def check_transforms(topics: Sequence[str], bag: Bag) -> None:
    """Tell where transforms of the bag have other names.

    Raises:
        ValueError: neither is there, but others of the kind are, as of a robot in a namespace.
    """
    kinds = {connection.topic: connection.msgtype for connection in bag.connections}
    near = {
        name: other
        for name, topic in zip(TRANSFORM_TOPICS, topics, strict=True)
        for other, kind in kinds.items()
        if topic not in kinds and kind == TRANSFORMS and other.endswith(name)
    }
    if near:
        advice = ' '.join(f'{name}:={other}' for name, other in near.items())
        text = (
            f'{bag.path}: no transforms on {" or ".join(t for t in topics if t not in kinds)}, '
            f'but on {", ".join(near.values())}; add --remap {advice}'
        )
        if not set(topics) & set(kinds):
            raise ValueError(text)
        _LOGGER.warning(text)


def _topics(camera: CameraSettings) -> tuple[str, str, str]:
    return camera.image_topic, camera.camera_info_topic, camera.depth_topic


def _check_topic(text: str, topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'--remap {text!r}: {topic!r} is no topic, {reason}') from error
