"""What a converted bag says of its scene: labels of nuScenes and Occ3D are found by tokens.

Custom data in the bag's metadata.yaml: `scene`, `description`, `nuscenes` (the version), and the
`keyframes` that `gausstr_training.bags` reads.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from gausstr_training.bags.keyframes import NOTE, Keyframe
from gausstr_training.nuscenes.scene import Scene


def notes_of(scene: Scene) -> dict[str, str]:
    """The custom data of a scene's bag."""
    images: dict[str, dict[str, int]] = {sample.token: {} for sample in scene.samples}
    for recording in scene.recordings:
        if recording.keyframe and scene.sensors[recording.channel].camera:
            images[recording.sample][recording.channel] = recording.stamp
    keyframes = [
        Keyframe(sample.token, sample.stamp, images[sample.token]) for sample in scene.samples
    ]
    return {
        'scene': scene.name,
        'description': scene.description,
        'nuscenes': scene.version,
        NOTE: json.dumps([asdict(keyframe) for keyframe in keyframes]),
    }


def incomplete_keyframes(scene: Scene) -> list[str]:
    """A line for each keyframe that some sensor of the scene has nothing of."""
    there: dict[str, set[str]] = {sample.token: set() for sample in scene.samples}
    for recording in scene.recordings:
        if recording.keyframe:
            there[recording.sample].add(recording.channel)
    found = []
    for sample in scene.samples:
        lacks = [
            f'no image of {channel}' if sensor.camera else f'no sweep of {channel}'
            for channel, sensor in scene.sensors.items()
            if channel not in there[sample.token]
        ]
        if lacks:
            found.append(
                f'{scene.name}: keyframe {sample.token} at {sample.stamp} ns has '
                f'{", ".join(lacks)}'
            )
    return found
