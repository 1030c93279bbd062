"""Compile the kernels now, for the node's first start: part of `make setup`, and of images.

numba keeps what it compiled beside the installed sources, else in NUMBA_CACHE_DIR or in the
user's cache, for this processor and these sources. A kernel is compiled for types, not for sizes,
so one run of each rule is enough for every grid, rig and preset.
"""

from __future__ import annotations

import logging
import sys

from gausstr_ros.node.configured import load
from gausstr_ros.settings.settings import read_settings


def main() -> None:
    """Run everything once; what is compiled already costs a few seconds."""
    logging.basicConfig(level=logging.INFO, format='first run: %(message)s', stream=sys.stdout)
    for rule in ('calibrated', 'released'):
        load(read_settings({'map.rule': rule}))


if __name__ == '__main__':
    main()
