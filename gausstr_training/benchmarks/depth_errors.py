"""How far the depth of compact weights is off on streets, several weights side by side.

gausstr-evaluate scores the map; this says what a network of one's own learned of depth alone, as
its training counts it: the mean of |log z - log z*| over the pixels whose true depth lies in the
map's reach. 0.10 is an error of ten percent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.reasons import told
from gausstr_training.streets.reader import StreetFrame, find_streets, read_street

REACH = 51.2  # metres: what lies farther away is not in the map
SHIPPED = 'shipped'


def depth_error(depth: Tensor, truth: Tensor, reach: float = REACH) -> tuple[float, int]:
    """Sum of |log z - log z*| over the pixels that count, and how many those are.

    Args:
        depth: [N, h, w] predicted, metres.
        truth: [N, H, W] metres, 0 for the sky; each predicted pixel is compared with the one at
            its centre.
        reach: metres; farther pixels do not count.
    """
    height, width = depth.shape[1:]
    rows = ((torch.arange(height) + 0.5) * truth.shape[1] / height).long()
    columns = ((torch.arange(width) + 0.5) * truth.shape[2] / width).long()
    wanted = truth[:, rows][:, :, columns]
    counts = (wanted > 0) & (wanted < reach)
    apart = (depth[counts].log() - wanted[counts].log()).abs()
    return float(apart.sum(dtype=torch.float64)), int(counts.sum())


def measure(pipeline: OccupancyPipeline, frames: Sequence[StreetFrame]) -> float:
    """The mean error of a pipeline's own depth on frames; NaN where no pixel counts."""
    total, count = 0.0, 0
    for frame in frames:
        with torch.inference_mode():
            maps, _ = pipeline.foundation_maps(list(frame.images), frame.rig)
        apart, pixels = depth_error(maps.depth.cpu(), torch.from_numpy(frame.depth))
        total, count = total + apart, count + pixels
    return total / count if count else float('nan')


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the error of each file of weights on each folder of streets."""
    options = parser().parse_args(arguments)
    try:
        refuse_misplaced(options, files=[], folders=['streets'])
        for folder in options.streets:
            frames = [
                street[index]
                for street in map(read_street, find_streets([folder]))
                for index in range(len(street))
            ]
            for name in tqdm(options.weights, desc=folder.name, leave=False):
                weights = None if name == SHIPPED else name
                pipeline = OccupancyPipeline.from_preset('compact', weights=weights)
                found = measure(pipeline, frames)
                tqdm.write(f'{folder}: {name}: |log z - log z*| {found:.4f}')
    except (ValueError, OSError) as error:
        raise SystemExit(f'depth_errors: {told(error)}') from None


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='python -m gausstr_training.benchmarks.depth_errors',
        description='Errors of the depth that compact weights see in streets.',
        epilog='example: python -m gausstr_training.benchmarks.depth_errors data/test '
        '--weights shipped runs/own/compact.safetensors',
    )
    result.add_argument('streets', type=Path, nargs='+', help='streets, or folders of streets')
    result.add_argument(
        '--weights', nargs='+', default=[SHIPPED], metavar='FILE',
        help='of gausstr-train, or the word shipped (default: %(default)s)',
    )  # fmt: skip
    return result


if __name__ == '__main__':
    main()
