"""The keyframes of a bag, with their tokens: labels of nuScenes and Occ3D are found by them.

They are custom data in the bag's metadata.yaml: `scene` and `keyframes`, the latter a JSON list of
{"token", "stamp", "images": {camera: stamp}} in the order of time, stamps in nanoseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from gausstr_training.nuscenes.scene import LIDAR, Scene

SCENE, KEYFRAMES = 'scene', 'keyframes'
LABELS = 'labels.npz'


@dataclass(frozen=True)
class Keyframe:
    """A sample of nuScenes."""

    token: str
    stamp: int  # ns, of the lidar sweep: labels are in the ego frame of this instant
    images: dict[str, int]  # ns, the stamp of each camera's image


def notes_of(scene: Scene) -> dict[str, str]:
    """The custom data of a scene's bag."""
    images: dict[str, dict[str, int]] = {sample.token: {} for sample in scene.samples}
    for recording in scene.recordings:
        if recording.keyframe and recording.channel != LIDAR:
            images[recording.sample][recording.channel] = recording.stamp
    keyframes = [
        Keyframe(sample.token, sample.stamp, images[sample.token]) for sample in scene.samples
    ]
    return {
        SCENE: scene.name,
        'description': scene.description,
        'nuscenes': scene.version,
        KEYFRAMES: json.dumps([asdict(keyframe) for keyframe in keyframes]),
    }


def read_keyframes(bag: Path) -> tuple[str, list[Keyframe]]:
    """The name of the scene and its keyframes, by stamp; no message of the bag is read.

    Raises:
        ValueError: this is no bag that gausstr-nuscenes-to-rosbag wrote.
    """
    path = bag / 'metadata.yaml'
    try:
        about = yaml.safe_load(path.read_text(encoding='utf-8'))
        notes = about['rosbag2_bagfile_information']['custom_data']
        return keyframes_of(notes)
    except FileNotFoundError:
        raise ValueError(f'{path} is missing') from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f'{path} has no keyframes of nuScenes: {type(error).__name__} {error}'
        ) from None


def keyframes_of(notes: Mapping[str, str]) -> tuple[str, list[Keyframe]]:
    """The same from the custom data of a bag that is open already.

    Raises:
        KeyError, TypeError, ValueError: they are not there or of another form.
    """
    entries: list[dict[str, Any]] = json.loads(notes[KEYFRAMES])
    keyframes = [
        Keyframe(
            str(entry['token']),
            int(entry['stamp']),
            {str(camera): int(stamp) for camera, stamp in entry['images'].items()},
        )
        for entry in entries
    ]
    return notes[SCENE], keyframes


def label_file(folder: Path, scene: str, token: str) -> Path:
    """Where Occ3D-nuScenes has the labels of a keyframe; the folder is called `gts` there."""
    return folder / scene / token / LABELS
