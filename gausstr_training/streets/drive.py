"""One drive from seed to folder: the bag, the truth of every frame, and street.json."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.streets.bag import DriveWriter
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.drive_settings import FORMAT, USUAL_RATE, DriveSettings
from gausstr_training.streets.grids import RESOLUTION
from gausstr_training.streets.rendering.render import Stage, View, render_view
from gausstr_training.streets.rig import StreetRig, sample_rig
from gausstr_training.streets.scene.layout import sample_world
from gausstr_training.streets.scene.styles import STYLES
from gausstr_training.streets.scene.variation import varied_rig, varied_world
from gausstr_training.streets.truth import voxel_truth

EPOCH = 1_700_000_000_000_000_000  # ns, when the first cycle of every drive starts
VARIATION = 1  # keeps the draws of the variation apart from those of the street
STYLING = 2  # and those of the style from both
DEVELOPING = 3  # of the style's images
TF_MARGIN = 100_000_000  # ns of /tf before the first and after the last image


def write_drive(
    folder: Path, settings: DriveSettings, check: Callable[[], None] = lambda: None
) -> None:
    """Synthesise a drive into a new folder, written aside and renamed when complete.

    Args:
        folder: to write.
        settings: what to draw.
        check: called after every frame; what it raises ends the work, and nothing is kept.

    Raises:
        OSError: the folder cannot be written or exists already.
    """
    if folder.exists():
        raise FileExistsError(f'{folder} exists already')
    aside = folder.with_name(f'.{folder.name}.{os.getpid()}.part')
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write(aside, settings, check)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def drawn(settings: DriveSettings) -> tuple[StreetRig, Stage]:
    """The cameras and the street of a drive, ready for rendering; the same at every call."""
    random = np.random.default_rng(settings.seed)
    rig = sample_rig(random, settings.width, settings.height)
    world = sample_world(random, settings.frames * settings.period / 1e9, hilly=settings.hilly)
    if settings.randomise:
        # its own generator: what stands where is as in the plain street of the same seed
        varied = np.random.default_rng([settings.seed, VARIATION])
        rig, world = varied_rig(varied, rig), varied_world(varied, world)
    if (style := STYLES.get(settings.style)) is not None:
        styling = np.random.default_rng([settings.seed, STYLING])
        rig, world = style.rig(styling, rig), style.world(styling, world)
    return rig, Stage(world)


def _write(folder: Path, settings: DriveSettings, check: Callable[[], None]) -> None:
    rig, stage = drawn(settings)
    style = STYLES.get(settings.style)
    developing = np.random.default_rng([settings.seed, DEVELOPING])
    truth = folder / 'truth'
    truth.mkdir(parents=True)
    bag = DriveWriter(folder / 'bag', rig)
    for frame in range(settings.frames):
        start = EPOCH + frame * settings.period
        stamps = start + rig.delays
        views = [
            render_view(stage, rig, camera, (int(stamp) - EPOCH) / 1e9)
            for camera, stamp in enumerate(stamps)
        ]
        for camera, view in enumerate(views):
            image = view.image if style is None else style.image(developing, view.image)
            bag.add_image(camera, int(stamps[camera]), image)
        stamp = int(stamps.max())
        resolutions = settings.resolutions if settings.voxels else ()
        arrays = frame_truth(stage, rig, views, stamps, stamp, resolutions, moving=settings.moving)
        np.savez_compressed(truth / f'{frame:06d}.npz', **arrays)
        for instant in sorted({*map(int, stamps), stamp}):
            bag.add_ego_pose(instant, stage.world.ego_pose((instant - EPOCH) / 1e9))
        check()
    end = EPOCH + (settings.frames - 1) * settings.period + int(rig.delays.max())
    for instant in (EPOCH - TF_MARGIN, end + TF_MARGIN):
        bag.add_ego_pose(instant, stage.world.ego_pose((instant - EPOCH) / 1e9))
    bag.write()
    text = json.dumps(_description(settings, rig), indent=1) + '\n'
    (folder / 'street.json').write_text(text, encoding='utf-8')


def frame_truth(
    stage: Stage,
    rig: StreetRig,
    views: list[View],
    stamps: np.ndarray,
    stamp: int,
    resolutions: Sequence[float],
    *,
    moving: bool = False,
) -> dict[str, np.ndarray]:
    """The arrays of one truth file; see `reader.StreetFrame` for shapes and units.

    Voxels are made at every resolution (metres), none without; with `moving` also which of them
    belong to what moves.
    """
    world = stage.world
    ego_from_world = np.linalg.inv(world.ego_pose((stamp - EPOCH) / 1e9))
    poses = [
        ego_from_world @ world.ego_pose((int(at) - EPOCH) / 1e9) @ base_from_camera
        for at, base_from_camera in zip(stamps, rig.base_from_camera, strict=True)
    ]
    arrays = {
        'stamp': np.int64(stamp),
        'image_stamps': stamps.astype(np.int64),
        'camera_names': np.array(NUSCENES_CAMERAS),
        'intrinsics': rig.intrinsics,
        'ego_from_camera': np.stack(poses),
        'depth': np.stack([view.depth for view in views]).astype(np.float16),
        'semantics': np.stack([view.semantics for view in views]),
    }
    if resolutions:
        depth = np.stack([view.depth for view in views])
        arrays |= voxel_truth(
            stage, (stamp - EPOCH) / 1e9, depth, rig.intrinsics, arrays['ego_from_camera'],
            resolutions, moving=moving,
        )  # fmt: skip
    return arrays


def _description(settings: DriveSettings, rig: StreetRig) -> dict[str, object]:
    # streets without variation, style or other grids read as they did before there were any
    more: dict[str, object] = {'randomise': True} if settings.randomise else {}
    if settings.style:
        more['style'] = settings.style
    if _has_other_grids(settings):
        more['resolutions'] = list(settings.resolutions)
    return {
        'format': FORMAT,
        'seed': settings.seed,
        'frames': settings.frames,
        'width': settings.width,
        'height': settings.height,
        'voxels': settings.voxels,
        'classes': list(CLASSES),
        'cameras': list(NUSCENES_CAMERAS),
        'intrinsics': rig.intrinsics.tolist(),
        'base_from_camera': rig.base_from_camera.tolist(),
        'delays_ns': rig.delays.tolist(),
        **({'moving': True} if settings.moving else {}),
        **({'rate': settings.rate} if settings.rate != USUAL_RATE else {}),
        **({'hilly': True} if settings.hilly else {}),
        **more,
    }


def _has_other_grids(settings: DriveSettings) -> bool:
    return settings.voxels and settings.resolutions != (RESOLUTION,)
