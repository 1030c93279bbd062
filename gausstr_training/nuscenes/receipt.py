"""What a converted bag was made from, and the checksums of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pooch import file_hash

from gausstr_training.nuscenes.scene import Scene

RECEIPT = 'conversion.json'
FORMAT = 1  # goes up when the same tables give other bags


class DamagedBagError(ValueError):
    """A bag of ours is not as it was written: it can be made again without loss."""


def source_of(scene: Scene, *, keyframes_only: bool) -> str:
    """A digest of all that a bag depends on but the content of the sensors' files."""
    # the bags of sets without distortion, as nuScenes is, are what they were before it was read
    bent = {name: each.distortion for name, each in scene.sensors.items() if any(each.distortion)}
    parts = (FORMAT, keyframes_only, scene, *([bent] if bent else []))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def write_receipt(bag: Path, source: str) -> None:
    """Note the checksums of a bag that is complete; it lies aside still."""
    files = {path.name: file_hash(path) for path in sorted(bag.iterdir())}
    text = json.dumps({'source': source, 'sha256': files}, indent=1) + '\n'
    (bag / RECEIPT).write_text(text, encoding='utf-8')


def check_bag(bag: Path, source: str) -> None:
    """Accept a bag that is whole and was made from this source.

    Raises:
        DamagedBagError: a file of it is missing or changed.
        ValueError: it is not ours, or was made from other tables or with other options.
    """
    path = bag / RECEIPT
    if not path.exists():
        raise ValueError(
            f'{bag} is in the way: it has no {RECEIPT}, so it was not made by this command; '
            '--overwrite replaces it'
        )
    receipt = _read_receipt(path)
    if receipt['source'] != source:
        raise ValueError(
            f'{bag} was made from other tables or with other options (such as --keyframes-only); '
            '--overwrite replaces it'
        )
    for name, expected in receipt['sha256'].items():
        file = bag / name
        if not file.is_file():
            raise DamagedBagError(f'{file} is missing')
        if file_hash(file) != expected:
            raise DamagedBagError(f'{file} has changed since it was written')


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        receipt = json.loads(path.read_bytes())
        whole = isinstance(receipt['source'], str) and all(
            isinstance(text, str) and Path(name).name == name
            for name, text in receipt['sha256'].items()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise DamagedBagError(f'{path} is not readable')
    return receipt
