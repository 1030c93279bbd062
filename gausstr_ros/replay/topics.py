"""Which topics of a bag are replayed, and whether they are what the parameters say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gausstr_core.bags.reading import CDR, Bag, Connection, encoding_of
from gausstr_ros.listening.neighbours import CLOUD, sources
from gausstr_ros.settings.settings import Settings

TRANSFORMS = 'tf2_msgs/msg/TFMessage'


class WantedTopic(NamedTuple):
    """A topic that is replayed."""

    topic: str
    kind: str
    parameter: str  # which says so; '' where none does


def wanted_topics(settings: Settings, transforms: Sequence[str] = ()) -> Iterator[WantedTopic]:
    """What the node would listen to; `transforms` are the names that those topics have."""
    for topic in transforms:
        yield WantedTopic(topic, TRANSFORMS, '')
    for topic in settings.lidar_topics:
        yield WantedTopic(topic, CLOUD, 'lidar.topic')
    for camera in settings.cameras:
        for topic, source in sources(camera, settings).items():
            also = ' and image_transport' if topic == camera.image_topic else ''
            yield WantedTopic(topic, source.kind, source.parameter + also)


def check_types(bag: Bag, settings: Settings, transforms: Sequence[str]) -> None:
    """Refuse a bag in which a topic that is replayed has messages, but none of its type.

    Raises:
        ValueError: it has; topic, what was found, what was expected and the parameter are named.
    """
    faults = []
    for wanted in wanted_topics(settings, transforms):
        found = [c for c in bag.connections if c.topic == wanted.topic and c.msgcount]
        if found and not any(is_of(connection, wanted.kind) for connection in found):
            faults.append(
                f'{wanted.topic} is {", ".join(sorted({_described(c) for c in found}))}, expected '
                f'{wanted.kind}' + f': see {wanted.parameter}' * bool(wanted.parameter)
            )
    if faults:
        raise ValueError(f'{bag.path}: {"; ".join(faults)}')


def is_of(connection: Connection, kind: str) -> bool:
    """Whether messages of a topic can be read as a type: `sensor_msgs/Image` is an older name."""
    names = kind, kind.replace('/msg/', '/')
    return connection.msgtype in names and encoding_of(connection) == CDR


def _described(connection: Connection) -> str:
    encoding = encoding_of(connection)
    return connection.msgtype + f' in {encoding!r}' * (encoding != CDR)
