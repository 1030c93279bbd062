"""Frames of many bags by index, for a DataLoader."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from gausstr_training.bags.discovery import find_bags
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.index import index_bags
from gausstr_training.bags.reading import frame_key, read_frame
from gausstr_training.bags.selection import bag_sets
from gausstr_training.bags.sets import BagSets, BagSettings

log = logging.getLogger(__name__)

NAMED = 10  # broken bags that an error names


class BagDataset(Dataset[BagFrame]):
    """Complete sets of images of many bags, each with its rig; see docs/bags.md for the layout.

    Holds arrays only. Bags are opened by the process that reads a frame, so that workers may be
    forked or spawned. Give it to a DataLoader with `batch_size=None`: a frame is a batch of views.

    Args:
        places: bags, or folders of bags.
        settings: what makes a frame.
        cache: folder of the index; None: the user's cache folder.
        transform: applied to every frame where it is read, such as a resize; must be picklable
            for spawned workers.
        workers: processes that scan bags that are not in the index.

    Raises:
        ValueError: no bag is found, or bags are unreadable, are not in the layout or hold no
            frame; the message names them.
        OSError: the index cannot be written.
    """

    def __init__(
        self,
        places: Sequence[Path | str],
        settings: BagSettings | None = None,
        *,
        cache: Path | None = None,
        transform: Callable[[BagFrame], BagFrame] | None = None,
        workers: int = 1,
    ) -> None:
        self.settings = settings or BagSettings()
        self.transform = transform
        self.bags = _indexed(find_bags(places), self.settings, cache, workers)
        self._ends = np.cumsum([len(bag) for bag in self.bags])
        self.skipped: Counter[tuple[str, str]] = Counter()  # (bag, reason) -> messages or sets
        for bag in self.bags:
            self.skipped.update({(bag.name, why): count for why, count in bag.skipped.items()})

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> BagFrame:
        """Read a frame.

        Raises:
            IndexError: there is no such frame.
            ValueError: an image is damaged or of another size than its CameraInfo, or the bag has
                changed; the message names bag, topic and stamp.
        """
        bag, row = self._locate(index)
        frame = read_frame(bag, row)
        if self.settings.neighbours:
            before, after = (
                None if near is None else read_frame(bag, near) for near in self._near(bag, row)
            )
            frame = replace(frame, previous=before, following=after)
        return self.transform(frame) if self.transform else frame

    @property
    def lost(self) -> dict[tuple[str, str], str]:
        """Keyframes that have no frame: (name of the bag, token) -> reason."""
        return {(bag.name, token): why for bag in self.bags for token, why in bag.lost.items()}

    @property
    def keys(self) -> list[str]:
        """`BagFrame.key` of every frame, without reading any."""
        return [frame_key(bag, row) for bag in self.bags for row in range(len(bag))]

    @property
    def tokens(self) -> list[str]:
        """`BagFrame.token` of every frame, without reading any."""
        return [token for bag in self.bags for token in bag.tokens]

    def _locate(self, index: int) -> tuple[BagSets, int]:
        if not 0 <= index < len(self):
            raise IndexError(f'there are {len(self)} frames, got index {index}')
        place = int(np.searchsorted(self._ends, index, 'right'))
        return self.bags[place], index - int(self._ends[place]) + len(self.bags[place])

    def _near(self, bag: BagSets, row: int) -> list[int | None]:
        """The rows before and after, where they are there and not too far away."""
        most = self.settings.neighbour_gap * 1e9
        return [
            near
            if 0 <= near < len(bag) and abs(int(bag.stamps[near] - bag.stamps[row])) <= most
            else None
            for near in (row - 1, row + 1)
        ]


def open_frames(places: Sequence[Path], settings: BagSettings) -> BagDataset:
    """Of each bag that names keyframes these, of the others frames as the settings say.

    Raises:
        ValueError, OSError: as `BagDataset`.
    """
    return BagDataset(places, replace(settings, keyframes_if_any=True))


def _indexed(
    bags: list[Path], settings: BagSettings, cache: Path | None, workers: int
) -> list[BagSets]:
    found: list[BagSets] = []
    broken: list[str] = []
    for bag, contents in zip(bags, index_bags(bags, settings.layout, cache, workers), strict=True):
        try:
            if isinstance(contents, ValueError):
                raise contents
            chosen = settings
            if settings.keyframes_if_any and contents.keyframes:
                chosen = replace(settings, period=0.0, keyframes_only=True)
            found.append(bag_sets(bag, contents, chosen))
        except ValueError as error:
            broken.append(str(error))
    if broken:
        more = f'\nand {len(broken) - NAMED} more' if len(broken) > NAMED else ''
        raise ValueError('\n'.join(broken[:NAMED]) + more)
    frames, skipped = sum(map(len, found)), sum((bag.skipped for bag in found), Counter())
    log.info('%d frames in %d bags; skipped: %s', frames, len(found), dict(skipped) or 'nothing')
    return found
