"""From the contents of a bag to its frames: complete sets of images with poses and calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_core.stamps import SECOND
from gausstr_training.bags.discovery import bag_name
from gausstr_training.bags.grouping import group_stamps
from gausstr_training.bags.keyframes import Keyframe
from gausstr_training.bags.poses import rigid_inverse
from gausstr_training.bags.reading import undistortion_of
from gausstr_training.bags.scan import Camera, Contents
from gausstr_training.bags.sets import BagSets, BagSettings, Clouds

NO_SET = 'image in no complete set'
NO_POSE = 'set without poses around its stamps'
NO_KEYFRAME = 'set that is no keyframe'
LOST_KEYFRAME = 'keyframe without a set'
TOO_SOON = 'set before the period was over'
NO_CLOUD = 'frame without a cloud'


def bag_sets(path: Path, contents: Contents, settings: BagSettings) -> BagSets:
    """Find the frames of a bag.

    Raises:
        ValueError: a camera is missing or has no usable calibration, a transform is missing, or
            no frame is left; the message names the bag.
    """
    try:
        return _Selection(contents, settings).sets(path)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


class _Selection:
    """Narrows the images of a bag down to frames and counts what falls away."""

    def __init__(self, contents: Contents, settings: BagSettings) -> None:
        self._contents, self._settings = contents, settings
        self._skipped = Counter(
            {f'{topic}: {reason}': count for (topic, reason), count in contents.skipped.items()}
        )
        self._lost: dict[str, str] = {}
        self._cameras = _chosen(contents, settings.cameras)
        self._gap = round(settings.pose_gap * SECOND)
        self._fixed = self._fixed_frame()

    def sets(self, path: Path) -> BagSets:
        cameras = list(self._cameras.values())
        picks, stamps, tokens = self._sets(cameras)
        for camera in cameras:
            self._skip(f'{camera.images.topic}: {NO_SET}', len(camera.images.stamps) - len(picks))
        if self._settings.keyframes_only:
            keep = tokens != ''
            self._skip(NO_KEYFRAME, int((~keep).sum()))
            picks, stamps, tokens = picks[keep], stamps[keep], tokens[keep]
        odom_from_ego, ego_from_camera, known = self._poses(
            stamps, _taken(cameras, picks, 'stamps')
        )
        self._skip(NO_POSE, int((~known).sum()))
        self._lose(tokens[~known], NO_POSE)
        keep = np.flatnonzero(known)
        keep = keep[_spaced(stamps[keep], round(self._settings.period * SECOND))]
        self._lose(np.delete(tokens, keep), TOO_SOON)
        self._skip(TOO_SOON, int(known.sum()) - len(keep))
        if not len(keep):
            raise ValueError(f'holds no frame of {len(cameras)} cameras; {self._reasons()}')
        return BagSets(
            path=path,
            name=bag_name(path),
            version=self._contents.version,
            file=self._contents.file,
            cameras=tuple(self._cameras),
            topics=tuple(camera.images.topic for camera in cameras),
            calibrations=tuple(camera.calibrations for camera in cameras),
            stamps=stamps[keep],
            tokens=tuple(tokens[keep].tolist()),
            image_stamps=_taken(cameras, picks[keep], 'stamps'),
            logged=_taken(cameras, picks[keep], 'logged'),
            calibration=_calibration_of(cameras, picks[keep]),
            odom_from_ego=odom_from_ego[keep],
            ego_from_camera=ego_from_camera[keep],
            cloud=self._clouds(stamps[keep], odom_from_ego[keep]),
            skipped=+self._skipped,
            lost=self._lost,
        )

    def _sets(
        self, cameras: list[Camera]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.object_]]:
        """Images, stamp and token of every set, by stamp.

        A keyframe says which images it has; of the other sets none may share one of these.
        """
        rows, told = self._keyframes(cameras)
        free = group_stamps(
            [camera.images.stamps for camera in cameras], round(self._settings.tolerance * SECOND)
        )
        shares = [np.isin(free[:, c], rows[:, c]) for c in range(len(cameras))]
        free = free[~np.any(shares, axis=0)]
        newest = _taken(cameras, free, 'stamps').max(axis=1, initial=0)
        picks = np.concatenate([rows, free])
        stamps = np.concatenate([np.array([k.stamp for k in told], np.int64), newest])
        tokens = np.array([k.token for k in told] + [''] * len(free), dtype=object)
        order = np.argsort(stamps, kind='stable')
        return picks[order], stamps[order], tokens[order]

    def _keyframes(self, cameras: list[Camera]) -> tuple[NDArray[np.int64], list[Keyframe]]:
        """Images [K, C] and keyframes, as far as the bag holds all of their images."""
        rows: list[list[int]] = []
        told: list[Keyframe] = []
        for keyframe in self._contents.keyframes:
            row = [
                _index_of(camera.images.stamps, keyframe.images.get(name))
                for name, camera in self._cameras.items()
            ]
            if None in row:
                self._skip(LOST_KEYFRAME, 1)
                lacking = [n for n, at in zip(self._cameras, row, strict=True) if at is None]
                self._lose([keyframe.token], f'no image of {", ".join(lacking)}')
                continue
            rows.append([index for index in row if index is not None])
            told.append(keyframe)
        return np.array(rows, np.int64).reshape(-1, len(cameras)), told

    def _fixed_frame(self) -> str:
        base = self._settings.layout.base_frame
        chain = self._contents.transforms.chain(base)
        for frame in self._settings.fixed_frames:
            if frame in chain[1:]:
                return frame
        raise ValueError(
            f'no transform from {base} to {" or ".join(self._settings.fixed_frames)} in /tf: the '
            f'bag links {" -> ".join(chain)}'
        )

    def _poses(
        self, stamps: NDArray[np.int64], image_stamps: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        odom_from_ego, known = self._pose(self._settings.layout.base_frame, stamps)
        ego_from_odom = rigid_inverse(odom_from_ego)
        poses = np.empty((len(stamps), len(self._cameras), 4, 4))
        for index, (name, camera) in enumerate(self._cameras.items()):
            frame = camera.images.frame
            if not frame:
                raise ValueError(f'camera {name}: its images have an empty frame_id')
            odom_from_camera, found = self._pose(frame, image_stamps[:, index])
            poses[:, index] = ego_from_odom @ odom_from_camera
            known = known & found
        return odom_from_ego, poses, known

    def _clouds(
        self, stamps: NDArray[np.int64], odom_from_ego: NDArray[np.float64]
    ) -> Clouds | None:
        cloud = self._contents.cloud
        if not self._settings.points:
            return None
        if cloud is None or not len(cloud.stamps):
            raise ValueError(f'no point cloud on {self._settings.layout.cloud_topic}')
        at = _nearest(cloud.stamps, stamps)
        chosen = cloud.stamps[at]
        tolerance = round(self._settings.tolerance * SECOND)
        odom_from_lidar, known = self._pose(cloud.frame, chosen)
        known &= np.abs(chosen - stamps) <= tolerance
        self._skip(f'{cloud.topic}: {NO_CLOUD}', int((~known).sum()))
        return Clouds(
            cloud.topic,
            np.where(known, chosen, -1),
            cloud.logged[at],
            rigid_inverse(odom_from_ego) @ odom_from_lidar,
        )

    def _pose(
        self, frame: str, stamps: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        return self._contents.transforms.pose(self._fixed, frame, stamps, self._gap)

    def _skip(self, reason: str, count: int) -> None:
        self._skipped[reason] += count

    def _lose(self, tokens: Iterable[str], reason: str) -> None:
        """Note why keyframes have no frame; the first reason counts, other sets have no token."""
        for token in filter(None, tokens):
            self._lost.setdefault(str(token), reason)

    def _reasons(self) -> str:
        told = [f'{count} x {reason}' for reason, count in (+self._skipped).items()]
        for token, reason in list(self._lost.items())[:1]:
            told.append(f'such as keyframe {token} with {reason}')
        return 'skipped: ' + ', '.join(told) if told else 'its topics are empty'


def _chosen(contents: Contents, names: tuple[str, ...]) -> dict[str, Camera]:
    """The cameras in the order of the rig; those named like nuScenes' come first, in its order."""
    order = {name: index for index, name in enumerate(NUSCENES_CAMERAS)}
    names = names or tuple(
        sorted(contents.cameras, key=lambda name: (order.get(name, len(order)), name))
    )
    if not names:
        raise ValueError(
            'no camera: expected topics /<camera>/image_raw/compressed or /<camera>/image_raw'
        )
    for name in names:
        if name not in contents.cameras:
            known = ', '.join(sorted(contents.cameras)) or 'none'
            raise ValueError(f'no images of camera {name}; those with images: {known}')
        camera = contents.cameras[name]
        if not camera.calibrations:
            raise ValueError(
                f'camera {name} has no CameraInfo on /{name}/camera_info; where it is not to be '
                'trained with, name the cameras that are'
            )
        for calibration in camera.calibrations:
            try:
                undistortion_of(calibration.lens())
            except ValueError as error:
                raise ValueError(f'/{name}/camera_info: {error}') from error
    return {name: contents.cameras[name] for name in names}


def _taken(cameras: list[Camera], picks: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """Stamps or recording times [S, C] of the images picked."""
    columns = [getattr(camera.images, what)[picks[:, c]] for c, camera in enumerate(cameras)]
    return np.stack(columns, axis=1)


def _calibration_of(cameras: list[Camera], picks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The newest calibration at an image's stamp, the bag's first for images before it."""
    stamps = _taken(cameras, picks, 'stamps')
    columns = [
        np.searchsorted(camera.since, stamps[:, c], 'right') - 1
        for c, camera in enumerate(cameras)
    ]
    return np.stack(columns, axis=1).clip(min=0).astype(np.int64)


def _index_of(stamps: NDArray[np.int64], stamp: int | None) -> int | None:
    """Where a stamp is among ascending ones."""
    if stamp is None:
        return None
    index = int(np.searchsorted(stamps, stamp))
    return index if index < len(stamps) and stamps[index] == stamp else None


def _nearest(known: NDArray[np.int64], stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the known stamps (ascending, at least one) that are nearest to some."""
    after = np.searchsorted(known, stamps).clip(max=len(known) - 1)
    before = (after - 1).clip(min=0)
    return np.where(known[after] - stamps < stamps - known[before], after, before)


def _spaced(stamps: NDArray[np.int64], period: int) -> NDArray[np.int64]:
    """Indices of stamps, each at least a period after the one before."""
    chosen: list[int] = []
    for index, stamp in enumerate(stamps.tolist()):
        if not chosen or stamp - int(stamps[chosen[-1]]) >= period:
            chosen.append(index)
    return np.array(chosen, np.int64)
