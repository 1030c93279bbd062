"""One cycle in two halves: a set of images and what its rig is made of -> the core's result."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from gausstr_core.pipeline import OccupancyPipeline, OccupancyResult, Seen
from gausstr_core.rig import CameraRig
from gausstr_core.rules import CalibratedRule, ReleasedRule, Rule
from gausstr_core.vocabulary import Vocabulary
from gausstr_ros.calibration import build_rig
from gausstr_ros.inputs import RigInputs, Shot
from gausstr_ros.pinhole_views import PinholeView, pinhole_view
from gausstr_ros.settings import Settings
from gausstr_ros.synchroniser import ImageSet

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadSet:
    """A set of images that are decoded and undistorted, without those that cannot be used."""

    stamp: int  # nanoseconds
    views: dict[str, PinholeView]
    poses: dict[str, NDArray[np.float64]]  # [4, 4] ego_from_camera
    faults: dict[str, str]  # cameras left out -> why; the text names the camera
    seconds: dict[str, float]  # wall time per stage


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


def build_pipeline(settings: Settings) -> OccupancyPipeline:
    """The pipeline that the parameters ask for.

    Raises:
        ValueError: the weights cannot be read or the device is absent.
    """
    _use_threads(settings.threads or torch.get_num_threads())
    try:
        torch.device(settings.device)
    except RuntimeError as error:
        raise ValueError(f'device {settings.device!r} is no torch device: {error}') from error
    pipeline = OccupancyPipeline.from_preset(
        settings.preset,
        settings.device,
        settings.grid,
        settings.weights or None,
        folder=settings.weights_folder or None,
        depth='none' if settings.measured_depth else settings.depth_network or None,
        rule=settings.rule or None,
    )
    pipeline.rule = _adjusted(pipeline.rule, settings)
    return pipeline


def _use_threads(count: int) -> None:
    """Let torch have so many threads, from the first set on.

    numba starts its own at its first kernel and sets OpenMP's number, which is torch's as well:
    the first set would be summed up in another order than the next one.
    """
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(count)


def _adjusted(rule: Rule, settings: Settings) -> Rule:
    """The rule with the thresholds that the parameters set."""
    if settings.class_temperature > 0:
        if not isinstance(rule, CalibratedRule):
            raise ValueError(
                'map.class_temperature is of the calibrated rule; '
                f'preset {settings.preset} has the released one, see map.rule'
            )
        rule = replace(rule, class_temperature=settings.class_temperature)
    if settings.occupied_threshold > 0:
        assert isinstance(rule, CalibratedRule | ReleasedRule)
        rule = replace(rule, occupied_threshold=settings.occupied_threshold)
    return rule


def warm_up(pipeline: OccupancyPipeline, settings: Settings, vocabulary: Vocabulary) -> MappedSet:
    """Map grey images, so that kernels compile before the first set; what came out of them."""
    count = len(settings.cameras)
    intrinsics = torch.tensor([[250.0, 0.0, 160.0], [0.0, 250.0, 90.0], [0.0, 0.0, 1.0]])
    ego_from_camera = torch.tensor(
        [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
    )
    rig = CameraRig(
        settings.names,
        intrinsics.repeat(count, 1, 1),
        ego_from_camera.repeat(count, 1, 1),
        ((180, 320),) * count,
    )
    grey = [np.full((180, 320, 3), 128, np.uint8)] * count
    return MappedSet(0, pipeline.run(grey, rig, vocabulary), vocabulary, {})


def read_set(images: ImageSet[Shot], inputs: RigInputs) -> ReadSet:
    """Decode and undistort each camera by itself, so that a bad one costs no other.

    Args:
        images: one set.
        inputs: calibrations and poses of its cameras.
    """
    started = time.perf_counter()
    views, faults = {}, {}
    for camera, shot in images.payloads.items():
        rectified, info = camera in inputs.rectified, inputs.infos[camera]
        try:
            views[camera] = pinhole_view(
                camera, shot, info, inputs.undistorter, rectified=rectified
            )
        except ValueError as error:
            faults[camera] = str(error)
    seconds = {'decode': time.perf_counter() - started}
    return ReadSet(images.stamp, views, inputs.poses, faults, seconds)


def see_set(
    pipeline: OccupancyPipeline, read: ReadSet, *, measured_depth: bool, min_cameras: int = 1
) -> SeenSet:
    """Build the rig of the cameras that can be used, and run the foundation network.

    Args:
        pipeline: the core.
        read: one set.
        measured_depth: use the depth images of the set instead of the network's depth.
        min_cameras: fewest cameras that make a set.

    Raises:
        ValueError: fewer cameras can be used; each of the others is named with its reason.
    """
    if len(read.views) < min_cameras:
        raise ValueError(
            f'{len(read.views)} cameras can be used, sync.min_cameras is {min_cameras}: '
            + '; '.join(read.faults.values())
        )
    intrinsics = {camera: view.intrinsics for camera, view in read.views.items()}
    sizes = {camera: view.image.shape[:2] for camera, view in read.views.items()}
    rig = build_rig(intrinsics, sizes, read.poses)
    planes = [view.image for view in read.views.values()]
    depths = [view.depth for view in read.views.values()] if measured_depth else None
    return SeenSet(read.stamp, pipeline.look(planes, rig, depths), read.seconds)


def map_seen(pipeline: OccupancyPipeline, seen: SeenSet, vocabulary: Vocabulary) -> MappedSet:
    """The rest of the core: Gaussians, names, voxels."""
    result = pipeline.map(seen.seen, vocabulary)
    return MappedSet(seen.stamp, result, vocabulary, {**seen.seconds, **result.seconds})
