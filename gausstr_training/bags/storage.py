"""Reads spans of bags that stay open: a set costs two or three chunks and not the file.

Bags are opened where they are first needed, one pool per process and thread: nothing open crosses
a fork or is pickled.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2

from gausstr_core.bags.reading import Bag, Message, bag_files

MOST_OPEN = 16  # bags per thread; the one not used for longest is closed first
_INHERITED: list[Any] = []


class _Pool(threading.local):
    def __init__(self) -> None:
        self.process = os.getpid()
        self.bags: OrderedDict[tuple[Path, str], Bag] = OrderedDict()

    def bag(self, path: Path, file: str, version: str) -> Bag:
        if self.process != os.getpid():
            # Forked: files, and folders of unpacked bags, belong to the parent. To drop them
            # would close or delete them, so they are kept and left alone.
            _INHERITED.append(self.bags)
            _Pool.__init__(self)
            # OpenCV's threads did not come along, and a worker has one core to itself
            cv2.setNumThreads(0)
        key = (path, version)
        if key not in self.bags:
            if version_of(path) != version:
                raise ValueError(f'{path} has changed since it was indexed')
            self.bags[key] = Bag(path, file)
        self.bags.move_to_end(key)
        while len(self.bags) > MOST_OPEN:
            self.bags.popitem(last=False)[1].close()
        return self.bags[key]


_POOL = _Pool()


def version_of(bag: Path) -> str:
    """Names, sizes and times of change of the bag's files: differs when the bag was rewritten."""
    parts = []
    for file in bag_files(bag):
        about = file.stat()
        parts.append(f'{file.name} {about.st_size} {about.st_mtime_ns}')
    return '\n'.join(parts)


def read_span(
    bag: Path, file: str, version: str, topics: Collection[str], first: int, last: int
) -> list[Message]:
    """The messages of some topics recorded from `first` to `last` ns, both included.

    Args:
        bag: folder or file.
        file: `Bag.file` of it.
        version: `version_of` the bag that is meant.
        topics: their names.
        first, last: nanoseconds.

    Raises:
        ValueError: the bag is missing, unreadable or damaged; the message names it.
    """
    return list(_POOL.bag(bag, file, version).messages(topics, first, last))
