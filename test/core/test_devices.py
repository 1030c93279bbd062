"""Which device is waited for, and what a device that is not there is told."""

from __future__ import annotations

import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.device import present_device
from gausstr_core.process.stage_clock import StageClock


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A machine with one GPU, as torch tells it; the devices that were waited for."""
    found: list[object] = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device=None: found.append(device))
    return found


@pytest.mark.parametrize(
    ('device', 'expected'),
    [
        ('cpu', []),
        ('cpu:0', []),
        ('cuda:1', [torch.device('cuda:1')]),
        ('cuda', [torch.device('cuda')]),
        ('meta', []),
    ],
)
def test_a_lap_waits_for_its_own_device_only(
    waited: list[object], device: str, expected: list[object]
):
    """field_reports R18: every lap waited for the current CUDA device, whatever ran where."""
    clock = StageClock(device)
    clock.lap('a stage')
    assert waited == expected
    assert clock.seconds['a stage'] >= 0


def test_the_pipeline_on_the_cpu_never_waits_for_a_gpu(waited: list[object]):
    """field_reports R18, through the pipeline."""
    grid = VoxelGrid((-8, -8, -1), (8, 8, 5.4), 0.4)
    pipeline = OccupancyPipeline.from_preset('tiny', 'cpu', grid, weights='untrained')
    matrix = torch.tensor([[[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]]])
    rig = CameraRig(('front',), matrix, torch.eye(4)[None], ((48, 64),))
    image = torch.full((48, 64, 3), 128, dtype=torch.uint8)
    result = pipeline.run([image], rig, pipeline.load_vocabulary())
    assert result.seconds and waited == []


@pytest.mark.parametrize(
    ('device', 'expected'),
    [
        ('cuda:7', "device 'cuda:7' was asked for, but torch sees only cuda:0"),
        ('cuda:1', "device 'cuda:1' was asked for, but torch sees only cuda:0"),
        ('gpu', "device 'gpu' is no torch device"),
        ('7', "device '7' is no torch device"),
        ('', "device '' is no torch device"),
        ('cuda:x', "device 'cuda:x' is no torch device"),
        ('cuda:-1', "device 'cuda:-1' is no torch device"),
        ('meta', "device 'meta' was asked for, but torch cannot use it"),
    ],
)
def test_a_device_that_is_not_there_is_refused_by_name(
    waited: list[object], device: str, expected: str
):
    """field_reports R18: `cuda:7` on one GPU was a traceback."""
    with pytest.raises(ValueError) as refused:
        OccupancyPipeline.from_preset('tiny', device, weights='untrained')
    assert str(refused.value).startswith(expected) and '\n' not in str(refused.value)


def test_several_gpus_are_counted(waited: list[object], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    assert present_device('cuda:3') == torch.device('cuda:3')
    with pytest.raises(ValueError, match='sees only cuda:0 to cuda:3'):
        present_device('cuda:4')


def test_no_gpu_is_said_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for device in ('cuda', 'cuda:0'):
        with pytest.raises(ValueError, match=f"device '{device}' .* sees no CUDA device"):
            present_device(device)
    assert present_device('cpu') == torch.device('cpu')
