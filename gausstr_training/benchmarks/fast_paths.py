"""Time the fast path of each stage against its plain twin, side by side in one run.

The whole full-size model follows, stage by stage.

    python -m gausstr_training.benchmarks.fast_paths [--json FILE] [--gaussians 1800 7200]

Absolute times do not travel from machine to machine; the ratios do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.process.command_line import Whole
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_core.splatting import splat
from gausstr_core.transformer.deformable import DeformableAttention, grid_sample_attention
from gausstr_core.transformer.full.pyramid import Pyramid
from gausstr_core.transformer.full.transformer import TALK2DINO
from gausstr_core.transformer.reference_points import spread_points
from gausstr_core.voxels import voxelise
from gausstr_core.voxels.visibility import observed_voxels
from gausstr_training.benchmarks.forward import DEPTH_SIZE as FORWARD_SIZE
from gausstr_training.benchmarks.forward import forward_stages, stage_table
from gausstr_training.benchmarks.released import released_post_processing

YAWS = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)  # degrees, like the six of nuScenes
CLASSES, CHANNELS = 18, 32
SPLAT_SIZE = (45, 80)  # height, width of the images that training splats
DEPTH_SIZE = (180, 320)
MEMORY_SIZES = ((144, 256), (72, 128), (36, 64), (18, 32))  # of the full-size talk2dino neck


@dataclass(frozen=True)
class Timing:
    """One stage: the best time of each side, in milliseconds of wall clock."""

    stage: str
    reference_ms: float
    fast_ms: float

    @property
    def ratio(self) -> float:
        """How many times faster the fast side is."""
        return self.reference_ms / self.fast_ms


def benchmark_rig(height: int, width: int) -> CameraRig:
    """Six level cameras 1.5 m above the ground, looking all around; focal length 0.8 widths."""
    focal = 0.8 * width
    intrinsics = torch.tensor(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32
    )
    poses = []
    for yaw in map(math.radians, YAWS):
        c, s = math.cos(yaw), math.sin(yaw)
        poses.append([[s, 0, c, c], [-c, 0, s, 0.5 * s], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    names = tuple(f'camera_{index}' for index in range(len(YAWS)))
    sizes = ((height, width),) * len(YAWS)
    return CameraRig(names, intrinsics.repeat(len(YAWS), 1, 1), torch.tensor(poses), sizes)


def street_depth(rig: CameraRig) -> Tensor:
    """[N, H, W] depth of a flat ground between two walls 12 m to the left and right."""
    height, width = rig.image_sizes[0]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    pixels = torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(len(rig), -1, -1)
    origin = rig.ego_from_camera[:, None, :3, 3]
    ray = rig.unproject(pixels, torch.ones(pixels.shape[:2])) - origin
    ground = torch.where(ray[..., 2] < 0, -origin[..., 2] / ray[..., 2], torch.inf)
    wall = (torch.sign(ray[..., 1]) * 12 - origin[..., 1]) / ray[..., 1]
    depth = torch.minimum(ground, torch.where(wall > 0, wall, torch.inf)).clamp(max=60)
    return depth.reshape(len(rig), height, width)


def street_gaussians(count: int, seed: int = 0) -> Gaussians:
    """About `count` Gaussians lifted from the street, as large as their share of the image."""
    random = torch.Generator().manual_seed(seed)
    rows = max(1, round(math.sqrt(count / len(YAWS) * 9 / 16)))
    rig = benchmark_rig(rows, max(1, round(count / len(YAWS) / rows)))
    depth = street_depth(rig).flatten(1)
    height, width = rig.image_sizes[0]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    pixels = torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(len(rig), -1, -1)
    means = rig.unproject(pixels, depth).reshape(-1, 3)
    total = means.shape[0]
    footprint = (depth.reshape(-1, 1) / rig.intrinsics[0, 0, 0]).clamp(max=1.5)
    return Gaussians(
        means=means,
        scales=footprint * (0.2 + 0.6 * torch.rand(total, 3, generator=random)),
        rotations=torch.nn.functional.normalize(torch.randn(total, 4, generator=random), dim=-1),
        opacities=0.2 + 0.75 * torch.rand(total, generator=random),
        features=torch.randn(total, CHANNELS, generator=random),
    )


def best_of(call: Callable[[], object], repeats: int) -> float:
    """Milliseconds of the fastest of `repeats` calls, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def compare(stage: str, call: Callable[[str], object], fast: str, repeats: int) -> Timing:
    """Time the backend `fast` of a stage against its 'reference'."""
    slow_ms = best_of(lambda: call('reference'), max(1, repeats // 4))
    return Timing(stage, slow_ms, best_of(lambda: call(fast), repeats))


def measure(counts: list[int], repeats: int) -> list[Timing]:
    """Time every stage that has a fast path on the CPU."""
    grid = VoxelGrid()
    rig = benchmark_rig(*DEPTH_SIZE)
    depth = street_depth(rig)
    timings = [
        compare(
            f'visibility, 6 x {DEPTH_SIZE[1]}x{DEPTH_SIZE[0]}',
            lambda backend: observed_voxels(depth, rig, grid, backend=backend),
            'fast',
            repeats,
        ),
        measure_attention(repeats),
    ]
    for count in counts:
        timings += _measure_gaussians(street_gaussians(count), rig, grid, repeats)
        title, call = released_post_processing(count, grid)
        timings.append(compare(title, call, 'fast', repeats))
    return timings


@torch.no_grad()
def measure_attention(repeats: int) -> Timing:
    """The cross-attention of one full-size layer: sampled first, against `grid_sample`."""
    torch.manual_seed(0)
    config = TALK2DINO
    layer = DeformableAttention(
        config.dim, config.heads, Pyramid.LEVELS, config.points, sample_first=True
    )
    torch.nn.init.normal_(layer.offsets.weight, std=0.05)
    views = len(YAWS)
    memory = [torch.randn(views, config.dim, *size) for size in MEMORY_SIZES]
    # the neck leaves its channels last
    memory = [level.contiguous(memory_format=torch.channels_last) for level in memory]
    query = torch.randn(views, config.queries, config.dim)
    points = spread_points(config.queries).expand(views, -1, -1)

    def attend(backend: str) -> object:
        if backend == 'reference':
            return grid_sample_attention(layer, query, points, memory)
        return layer(query, points, memory)

    tokens = sum(height * width for height, width in MEMORY_SIZES)
    stage = f'cross-attention, {views} x {config.queries} queries, {views} x {tokens} tokens'
    return compare(stage, attend, 'fast', repeats)


def _measure_gaussians(
    gaussians: Gaussians, rig: CameraRig, grid: VoxelGrid, repeats: int
) -> list[Timing]:
    logits = torch.randn(len(gaussians), CLASSES, generator=torch.Generator().manual_seed(1))
    probabilities = torch.softmax(logits, dim=-1)

    def voxels(backend: str) -> object:
        return voxelise(gaussians, probabilities, grid, backend=backend)

    def forward(backend: str) -> object:
        with torch.no_grad():
            return splat(gaussians, rig, *SPLAT_SIZE, backend=backend)

    def both(backend: str) -> object:
        leaves = [t.clone().requires_grad_() for t in vars(gaussians).values()]
        images = splat(Gaussians(*leaves), rig, *SPLAT_SIZE, backend=backend)
        loss = images.features.sum() + images.depth.sum() + images.alpha.sum()
        return torch.autograd.grad(loss, leaves)

    size = f'{len(gaussians)} Gaussians'
    pixels = f'6 x {SPLAT_SIZE[1]}x{SPLAT_SIZE[0]} x {CHANNELS}'
    return [
        compare(f'voxels, {size}, {CLASSES} classes', voxels, 'fast', repeats),
        compare(f'splatting forward, {size}, {pixels}', forward, 'cpu', repeats),
        compare(f'splatting forward + backward, {size}, {pixels}', both, 'cpu', repeats),
    ]


def device_name() -> str:
    """The processor's name and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line[:10] == 'model name']
        name = models[0].split(':', 1)[1].strip() if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{name}, {cores} cores'


def table(timings: list[Timing]) -> str:
    """The timings as a markdown table."""
    rows = ['| stage | twin, ms | fast, ms | ratio |', '|---|---|---|---|']
    rows += [
        f'| {t.stage} | {t.reference_ms:.1f} | {t.fast_ms:.1f} | {t.ratio:.1f} |' for t in timings
    ]
    return '\n'.join(rows)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr_training.benchmarks.fast_paths', description=__doc__
    )
    result.add_argument(
        '--gaussians', type=Whole(len(YAWS), 10**7), nargs='+', default=[1800, 7200], metavar='G',
        help='how many (default: 1800 7200)',
    )  # fmt: skip
    result.add_argument(
        '--repeats', type=Whole(1, 10**6), default=12, metavar='N',
        help='timed calls of each fast path (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--json', type=Path, metavar='FILE', help='write the timings here (default: nowhere)'
    )
    return result


def main(arguments: list[str] | None = None) -> None:
    """Print the table; `--json FILE` writes it as well."""
    options = parser().parse_args(arguments)
    keep_freed_memory()
    device = device_name()
    timings = measure(options.gaussians, options.repeats)
    print(f'{device}, torch {torch.__version__}\n\n{table(timings)}\n')
    stages = forward_stages(
        benchmark_rig(*FORWARD_SIZE), VoxelGrid(), max(options.repeats // 4, 1)
    )
    print(stage_table(stages))
    if options.json:
        record = {
            'device': device,
            'torch': torch.__version__,
            'timings': [{**asdict(t), 'ratio': t.ratio} for t in timings],
            'talk2dino_ms': stages,
        }
        partial = options.json.with_name(options.json.name + '.part')
        try:
            partial.write_text(json.dumps(record, indent=2) + '\n')
            os.replace(partial, options.json)
        except OSError as error:
            raise SystemExit(f'gausstr_training.benchmarks.fast_paths: {told(error)}') from error


if __name__ == '__main__':
    main()
