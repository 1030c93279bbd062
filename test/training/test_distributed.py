"""torchrun: two processes give what one gives with the double batch, gradients and metrics."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import small_training
import torch
import yaml

from gausstr_training import synthesize

SCRIPT = small_training.REPOSITORY / 'test' / 'support' / 'step_gradient.py'


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_training.write_sources(tmp_path_factory.mktemp('sources'))


def gradients(tmp_path: Path, processes: int, recipe: Path, data: Path, weights: Path) -> dict:
    """Of the first step, with so many processes."""
    output = tmp_path / f'{processes}.pt'
    arguments = [str(SCRIPT), str(recipe), str(data), str(weights), str(output)]
    done = subprocess.run(
        [*small_training.launcher(processes), *arguments],
        env=small_training.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(output, weights_only=True)


def assert_same(one: dict, two: dict, *, by_stage: bool = False) -> None:
    """To 1e-5 of the tensor's largest number, or of the largest in all its stage."""
    assert one.keys() == two.keys() and len(one) > 20
    largest = {name: value.abs().max().item() for name, value in one.items()}
    for name, expected in one.items():
        scale = largest[name]
        if by_stage:
            stage = name.split('.')[0]
            scale = max(value for other, value in largest.items() if other.startswith(stage))
        apart = (two[name] - expected).abs().max().item()
        assert apart <= 1e-5 * scale + 1e-7, (name, apart, scale)


@pytest.mark.slow
def test_full_size_stage(sources: Path, tmp_path: Path) -> None:
    """With temporal supervision, whose counts differ from frame to frame."""
    recipe = small_training.write_recipe(tmp_path / 'small.yaml', temporal_weight=0.5)
    one, two = (
        gradients(tmp_path, n, recipe, sources / 'bags', sources / 'weights') for n in (1, 2)
    )
    assert_same(one, two)
    assert one['splatting.part.depth/near/2'] > 0


@pytest.mark.slow
def test_compact_stages(tmp_path: Path) -> None:
    """Batch norms see the images of both processes, and so do the weights of rare classes."""
    streets = tmp_path / 'streets'
    synthesize.main(
        [
            *('--seed', '10000', '--streets', '2', '--frames', '1', '--no-voxels'),
            *('--size', '112x64', '--output', str(streets)),
        ]
    )
    recipe = tmp_path / 'both.yaml'
    two = {'frames': 2, 'streets': [0, 1]}
    changes = {'base': 'tiny', 'transformer': two, 'joint': two}
    recipe.write_text(yaml.safe_dump(changes))
    one, two = (gradients(tmp_path, n, recipe, streets, tmp_path) for n in (1, 2))
    assert_same(one, two, by_stage=True)
