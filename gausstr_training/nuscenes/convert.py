"""One scene of nuScenes as one bag; see docs/nuscenes.md for what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gausstr_core.bags.messages import encode
from gausstr_core.bags.writing import BagWriter
from gausstr_training.bags.messages import (
    BASE_FRAME,
    COMPRESSED,
    FIXED_FRAME,
    INFO,
    TF,
    TF_STATIC,
    TRANSFORMS,
    camera_info,
    compressed_image,
    image_topic,
    info_topic,
    transform,
    transforms,
)
from gausstr_training.nuscenes.annotations import MARKERS, MarkerMaker
from gausstr_training.nuscenes.keyframes import notes_of
from gausstr_training.nuscenes.receipt import write_receipt
from gausstr_training.nuscenes.scene import Pose, Recording, Scene, Sensor
from gausstr_training.nuscenes.sensor_files import POINTS, read_image, read_sweep

LIDAR_TOPIC, BOXES_TOPIC = '/lidar_top/points', '/annotations'


class _Entry(NamedTuple):
    stamp: int
    topic: str
    message: Callable[[], Any]  # made when it is written: a scene's files do not fit in memory


def write_bag(
    scene: Scene,
    root: Path,
    target: Path,
    source: str,
    *,
    keyframes_only: bool,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write a scene's bag aside and put it in its place, replacing what is there.

    Args:
        root: the folder that the files of sensors lie below.
        target: the bag.
        source: what the receipt says the bag was made from.
        keyframes_only: leave images and sweeps out that are not of keyframes; /tf is whole.
        check: called before every message; what it raises ends the work.

    Raises:
        ValueError: there is no camera, a file is missing or broken, or two poses contradict each
            other; named.
        OSError: the bag cannot be written.
    """
    refuse_without_camera(scene)
    entries = sorted(_entries(scene, root, keyframes_only), key=lambda entry: entry[:2])
    static = partial(_static, scene, entries[0].stamp)
    _refuse_missing(scene, root, keyframes_only)
    with BagWriter(
        target,
        _topics(scene),
        latched=[TF_STATIC],
        notes=notes_of(scene),
        compress=True,
        replace=True,
        finish=partial(write_receipt, source=source),
    ) as writer:
        for stamp, topic, message in [_Entry(entries[0].stamp, TF_STATIC, static), *entries]:
            check()
            writer.write(topic, stamp, encode(message()))


def refuse_without_camera(scene: Scene) -> None:
    """Raise ValueError where a scene has no image: nothing could be made of its bag."""
    if not any(sensor.camera for sensor in scene.sensors.values()):
        told = [*scene.sensors, *scene.left_out]
        raise ValueError(
            'expected images of a sensor that sensor.json calls a camera (modality), found '
            f'{", ".join(told) if told else "no files at all"}'
        )


def _topics(scene: Scene) -> dict[str, str]:
    topics = {TF_STATIC: TRANSFORMS, TF: TRANSFORMS}
    for channel, sensor in scene.sensors.items():
        if sensor.camera:
            topics |= {image_topic(channel): COMPRESSED, info_topic(channel): INFO}
        else:
            topics[LIDAR_TOPIC] = POINTS
    if _annotated(scene):
        topics[BOXES_TOPIC] = MARKERS
    return topics


def _annotated(scene: Scene) -> bool:
    """Whether anything is: in v1.0-test nothing is, and no boxes would mean empty streets."""
    return any(sample.boxes for sample in scene.samples)


def _entries(scene: Scene, root: Path, keyframes_only: bool) -> Iterator[_Entry]:
    for recording in _one_per_stamp(scene):
        yield _Entry(recording.stamp, TF, partial(_ego, recording))
    for recording in _wanted(scene, keyframes_only):
        yield from _data(recording, scene.sensors[recording.channel], root / recording.file)
    if _annotated(scene):
        maker = MarkerMaker(scene)
        for sample in scene.samples:
            message = partial(maker.markers, sample.stamp, sample.boxes)
            yield _Entry(sample.stamp, BOXES_TOPIC, message)


def _wanted(scene: Scene, keyframes_only: bool) -> list[Recording]:
    return [
        recording for recording in scene.recordings if recording.keyframe or not keyframes_only
    ]


def _data(recording: Recording, sensor: Sensor, path: Path) -> Iterator[_Entry]:
    stamp, channel = recording.stamp, recording.channel
    if sensor.intrinsics is None:
        yield _Entry(stamp, LIDAR_TOPIC, partial(read_sweep, path, stamp, channel))
        return
    # nuScenes' calibration counts pixels as ROS does; its images are undistorted, but those of
    # other sets in its format may not be
    matrix = np.array(sensor.intrinsics)
    info = partial(
        camera_info, stamp, channel, matrix, *recording.size, distortion=sensor.distortion
    )
    yield _Entry(stamp, info_topic(channel), info)
    yield _Entry(stamp, image_topic(channel), partial(_image, stamp, channel, path))


def _image(stamp: int, channel: str, path: Path) -> Any:
    kind, data = read_image(path)
    return compressed_image(stamp, channel, data, kind)


def _ego(recording: Recording) -> Any:
    return transforms([_posed(recording.stamp, FIXED_FRAME, BASE_FRAME, recording.ego)])


def _static(scene: Scene, stamp: int) -> Any:
    return transforms(
        [
            _posed(stamp, BASE_FRAME, channel, sensor.pose)
            for channel, sensor in scene.sensors.items()
        ]
    )


def _posed(stamp: int, parent: str, child: str, pose: Pose) -> Any:
    w, x, y, z = pose.rotation
    return transform(stamp, parent, child, pose.translation, (x, y, z, w))


def _one_per_stamp(scene: Scene) -> list[Recording]:
    """Sensors that fire together saw the same pose, and tf keeps one for an instant."""
    found: dict[int, Recording] = {}
    for recording in scene.recordings:
        first = found.setdefault(recording.stamp, recording)
        if not first.ego.agrees(recording.ego):
            raise ValueError(
                f'{scene.name}: expected one ego pose per instant, but those of {first.file} and '
                f'{recording.file}, both at {recording.stamp} ns, differ'
            )
    return list(found.values())


def _refuse_missing(scene: Scene, root: Path, keyframes_only: bool) -> None:
    """Say so before anything is written, and how many: often a whole archive is."""
    files = [root / recording.file for recording in _wanted(scene, keyframes_only)]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise ValueError(
            f'{missing[0]} is missing; sample_data.json names {len(files)} files of {scene.name}, '
            f'{len(missing)} of them are not there'
        )
