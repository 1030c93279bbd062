"""Images and sets that wait for calibrations and transforms, and those that have them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gausstr_ros.sets.image_sets import ImageSet, Payload

Inputs = TypeVar('Inputs')
Needs = TypeVar('Needs')
Part = TypeVar('Part')

_LOGGER = logging.getLogger(__name__)

SUPERSEDED = 'a newer set was ready'
BAD_INPUT = 'bad input'


def too_few(usable: int, least: int, faults: Mapping[str, str]) -> str:
    """Why a set cannot be mapped; the texts of the faults name their cameras."""
    return f'{usable} cameras can be used, sync.min_cameras is {least}: ' + '; '.join(
        faults.values()
    )


class NotReady(Exception):
    """Something that an image needs is not there yet; the message names it.

    Args:
        reason: in a few words.
        message: names camera and link or topic.
        newest: stamp of the newest of the kind in nanoseconds, None where nothing has ever come;
            while that does not move on, it need not be only late.
        final: whether it cannot come any more, so that waiting is of no use.
    """

    def __init__(
        self, reason: str, message: str, *, newest: int | None = None, final: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.newest = newest
        self.final = final


class WaitingSet(Generic[Payload, Inputs]):
    """One set, and what has come so far of what its cameras need besides their images.

    Args:
        images: the set.
        since: when it went out of the synchroniser, in seconds of any clock.
    """

    def __init__(self, images: ImageSet[Payload], since: float) -> None:
        self.images = images
        self.since = since
        self.inputs: dict[str, Inputs] = {}  # of the cameras that are ready
        self.faults: dict[str, str] = {}  # cameras that are given up -> why; the text names them
        # of them, those whose inputs have not come -> `NotReady.newest`
        self.late: dict[str, int | None] = {}

    def gather(
        self,
        prepare: Callable[[str, ImageSet[Payload]], Inputs],
        waits: Callable[[str, NotReady], bool],
        min_cameras: int,
    ) -> bool:
        """Look again for what is missing; whether the set can go on.

        A camera whose inputs are wrong is given up, and one whose inputs have not come and are
        not waited for: either costs no other camera.

        Args:
            prepare: gives what a camera of the set needs, or raises NotReady (tried again) or
                ValueError; what else it raises is a fault of that camera as well.
            waits: whether to wait for what a camera lacks.
            min_cameras: fewest cameras that make a set.

        Raises:
            NotReady: nothing is waited for and fewer cameras are ready; `faults` has the others.
        """
        # not the errors themselves: their frames hold this dict, and both the images, until the
        # next full collection of garbage
        late: dict[str, tuple[str, str]] = {}
        self.late.clear()
        for camera in self.images.payloads:
            if camera in self.inputs or camera in self.faults:
                continue
            try:
                self.inputs[camera] = prepare(camera, self.images)
            except NotReady as error:
                if not error.final and waits(camera, error):
                    return False
                late[camera] = error.reason, str(error)
                self.late[camera] = error.newest
            except ValueError as error:
                self.faults[camera] = str(error)
            except Exception as error:  # of a library, such as tf2: no reason to see nothing more
                _LOGGER.debug('camera %s', camera, exc_info=True)
                self.faults[camera] = f'camera {camera}: {type(error).__name__}: {error}'
        self.faults |= {camera: text for camera, (_, text) in late.items()}
        if late and len(self.inputs) < min_cameras:
            reason, _ = next(iter(late.values()))
            raise NotReady(reason, too_few(len(self.inputs), min_cameras, self.faults))
        return True


@dataclass(frozen=True)
class Arrived(Generic[Payload, Needs]):
    """An image that can be encoded before its set is complete."""

    camera: str
    payload: Payload
    needs: Needs  # what it takes to encode it


@dataclass(frozen=True)
class TakenSet(Generic[Payload, Inputs, Part]):
    """A set that can be finished."""

    arrival: float  # when the synchroniser gave it out, on the clock
    images: ImageSet[Payload]
    inputs: dict[str, Inputs]  # of its cameras that can be used
    faults: dict[str, str]  # why the others cannot
    parts: dict[str, Part]  # of the cameras that were encoded already
    early: int  # how many of them before the set was complete
