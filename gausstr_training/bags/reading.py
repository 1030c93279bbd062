"""Reads one frame out of its bag: messages, pixels, rig."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.bags.messages import decode
from gausstr_core.camera.camera_info import Calibration
from gausstr_core.camera.images import rgb_image
from gausstr_core.camera.rig import CameraRig
from gausstr_core.camera.undistortion import Undistortion
from gausstr_core.stamps import nanoseconds
from gausstr_training.bags.clouds import cloud_points
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.sets import BagSets
from gausstr_training.bags.storage import read_span

# of a lens, shared within the process: maps take 6 bytes per pixel each
undistortion_of = lru_cache(24)(Undistortion)


def frame_key(bag: BagSets, row: int) -> str:
    """The name of a frame: the same wherever the data lies, and fit for a file's path."""
    return f'{bag.name}/{int(bag.stamps[row])}'


def read_frame(bag: BagSets, row: int) -> BagFrame:
    """Read one set of a bag, without neighbours.

    Raises:
        ValueError: a message is damaged or not there any more, or an image has another size than
            its CameraInfo; the message names bag, topic and stamp.
    """
    calibrations = [
        known[index] for known, index in zip(bag.calibrations, bag.calibration[row], strict=True)
    ]
    wanted = {
        (topic, int(stamp)): int(logged)
        for topic, stamp, logged in zip(
            bag.topics, bag.image_stamps[row], bag.logged[row], strict=True
        )
    }
    if bag.cloud and bag.cloud.stamps[row] >= 0:
        wanted[bag.cloud.topic, int(bag.cloud.stamps[row])] = int(bag.cloud.logged[row])
    contents = read_contents(bag.path, bag.file, bag.version, wanted)
    images = [
        _image(bag, key, content, calibration)
        for (key, content), calibration in zip(contents.items(), calibrations, strict=False)
    ]
    lenses = [calibration.lens() for calibration in calibrations]
    rig = CameraRig(
        bag.cameras,
        torch.from_numpy(np.stack([undistortion_of(lens).intrinsics for lens in lenses])).float(),
        torch.from_numpy(bag.ego_from_camera[row]).float(),
        tuple(lens.size for lens in lenses),
    )
    return BagFrame(
        key=frame_key(bag, row),
        stamp=int(bag.stamps[row]),
        token=bag.tokens[row],
        images=images,
        image_stamps=tuple(bag.image_stamps[row].tolist()),
        rig=rig,
        odom_from_ego=torch.from_numpy(bag.odom_from_ego[row].copy()),
        points=_points(bag, row, contents),
    )


def read_contents(
    bag: Path, file: str, version: str, wanted: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], Any]:
    """The content of messages that have a header, in the order of `wanted`.

    Args:
        bag, file, version: as of `read_span`.
        wanted: time of recording by topic and stamp, all in ns.

    Raises:
        ValueError: a message is damaged or not there; the error names bag, topic and time.
    """
    times = {(topic, logged) for (topic, _), logged in wanted.items()}
    topics, span = {topic for topic, _ in wanted}, wanted.values()
    found: dict[tuple[str, int], Any] = {}
    for message in read_span(bag, file, version, topics, min(span), max(span)):
        if (message.topic, message.logged) in times:
            try:
                content = decode(message)
            except ValueError as error:
                raise ValueError(
                    f'{bag}: {message.topic}, recorded at {message.logged} ns: {error}'
                ) from error
            # two messages may have been recorded at one time
            found.setdefault((message.topic, nanoseconds(content.header.stamp)), content)
    for topic, stamp in wanted:
        if (topic, stamp) not in found:
            raise ValueError(f'{bag}: no message on {topic} at stamp {stamp}')
    return {key: found[key] for key in wanted}


def _image(bag: BagSets, key: tuple[str, int], content: Any, calibration: Calibration) -> Tensor:
    try:
        pixels = rgb_image(content)
        lens = calibration.lens((pixels.shape[0], pixels.shape[1]))
        pixels = undistortion_of(lens).image(pixels)
        # plain rgb8 is a view of the message's own bytes, which nobody may write to
        return torch.from_numpy(np.require(pixels, requirements=['C', 'W']))
    except ValueError as error:
        raise ValueError(f'{bag.path}: {key[0]} at {key[1]}: {error}') from error


def _points(bag: BagSets, row: int, contents: dict[tuple[str, int], Any]) -> Tensor | None:
    """Lidar points [P, 3] in the ego frame; no rows where the frame has no cloud."""
    if bag.cloud is None:
        return None
    if bag.cloud.stamps[row] < 0:
        return torch.zeros(0, 3)
    key = (bag.cloud.topic, int(bag.cloud.stamps[row]))
    try:
        points: NDArray[np.floating[Any]] = cloud_points(contents[key])
    except ValueError as error:
        raise ValueError(f'{bag.path}: {key[0]} at {key[1]}: {error}') from error
    pose = bag.cloud.ego_from_lidar[row]
    return torch.from_numpy((points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32))
