"""A talk2dino training that takes seconds: tiny networks in official files, two short drives."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bag_files
import foundation_files
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SMALL = {
    'base': 'talk2dino',
    'input_size': [28, 56],
    'model': {'dim': 16, 'queries': 12, 'hidden': 24, 'reduced': 5},
    'views_at_once': 6,
    'checkpoint_every': 2,
    'log_every': 1,
    'validate_every': 2,
    'picture_every': 2,
    'validation_frames': 1,
    'stage': {'epochs': 0, 'steps': 4, 'frames': 2, 'warmup': 2},
}


def write_sources(folder: Path, drives: int = 2, frames: int = 2) -> Path:
    """`weights/` and `bags/` in a folder."""
    bags_only(folder, drives, frames)
    return write_networks(folder)


def write_networks(folder: Path) -> Path:
    """`weights/` in a folder: all that `talk2dino` sees with."""
    weights = folder / 'weights'
    foundation_files.write_dinov2(weights)
    foundation_files.write_clip(weights)
    foundation_files.write_featup(weights)
    foundation_files.write_talk2dino(weights)
    foundation_files.write_metric3d(weights, (56, 112), offset=100.0)
    return folder


def bags_only(folder: Path, drives: int = 2, frames: int = 2) -> Path:
    """The drives, in a folder of bags."""
    for drive in range(drives):
        bag_files.write_bag_of_drive(folder / 'bags' / f'drive{drive}', frames, seed=drive)
    return folder / 'bags'


def write_recipe(path: Path, **changes) -> Path:
    """`SMALL`, but for some changes; those of `stage` and `model` are merged."""
    content = {**SMALL, **changes}
    for part in ('stage', 'model'):
        content[part] = {**SMALL[part], **changes.get(part, {})}
    path.write_text(yaml.safe_dump(content))
    return path


def arguments(sources: Path, recipe: Path | str, output: Path) -> list[str]:
    """Of gausstr-train; one thread, as the processes of a test share two cores."""
    return [
        *('--recipe', str(recipe), '--data', str(sources / 'bags')),
        *('--folder', str(sources / 'weights'), '--output', str(output)),
        *('--workers', '0', '--threads', '1'),
    ]


def launcher(processes: int = 1) -> list[str]:
    """What stands before the script, or -m and the module."""
    if processes == 1:
        return [sys.executable]
    torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
    return [sys.executable, *torchrun]


def environment() -> dict[str, str]:
    """Of a subprocess: it finds this checkout."""
    return {**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'}
