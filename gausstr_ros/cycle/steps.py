"""The first half of a cycle: images -> what the foundation network sees, camera by camera.

Each camera is seen by itself, with how it hung over the ground at its own stamp. So an image may
be seen before it is known which set it will be in, and gives the same result bit by bit, live and
in a replay, whenever it is seen.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from gausstr_core.camera.rig import CameraRig
from gausstr_core.pipeline import OccupancyPipeline, OccupancyResult
from gausstr_core.seen import Seen
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.rules import Rule
from gausstr_ros.cycle.pinhole_views import PinholeView, pinhole_view
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.rig_source import CameraInputs, ImageInputs
from gausstr_ros.sets.image_sets import ImageSet

Watch = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class SeenImage:
    """What one image gave."""

    seen: Seen | None  # None: it cannot be used
    fault: str = ''  # why not; names the camera
    seconds: dict[str, float] = field(default_factory=dict)  # wall time per stage


@dataclass(frozen=True)
class SeenImages:
    """What the images of one set gave, each by itself."""

    stamp: int  # nanoseconds
    parts: dict[str, SeenImage]  # in the order of the rig
    poses: dict[str, NDArray[np.float64]]  # [4, 4] ego_from_camera, the ego frame at `stamp`
    faults: dict[str, str]  # cameras that cannot be used -> why; the text names the camera


@dataclass(frozen=True)
class SeenSet:
    """What the foundation network made of a set of images."""

    stamp: int  # nanoseconds
    seen: Seen
    seconds: dict[str, float]  # wall time per stage


@dataclass(frozen=True)
class MappedSet:
    """What one cycle produced, and from what."""

    stamp: int  # nanoseconds
    result: OccupancyResult
    vocabulary: Vocabulary
    seconds: dict[str, float]  # wall time per stage


def see_images(
    pipeline: OccupancyPipeline,
    images: Mapping[str, tuple[Shot, ImageInputs]],
    *,
    measured_depth: bool,
    watch: Watch = nullcontext,
) -> dict[str, SeenImage]:
    """Decode, undistort and look, so that a bad image costs no other camera.

    Args:
        pipeline: the core.
        images: per camera its image and what it takes to see it.
        measured_depth: use the depth images instead of the network's depth.
        watch: a context that each stage runs in, given its name.
    """
    views: dict[str, _View] = {}
    parts: dict[str, SeenImage] = {}
    with watch('decode'):
        for camera, (shot, needs) in images.items():
            try:
                views[camera] = _view(camera, shot, needs)
            except ValueError as error:
                parts[camera] = SeenImage(None, str(error))
    # an accelerator takes all at once, as one is too little for it
    groups = [views] if pipeline.device.type != 'cpu' else [{c: v} for c, v in views.items()]
    with watch('foundation'):
        for group in filter(None, groups):
            for camera, found in zip(group, _look(pipeline, group, measured_depth), strict=True):
                seconds = {'decode': group[camera].seconds, **found.seconds}
                parts[camera] = SeenImage(found, seconds=seconds)
    return parts


def see_set(
    pipeline: OccupancyPipeline,
    images: ImageSet[Shot],
    inputs: Mapping[str, CameraInputs],
    *,
    measured_depth: bool,
    faults: Mapping[str, str] | None = None,
    before: Mapping[str, SeenImage] | None = None,
    watch: Watch = nullcontext,
) -> SeenImages:
    """See the images of a set that were not seen before.

    Args:
        pipeline, measured_depth, watch: as `see_images`.
        images: the set.
        inputs: of its cameras that can be used.
        faults: why the others cannot.
        before: what was seen of its images already.
    """
    parts = dict(before or {})
    rest = {
        camera: (images.payloads[camera], needs.image)
        for camera, needs in inputs.items()
        if camera not in parts
    }
    parts |= see_images(pipeline, rest, measured_depth=measured_depth, watch=watch)
    ordered = {camera: parts[camera] for camera in images.payloads if camera in parts}
    wrong = {camera: part.fault for camera, part in ordered.items() if part.seen is None}
    poses = {camera: needs.pose for camera, needs in inputs.items()}
    return SeenImages(images.stamp, ordered, poses, {**(faults or {}), **wrong})


def join_set(images: SeenImages, min_cameras: int = 1) -> SeenSet:
    """Put the cameras of a set together, each where it was in the ego frame of the set.

    Args:
        images: what its images gave.
        min_cameras: fewest cameras that make a set.

    Raises:
        ValueError: fewer cameras can be used; each of the others is named with its reason.
    """
    usable = {c: part.seen for c, part in images.parts.items() if part.seen is not None}
    if len(usable) < min_cameras:
        raise ValueError(
            f'{len(usable)} cameras can be used, sync.min_cameras is {min_cameras}: '
            + '; '.join(images.faults.values())
        )
    seconds: Counter[str] = Counter()
    for part in images.parts.values():
        seconds.update(part.seconds)
    poses = np.stack([images.poses[camera] for camera in usable])
    joined = Seen.join(list(usable.values()))
    return SeenSet(images.stamp, joined.posed(torch.from_numpy(poses)), dict(seconds))


@dataclass(frozen=True)
class _View:
    pinhole: PinholeView
    rig: CameraRig  # of this camera, in the ego frame at its own stamp
    seconds: float  # that it took


def _view(camera: str, shot: Shot, needs: ImageInputs) -> _View:
    started = time.perf_counter()
    view = pinhole_view(camera, shot, needs.info, needs.undistorter, rectified=needs.rectified)
    height, width, _ = view.image.shape
    rig = CameraRig(
        (camera,),
        torch.from_numpy(view.intrinsics[None]).float(),
        torch.from_numpy(needs.mount[None]).float(),
        ((height, width),),
    )
    return _View(view, rig, time.perf_counter() - started)


def _look(
    pipeline: OccupancyPipeline, views: Mapping[str, _View], measured_depth: bool
) -> list[Seen]:
    planes = [view.pinhole.image for view in views.values()]
    depths = [view.pinhole.depth for view in views.values()] if measured_depth else None
    rig = CameraRig.join([view.rig for view in views.values()])
    return pipeline.look(planes, rig, depths).split()


def map_seen(
    pipeline: OccupancyPipeline, seen: SeenSet, vocabulary: Vocabulary, rule: Rule
) -> MappedSet:
    """The rest of the core: Gaussians, names, voxels."""
    result = pipeline.map(seen.seen, vocabulary, rule)
    return MappedSet(seen.stamp, result, vocabulary, {**seen.seconds, **result.seconds})
