"""What came out of the drive, frame by frame, as arrays; and how well it fits the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs_py.point_cloud2 import read_points

from gausstr_core.camera.images import depth_image
from gausstr_msgs.msg import Categories
from gausstr_ros.demo.drive import Drive, TrueFrame
from gausstr_ros.demo.processes import DemoError
from gausstr_ros.demo.recorder import NODE, Recorder
from gausstr_ros.messages.grids_and_clouds import packed_rgb
from gausstr_ros.messages.images import rgb_image

# The Occ3D grid, which both the node's defaults and the truth use.
LOWER = (-40.0, -40.0, -1.0)
RESOLUTION = 0.4
SHAPE = (200, 200, 16)


@dataclass(frozen=True)
class Words:
    """A vocabulary in force, as the node announced it."""

    id: str
    names: tuple[str, ...]
    colors: NDArray[np.uint8]  # [K, 3] RGB


@dataclass(frozen=True)
class Frame:
    """All outputs of one cycle."""

    truth: TrueFrame
    words: Words
    labels: NDArray[np.int16]  # [X, Y, Z] index into `words`, -1 where not occupied
    cells: NDArray[np.int8]  # [Y, X] of the 2D grid: -1 unknown, 0 free, 100 occupied
    depth: dict[str, NDArray[np.float32]]  # per camera, metres, 0 unknown
    semantics: dict[str, NDArray[np.uint8]]  # per camera, RGB
    ellipsoids: int  # Gaussians in the markers
    seconds: float  # from sending the last image to receiving the voxels
    # [X, Y, Z] seconds since a voxel was seen; None: the cloud does not say
    ages: NDArray[np.float32] | None = None


def words_of(message: Categories) -> Words:
    """Names and colours of a Categories message."""
    colors = [(c.color.r, c.color.g, c.color.b) for c in message.categories]
    names = tuple(c.name for c in message.categories)
    return Words(
        message.vocabulary_id,
        names,
        np.round(np.array(colors).reshape(-1, 3) * 255).astype(np.uint8),
    )


def collect(recorder: Recorder, drive: Drive, sent: dict[int, float], changed: int) -> list[Frame]:
    """Put the recorded outputs together, one `Frame` per cycle of which every output came.

    Args:
        recorder: what was heard.
        drive: what was played.
        sent: by stamp of the set, when its last image was sent (`time.monotonic`).
        changed: the stamp from which the reply of set_categories says the new words apply.

    Raises:
        DemoError: a cloud's colours are not those of the words that should be in force.
    """
    messages = {topic: recorder.decode(topic) for topic in recorder.outputs}
    announced = [words_of(m) for m in recorder.decode_all(f'{NODE}/categories')]
    before, after = announced[0], announced[-1]
    arrival = {entry.stamp: entry.time for entry in recorder.heard[f'{NODE}/voxels']}
    truths = {frame.stamp: frame for frame in drive.frames}
    frames = []
    for stamp in recorder.complete_stamps():
        if stamp not in truths:
            raise DemoError(
                f'{NODE}/voxels: expected stamps of the drive, got {stamp}; its sets have '
                f'{min(truths)} to {max(truths)}'
            )
        outputs = {topic: by_stamp[stamp] for topic, by_stamp in messages.items()}
        words = after if stamp >= changed else before
        seconds = arrival[stamp] - sent[stamp]
        frames.append(_frame(outputs, truths[stamp], words, drive.cameras, seconds))
    return frames


def _frame(
    outputs: dict[str, Any],
    truth: TrueFrame,
    words: Words,
    cameras: tuple[str, ...],
    seconds: float,
) -> Frame:
    grid = outputs[f'{NODE}/occupancy_grid']
    return Frame(
        truth,
        words,
        voxel_labels(outputs[f'{NODE}/voxels'], words),
        np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width),
        {c: depth_image(outputs[f'{NODE}/{c}/depth']) for c in cameras},
        {c: rgb_image(outputs[f'{NODE}/{c}/semantics']) for c in cameras},
        len(outputs[f'{NODE}/gaussians'].markers) - 1,  # the first one clears the old
        seconds,
        voxel_ages(outputs[f'{NODE}/voxels']),
    )


def voxel_labels(cloud: Any, words: Words) -> NDArray[np.int16]:
    """[X, Y, Z] labels of a cloud of voxels, -1 where there is none.

    Raises:
        DemoError: a label is not in the words, or its colour is not theirs.
    """
    points = read_points(cloud)
    labels = np.full(SHAPE, -1, np.int16)
    stamp = f'{cloud.header.stamp.sec}.{cloud.header.stamp.nanosec:09d}'
    if not len(points):
        return labels
    if int(points['label'].max()) >= len(words.names):
        raise DemoError(
            f'{NODE}/voxels at {stamp}: expected labels below {len(words.names)} '
            f'({", ".join(words.names)}), got {int(points["label"].max())}'
        )
    if not (packed_rgb(words.colors)[points['label']] == points['rgb'].view(np.uint32)).all():
        raise DemoError(
            f'{NODE}/voxels at {stamp}: expected the colours of vocabulary {words.id}, got others'
        )
    labels[_cells(points)] = points['label']
    return labels


def voxel_ages(cloud: Any) -> NDArray[np.float32] | None:
    """[X, Y, Z] seconds since the voxels of a cloud were seen; None where it does not say."""
    if all(field.name != 'age' for field in cloud.fields):
        return None
    points = read_points(cloud)
    ages = np.zeros(SHAPE, np.float32)
    ages[_cells(points)] = points['age']
    return ages


def _cells(points: NDArray[Any]) -> tuple[NDArray[np.int64], ...]:
    """Indices along x, y and z of the voxels of points."""
    places = np.stack([points[axis] for axis in 'xyz'], -1)
    return tuple(np.floor((places - LOWER) / RESOLUTION).astype(np.int64).T)


def score(frames: list[Frame], classes: tuple[str, ...]) -> tuple[float, float]:
    """IoU and mIoU in percent, with the camera mask, of the frames labelled with `classes`.

    The mean is over the classes that are in the truth or in the map.
    """
    both = either = 0
    hits, union = np.zeros(len(classes)), np.zeros(len(classes))
    for frame in frames:
        seen = frame.truth.camera_mask
        renamed = np.array([*(classes.index(name) for name in frame.words.names), -1])
        ours, true = renamed[frame.labels[seen]], frame.truth.labels[seen]
        both += int(((ours >= 0) & (true >= 0)).sum())
        either += int(((ours >= 0) | (true >= 0)).sum())
        for index in range(len(classes)):
            hits[index] += ((ours == index) & (true == index)).sum()
            union[index] += ((ours == index) | (true == index)).sum()
    present = union > 0
    return 100 * both / max(either, 1), 100 * float((hits[present] / union[present]).mean())
