"""The keyframes that a bag names: which images belong to a labelled instant, and its token.

They are custom data in the bag's metadata.yaml: under `keyframes` a JSON list of {"token",
"stamp", "images": {camera: stamp}}, stamps in nanoseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

NOTE = 'keyframes'


@dataclass(frozen=True)
class Keyframe:
    """A labelled instant."""

    token: str
    stamp: int  # ns: the instant of the ego frame that labels are in
    images: dict[str, int]  # stamp in ns of each camera's image


def keyframes_of(notes: Mapping[str, str]) -> tuple[Keyframe, ...]:
    """The keyframes in the custom data of a bag, none where it names none.

    Raises:
        ValueError: they are not of this form.
    """
    try:
        return tuple(
            Keyframe(
                str(entry['token']),
                int(entry['stamp']),
                {str(camera): int(stamp) for camera, stamp in entry['images'].items()},
            )
            for entry in json.loads(notes.get(NOTE, '[]'))
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f'custom data {NOTE!r} of metadata.yaml must be a JSON list of token, stamp and '
            f'images: {type(error).__name__} {error}'
        ) from error
