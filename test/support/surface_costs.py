#!/usr/bin/env python3
"""What preset surface costs: full-width networks with random weights, on the real keyframe.

    surface_costs.py FILES FRAME [--threads N] [--parts]

Writes random weights at full width into FILES (1.2 GB; kept for the next run), exports them, and
runs each combination of networks, sizes and engine in a process of its own, on the six images of
FRAME (../shared/data/nuscenes_frame) with the depth of its lidar or of the network. Prints a row
of Markdown for each: seconds of wall time, seconds of all cores together (which other programs
disturb less), and peak memory. With --parts it times each network by itself, on two images, for
machines with other work to do: seconds of one core for six images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import cv2
import foundation_files as files
import numpy as np
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.depth.lidar_depth import depth_from_cloud
from gausstr_core.foundation.exported import exported_path, write_exported
from gausstr_core.foundation.interface import resize_images
from gausstr_core.foundation.released import ENGINES, exportable, load_depth, load_features
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.memory import peak_memory
from gausstr_core.surface_preset import NetworkOptions
from gausstr_core.vocabulary.vocabulary import Category

# features, height and width, depth network, its height and width
COMBINATIONS = (
    ('maskclip', (224, 400), 'none', None),
    ('maskclip', (432, 768), 'none', None),
    ('talk2dino', (252, 448), 'none', None),
    ('talk2dino', (504, 896), 'none', None),
    ('maskclip', (224, 400), 'depth-anything', (252, 448)),
    ('maskclip', (224, 400), 'depth-anything', (518, 924)),
    ('maskclip', (432, 768), 'metric3d-small', None),
)
WORDS = ('road', 'sidewalk', 'building', 'vegetation', 'car', 'pedestrian', 'sky')


def read_frame(folder: Path) -> tuple[list[np.ndarray], CameraRig, torch.Tensor]:
    """The images, the rig at the lidar's time, and the cloud [P, 3] in the ego frame."""
    calib = json.loads((folder / 'calib.json').read_text())
    ego = np.linalg.inv(np.array(calib['ego2global']))
    cameras = calib['cams']
    images = [cv2.imread(str(folder / f'{name}.jpg'))[..., ::-1].copy() for name in cameras]
    poses = [
        ego @ np.array(c['ego2global_cam']) @ np.array(c['cam2ego']) for c in cameras.values()
    ]
    rig = CameraRig(
        tuple(cameras),
        torch.tensor([c['K'] for c in cameras.values()], dtype=torch.float32).reshape(-1, 3, 3),
        torch.tensor(np.array(poses), dtype=torch.float32),
        tuple(image.shape[:2] for image in images),
    )
    points = np.fromfile(folder / 'lidar.bin', np.float32).reshape(-1, 5)[:, :3]
    return images, rig, torch.tensor(points)


def measure(options: argparse.Namespace) -> None:
    """Run one combination, after one of its cameras has compiled what must be, and print a row."""
    features, size, depth, depth_size = COMBINATIONS[options.only]
    torch.set_num_threads(options.threads)
    images, rig, points = read_frame(options.frame)
    networks = NetworkOptions(features, size, depth_size, options.engine)
    pipeline = OccupancyPipeline.from_preset(
        'surface', folder=options.files, depth=depth, networks=networks
    )
    words = pipeline.build_vocabulary(list(map(Category, WORDS)))
    measured = list(depth_from_cloud(points, rig)) if depth == 'none' else None
    pipeline.run(images[:1], rig.select(rig.names[:1]), words, measured and measured[:1])
    wall, cores = time.perf_counter(), time.process_time()
    result = pipeline.run(images, rig, words, measured)
    wall, cores = time.perf_counter() - wall, time.process_time() - cores
    what = 'measured' if depth == 'none' else f'{depth} {"x".join(map(str, depth_size or ()))}'
    print(
        f'| {features} {size[0]}x{size[1]} | {what.strip()} | {options.engine} | {wall:.1f} | '
        f'{cores:.1f} | {result.seconds["foundation"]:.1f} | {peak_memory("cpu")} | '
        f'{int((result.occupancy.labels >= 0).sum())} |',
        flush=True,
    )


def measure_parts(options: argparse.Namespace) -> None:
    """Print a row for each network, size and engine."""
    torch.set_num_threads(options.threads)
    images, rig, _ = read_frame(options.frame)
    print('| network | size | engine | core seconds a set |\n|---|---|---|---|')
    parts = {(name, size) for name, size, _, _ in COMBINATIONS}
    parts |= {(name, size) for _, _, name, size in COMBINATIONS if name != 'none'}
    for name, size in sorted(parts, key=str):
        for engine in ENGINES[: 1 if name.startswith('metric3d') else 2]:
            cores = []
            load = load_features if name in ('maskclip', 'talk2dino') else load_depth
            network = load(name, options.files, size, engine)
            for image, camera in zip(images[:3], rig.names, strict=False):
                one = torch.as_tensor(image)[None]
                if load is load_features:
                    one = resize_images(list(one), *size, 'bicubic')
                started = time.process_time()
                with torch.inference_mode():
                    network(one, rig.select((camera,)))
                cores.append(time.process_time() - started)
            seconds = len(images) * sum(cores[1:]) / len(cores[1:])
            print(f'| {name} | {size} | {engine} | {seconds:.1f} |', flush=True)


def prepare(folder: Path) -> None:
    """Write and export what is not there."""
    if not (folder / 'metric3d' / 'metric3d_vit_small.onnx').is_file():
        files.write_full_size_surface(folder)
    wanted = {(f, size) for f, size, _, _ in COMBINATIONS}
    wanted |= {(d, size) for _, _, d, size in COMBINATIONS if d == 'depth-anything'}
    for name, size in sorted(wanted):
        if not exported_path(name, size, folder).is_file():
            path, share = write_exported(*exportable(name, folder, size), folder)
            print(f'{path.name}: differs from torch by {share:.1e}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', type=Path)
    parser.add_argument('frame', type=Path)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--engine', choices=ENGINES)
    parser.add_argument('--only', type=int)
    parser.add_argument('--parts', action='store_true')
    options = parser.parse_args()
    if options.engine and options.only is not None:
        return measure(options)
    prepare(options.files)
    if options.parts:
        return measure_parts(options)
    print(f'load average {os.getloadavg()[0]:.1f}, {options.threads} threads')
    for only in range(len(COMBINATIONS)) if options.only is None else [options.only]:
        for engine in [options.engine] if options.engine else ENGINES:
            arguments = ['--threads', str(options.threads), '--only', str(only)]
            subprocess.run(
                [sys.executable, __file__, options.files, options.frame, *arguments,
                 '--engine', engine],
                check=True,
            )  # fmt: skip


if __name__ == '__main__':
    main()
