"""Which density threshold surface Gaussians want on depth that errs, as that of networks does.

    python -m gausstr_training.benchmarks.surface_threshold data/validation --noise 0.1

True depth of synthetic streets is multiplied by smooth noise, made into Gaussians as preset
`surface` does, and voxelised; of the candidates the threshold with the largest IoU is printed. The
rule of that preset for depth networks has what came out at a noise of 0.1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from gausstr_core.contracts import FoundationMaps, VoxelGrid
from gausstr_core.measured_depth import at_known_pixels
from gausstr_core.process.command_line import Real
from gausstr_core.process.reasons import told
from gausstr_core.surface_preset import MODEL_THRESHOLD
from gausstr_core.transformer.surface_gaussians import SurfaceGaussians
from gausstr_core.voxels import voxelise
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.evaluation.tally import SCORED, Guess, Tally
from gausstr_training.streets.classes import CLASSES
from gausstr_training.streets.reader import StreetFrame, find_streets, read_street

CANDIDATES = tuple(round(0.05 * 1.12**step, 3) for step in range(41))
CELLS = (4, 7)  # of an image: how smooth the noise is
SEED = 20261130


def noisy(depth: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Depth [N, H, W] times exp(noise * n), n smooth, of mean 0 and variance 1 at its cells."""
    cells = torch.randn(len(depth), 1, *CELLS, generator=generator)
    smooth = F.interpolate(cells, depth.shape[1:], mode='bicubic', align_corners=True)[:, 0]
    return depth * (noise * smooth).exp()


@torch.inference_mode()
def guess_of(frame: StreetFrame, depth: Tensor, rule: CalibratedRule, grid: VoxelGrid) -> Guess:
    """The surfaces of a frame with the classes of its pixels, without the sky.

    Args:
        frame: of a street.
        depth: [N, H, W] metres, > 0 where the frame's is.
        rule: its blur.
        grid: where to map.
    """
    known = torch.from_numpy(frame.depth > 0)
    classes = F.one_hot(torch.from_numpy(frame.semantics).long(), len(CLASSES)).float()
    codes = F.avg_pool2d(classes.permute(0, 3, 1, 2), 4)
    maps = FoundationMaps(codes, torch.where(known, depth, 80.0))
    gaussians = SurfaceGaussians(len(CLASSES))(maps, frame.rig)
    gaussians = gaussians.select(at_known_pixels(gaussians, known, frame.rig))
    shares = gaussians.features[:, : len(SCORED)].clamp_min(1e-6)
    shares = shares / shares.sum(-1, keepdim=True)
    density, found = voxelise(gaussians, shares, grid, blur=rule.blur * grid.resolution)
    return Guess(density, found.argmax(-1))


def tally_of(folders: Sequence[Path], noise: float) -> Tally:
    """All frames of some streets, at all candidates, in the voxels that cameras see.

    Raises:
        ValueError: a street cannot be read or has no voxels.
    """
    generator = torch.Generator().manual_seed(SEED)
    tally, rule, grid = Tally(CANDIDATES), CalibratedRule(), VoxelGrid()
    for folder in tqdm(folders, desc=f'noise {noise:g}', unit='street'):
        street = read_street(folder)
        for frame in (street[index] for index in range(len(street))):
            if frame.voxels is None or frame.camera_mask is None:
                raise ValueError(f'{folder}: expected streets with voxels')
            depth = noisy(torch.from_numpy(frame.depth), noise, generator)
            guess = guess_of(frame, depth, rule, grid)
            mask = torch.from_numpy(frame.camera_mask)
            tally.add(guess, torch.from_numpy(frame.voxels), mask)
    return tally


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        description='Which density threshold surface Gaussians want on depth that errs.'
    )
    result.add_argument('streets', nargs='+', type=Path, help='streets with voxels')
    result.add_argument(
        '--noise',
        nargs='+',
        type=Real(0.0, 1.0),
        default=[0.0, 0.1, 0.2],
        metavar='SHARE',
        help='of the depth (default: %(default)s)',
    )
    return result


def main() -> None:
    """Print a row for each noise."""
    options = parser().parse_args()
    print('| noise | threshold | IoU | mIoU | at the default threshold |\n|---|---|---|---|---|')
    try:
        for noise in options.noise:
            tally = tally_of(find_streets(options.streets), noise)
            best = tally.best_threshold()
            scores = tally.scores(best)
            own = min(CANDIDATES, key=lambda value: abs(value - MODEL_THRESHOLD))
            print(
                f'| {noise:g} | {best:g} | {scores.iou:.1f} | {scores.miou:.1f} | '
                f'{tally.scores(own).iou:.1f}, {tally.scores(own).miou:.1f} |',
                flush=True,
            )
    except (OSError, ValueError) as error:
        raise SystemExit(f'surface_threshold: {told(error)}') from None


if __name__ == '__main__':
    main()
