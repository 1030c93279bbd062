"""Changes to the tables of a small nuScenes tree, as others write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gausstr_training.nuscenes_to_rosbag import main


def edit(tree: Path, table: str, changed: Callable[[list[dict]], list[dict] | None]) -> None:
    path = tree / 'v1.0-mini' / f'{table}.json'
    rows = json.loads(path.read_text())
    found = changed(rows)
    path.write_text(json.dumps(rows if found is None else found))


def rows_of(tree: Path, table: str) -> list[dict]:
    return json.loads((tree / 'v1.0-mini' / f'{table}.json').read_text())


def files_of(tree: Path, channel: str, *, keyframe: bool = True) -> list[dict]:
    """Rows of sample_data, by stamp."""
    found = [
        row
        for row in rows_of(tree, 'sample_data')
        if f'/{channel}/' in row['filename'] and row['is_key_frame'] == keyframe
    ]
    return sorted(found, key=lambda row: row['timestamp'])


def rename(tree: Path, names: dict[str, str]) -> None:
    def changed(rows: list[dict]) -> None:
        for row in rows:
            row['channel'] = names.get(row['channel'], row['channel'])

    edit(tree, 'sensor', changed)


def convert(tree: Path, *options: str) -> Path:
    output = tree.parent / 'bags'
    main([str(tree), '--output', str(output), '--workers', '1', *options])
    return output / 'scene-0001'
