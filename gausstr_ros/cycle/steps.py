"""A cycle, that is the way of one set through the core: encode its images, join them, map.

Each image is encoded by itself, with how its camera hung over the ground at its own stamp. So it
may be encoded before it is known which set it will be in, and gives the same result bit by bit,
live and in a replay, whenever that is.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.encoded_images import EncodedImages
from gausstr_core.pipeline import OccupancyPipeline, OccupancyResult
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.rules import Rule
from gausstr_ros.cycle.lidar_view import lidar_depth, wrong_scale
from gausstr_ros.cycle.pinhole_views import PinholeView, pinhole_view
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.rig_source import CameraInputs, ImageInputs
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.waiting import too_few

_LOGGER = logging.getLogger(__name__)

Watch = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class EncodedImage:
    """One image after the foundation network."""

    encoded: EncodedImages | None  # None: it cannot be used
    fault: str = ''  # why not; names the camera
    doubt: str = ''  # why its measured depth can hardly be right; names the camera
    seconds: dict[str, float] = field(default_factory=dict)  # wall time per stage


@dataclass(frozen=True)
class EncodedParts:
    """The images of one set after the foundation network, each by itself."""

    stamp: int  # nanoseconds
    parts: dict[str, EncodedImage]  # in the order of the rig
    poses: dict[str, NDArray[np.float64]]  # [4, 4] ego_from_camera, the ego frame at `stamp`
    faults: dict[str, str]  # cameras that cannot be used -> why; the text names the camera

    @property
    def doubts(self) -> dict[str, str]:
        """Per camera that can be used why its measured depth can hardly be right, else ''."""
        return {name: part.doubt for name, part in self.parts.items() if part.encoded is not None}


@dataclass(frozen=True)
class EncodedSet:
    """All cameras of a set, each where it was in the ego frame at `stamp`."""

    stamp: int  # nanoseconds
    encoded: EncodedImages
    seconds: dict[str, float]  # wall time per stage


@dataclass(frozen=True)
class MappedSet:
    """What one cycle produced, and from what."""

    stamp: int  # nanoseconds
    result: OccupancyResult
    vocabulary: Vocabulary
    seconds: dict[str, float]  # wall time per stage
    # [X, Y, Z] seconds since a voxel was seen, 0 where it is now; None: nothing is remembered
    age: Tensor | None = None


def encode_images(
    pipeline: OccupancyPipeline,
    images: Mapping[str, tuple[Shot, ImageInputs]],
    *,
    measured_depth: bool,
    watch: Watch = nullcontext,
) -> dict[str, EncodedImage]:
    """Decode, undistort and encode, so that a bad image costs no other camera.

    Whatever is raised while one image is read and undistorted is a fault of its camera, but not
    that there is no memory: then the error goes on, as the next camera would find none either.

    Args:
        pipeline: the core.
        images: per camera its image and what it takes to encode it.
        measured_depth: use the depth images or the scans instead of the network's depth.
        watch: a context that each stage runs in, given its name.
    """
    views: dict[str, _View] = {}
    parts: dict[str, EncodedImage] = {}
    with watch('decode'):
        for camera, (shot, needs) in images.items():
            try:
                views[camera] = _view(camera, shot, needs, pipeline.model.foundation.input_size)
            except ValueError as error:
                parts[camera] = EncodedImage(None, str(error))
            except (MemoryError, torch.OutOfMemoryError):
                raise  # of the machine
            except Exception as error:  # of a library, such as OpenCV
                if getattr(error, 'code', 0) == cv2.Error.StsNoMem:  # as OpenCV says it
                    raise MemoryError(f'camera {camera}: {error}') from error
                _LOGGER.debug('camera %s', camera, exc_info=True)
                reason = ' '.join(str(error).split())  # OpenCV's has several lines
                parts[camera] = EncodedImage(
                    None, f'camera {camera}: {type(error).__name__}: {reason}'
                )
    # an accelerator takes all at once, as one is too little for it
    groups = [views] if pipeline.device.type != 'cpu' else [{c: v} for c, v in views.items()]
    with watch('foundation'):
        for group in filter(None, groups):
            for camera, found in zip(group, _encode(pipeline, group, measured_depth), strict=True):
                seconds = {**group[camera].seconds, **found.seconds}
                parts[camera] = EncodedImage(found, doubt=group[camera].doubt, seconds=seconds)
    return parts


def encode_set(
    pipeline: OccupancyPipeline,
    images: ImageSet[Shot],
    inputs: Mapping[str, CameraInputs],
    *,
    measured_depth: bool,
    faults: Mapping[str, str] | None = None,
    before: Mapping[str, EncodedImage] | None = None,
    watch: Watch = nullcontext,
) -> EncodedParts:
    """Encode the images of a set that were not encoded before.

    Args:
        pipeline, measured_depth, watch: as `encode_images`.
        images: the set.
        inputs: of its cameras that can be used.
        faults: why the others cannot.
        before: those of its images that were encoded already.
    """
    parts = dict(before or {})
    rest = {
        camera: (images.payloads[camera], needs.image)
        for camera, needs in inputs.items()
        if camera not in parts
    }
    parts |= encode_images(pipeline, rest, measured_depth=measured_depth, watch=watch)
    ordered = {camera: parts[camera] for camera in images.payloads if camera in parts}
    wrong = {camera: part.fault for camera, part in ordered.items() if part.encoded is None}
    poses = {camera: needs.pose for camera, needs in inputs.items()}
    return EncodedParts(images.stamp, ordered, poses, {**(faults or {}), **wrong})


def join_set(images: EncodedParts, min_cameras: int = 1) -> EncodedSet:
    """Put the cameras of a set together, each where it was in the ego frame of the set.

    Args:
        images: its images, encoded.
        min_cameras: fewest cameras that make a set.

    Raises:
        ValueError: fewer cameras can be used; each of the others is named with its reason.
    """
    usable = {c: part.encoded for c, part in images.parts.items() if part.encoded is not None}
    if len(usable) < min_cameras:
        raise ValueError(too_few(len(usable), min_cameras, images.faults))
    seconds: Counter[str] = Counter()
    for part in images.parts.values():
        seconds.update(part.seconds)
    poses = np.stack([images.poses[camera] for camera in usable])
    joined = EncodedImages.join(list(usable.values()))
    return EncodedSet(images.stamp, joined.posed(torch.from_numpy(poses)), dict(seconds))


@dataclass(frozen=True)
class _View:
    pinhole: PinholeView
    depth: Tensor | None  # [h, w] metres, where it is measured
    rig: CameraRig  # of this camera, in the ego frame at its own stamp
    doubt: str  # why the depth can hardly be right
    seconds: dict[str, float]  # that it took, per stage


def _view(camera: str, shot: Shot, needs: ImageInputs, size: tuple[int, int]) -> _View:
    """Image and depth of one camera; depth from scans at the size of the network."""
    started = time.perf_counter()
    view = pinhole_view(camera, shot, needs.info, needs.undistorter, rectified=needs.rectified)
    height, width, _ = view.image.shape
    rig = CameraRig(
        (camera,),
        torch.from_numpy(view.intrinsics[None]).float(),
        torch.from_numpy(needs.mount[None]).float(),
        ((height, width),),
    )
    seconds = {'decode': time.perf_counter() - started}
    depth, doubt = None if view.depth is None else torch.from_numpy(view.depth), ''
    if needs.scans:
        started = time.perf_counter()
        depth, doubt = lidar_depth(needs.scans, rig.resized(*size))
        seconds['lidar'] = time.perf_counter() - started
    if depth is not None:
        doubt = doubt or wrong_scale(depth, rig)
    return _View(view, depth, rig, doubt, seconds)


def _encode(
    pipeline: OccupancyPipeline, views: Mapping[str, _View], measured_depth: bool
) -> list[EncodedImages]:
    planes = [view.pinhole.image for view in views.values()]
    depths = [view.depth for view in views.values()] if measured_depth else None
    rig = CameraRig.join([view.rig for view in views.values()])
    return pipeline.encode(planes, rig, depths).split()


def map_set(
    pipeline: OccupancyPipeline, encoded: EncodedSet, vocabulary: Vocabulary, rule: Rule
) -> MappedSet:
    """The other half of the cycle: Gaussians, labels, voxels."""
    result = pipeline.map(encoded.encoded, vocabulary, rule)
    return MappedSet(encoded.stamp, result, vocabulary, {**encoded.seconds, **result.seconds})
