"""Networks as ONNX files: what torch gives, and nothing else, or a word that says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import foundation_files as files
import onnx_faults
import pytest
import torch
from safetensors.torch import load_file

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation import exported, released

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

SIZES = {'maskclip': (32, 64), 'talk2dino': (28, 56), 'depth-anything': (56, 84)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small published files, each network exported beside them."""
    found = files.write_tiny_surface(tmp_path_factory.mktemp('published'))
    for name, size in SIZES.items():
        write(found, name, size)
    return found


def write(folder: Path, name: str, size: tuple[int, int]) -> tuple[Path, float]:
    module, facts = released.exportable(name, folder, size)
    return exported.write_exported(module, facts, folder)


def images(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize('name', ['maskclip', 'talk2dino'])
def test_features_are_those_of_torch(folder: Path, name: str) -> None:
    size = SIZES[name]
    plain = released.load_features(name, folder, size)
    fast = released.load_features(name, folder, size, released.ONNXRUNTIME)
    assert (fast.input_size, fast.feature_dim) == (size, plain.feature_dim)
    with torch.no_grad():
        expected = plain(images(*size), None)
    share = (fast(images(*size), None) - expected).abs().max() / expected.abs().max()
    assert share < 1e-5
    with pytest.raises(ValueError, match='was exported for images'):
        fast(images(28, 112), None)


def test_depth_is_that_of_torch(folder: Path) -> None:
    size = SIZES['depth-anything']
    k = torch.tensor([[60.0, 0, 40], [0, 60, 22.5], [0, 0, 1]])
    poses = torch.eye(4).repeat(2, 1, 1)
    camera = CameraRig(('left', 'right'), k.repeat(2, 1, 1), poses, ((45, 80),) * 2)
    depths = [
        released.load_depth('depth-anything', folder, size, engine)(images(45, 80), camera)
        for engine in released.ENGINES
    ]
    torch.testing.assert_close(depths[1], depths[0], atol=0, rtol=1e-5)


def test_another_size_is_told_how_to_export_it(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r'maskclip_48x64\.onnx.*gausstr-export maskclip --size 64x48'
    ):
        released.load_features('maskclip', folder, (48, 64), released.ONNXRUNTIME)
    with pytest.raises(ValueError, match=r'input_size must be two multiples of 16.*near it is'):
        released.load_features('maskclip', folder, (50, 64), released.ONNXRUNTIME)


@pytest.mark.parametrize('name', ['featup', 'depth-pro'])
def test_what_cannot_be_exported_is_said(folder: Path, name: str) -> None:
    load = released.load_features if name == 'featup' else released.load_depth
    with pytest.raises(ValueError, match=f'{name}.*torch'):
        load(name, folder, None, released.ONNXRUNTIME)


@pytest.fixture
def pair(folder: Path, tmp_path: Path) -> Path:
    """The path of a graph of maskclip with its check, to be damaged."""
    path = exported.exported_path('maskclip', SIZES['maskclip'], tmp_path)
    path.parent.mkdir()
    for part in exported.exported_path('maskclip', SIZES['maskclip'], folder).parent.iterdir():
        shutil.copy(part, path.parent)
    return path


@pytest.mark.parametrize('fault', onnx_faults.FAULTS)
def test_a_pair_that_is_none_is_refused(pair: Path, tmp_path: Path, fault: str) -> None:
    message = onnx_faults.FAULTS[fault](pair)
    with pytest.raises(ValueError, match=message):
        released.load_features('maskclip', tmp_path, SIZES['maskclip'], released.ONNXRUNTIME)


def test_a_file_that_differs_from_torch_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout that stays on: no two runs agree."""
    facts = exported.Facts('maskclip', 'restless', 32, 64, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(ValueError, match=r'differs from torch by'):
        exported.write_exported(Restless(), facts, tmp_path)
    assert not list(tmp_path.rglob('*.onnx')) and not list(tmp_path.rglob('*.partial'))


class Restless(torch.nn.Module):
    """Answers the second call otherwise than the first."""

    calls = 0

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return planes * self.calls


def test_exporting_leaves_the_network_as_it_was(folder: Path) -> None:
    module, _ = released.exportable('talk2dino', folder, (28, 56))
    other = torch.randn(1, 3, 56, 28)
    with torch.no_grad():
        before = module(other)
        exported.export_graph(module, exported.sample_planes((28, 56)), folder / 'again.onnx')
        assert torch.equal(module(other), before)


def test_the_command_writes_what_the_parameter_reads(folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        '-m',
        'gausstr_core.foundation.export',
        'maskclip',
        '--size',
        '64x32',
    ]
    places = ['--folder', str(folder), '--output', str(tmp_path)]
    subprocess.run([*command, *places], check=True, capture_output=True)
    path = exported.exported_path('maskclip', (32, 64), tmp_path)
    stored = load_file(exported.check_path(path))['expected']
    assert stored.shape == (1, 32, 2, 4) and sorted(path.parent.iterdir()) == sorted(
        [path, exported.check_path(path)]
    )
    wrong = subprocess.run(
        [*command[:-1], '50x32', *places], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1 and 'gausstr-export: size must be two multiples' in wrong.stderr


def test_an_engine_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ValueError, match=r"pip install 'gausstr_ros\[foundation\]'"):
        released.load_features('maskclip', folder, SIZES['maskclip'], released.ONNXRUNTIME)


def test_exporting_without_onnx(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, facts = released.exportable('maskclip', folder, (32, 64))
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ValueError, match=r"exporting needs onnx: pip install 'gausstr_ros"):
        exported.write_exported(module, facts, tmp_path)
    assert not list(tmp_path.rglob('*.*'))
