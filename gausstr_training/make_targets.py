"""gausstr-make-targets: what the foundation networks see in the frames of bags, into a cache."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from gausstr_core.foundation.released import DEPTH_NETWORKS
from gausstr_core.presets import UNTRAINED
from gausstr_core.process.command_line import PROCESSES, Real, Whole, refuse_misplaced
from gausstr_core.process.device import present_device
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.sets import BagSettings
from gausstr_training.targets import cluster, processes
from gausstr_training.targets.cache import sweep
from gausstr_training.targets.codec import CodecSettings
from gausstr_training.targets.filling import FAILED, FillSpec, Outcome
from gausstr_training.targets.networks import TEACHERS, TeacherSpec
from gausstr_training.targets.online import AGAIN
from gausstr_training.targets.sights import LIDAR

EXAMPLE = """\
examples:
  gausstr-make-targets --teacher talk2dino --data data/bags --cache data/targets --device cuda:0
  gausstr-make-targets --teacher featup --folder /opt/gausstr --data data/bags \\
      --cache /shared/targets --device cuda --ray-address auto
  gausstr-make-targets --teacher compact --data data/streets --cache data/targets --workers 4
  gausstr-make-targets --teacher featup --depth lidar --data data/bags --cache data/targets
Interrupt it whenever you like: the same command goes on with the frames that are missing.
"""
LISTED = 5  # faults that are named at the end


@dataclass
class Tally:
    """What became of the frames."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    bytes: int = 0
    cosine: float = 0.0  # sum of the frames' mean losses
    worst: tuple[float, str] = (-1.0, '')  # mean loss and key
    depth_error: float = 0.0  # the largest

    def add(self, outcome: Outcome) -> None:
        """Count a frame."""
        self.counts[outcome.how] += 1
        if outcome.summary is None:
            self.faults.append(f'{outcome.key}: {outcome.note}')
            return
        loss = outcome.summary.cosine[0]
        self.bytes += outcome.summary.size
        self.cosine += loss
        self.worst = max(self.worst, (loss, outcome.key))
        self.depth_error = max(self.depth_error, outcome.summary.depth_error)

    def __str__(self) -> str:
        done = sum(self.counts.values()) - self.counts[FAILED]
        text = ', '.join(f'{count} {how}' for how, count in sorted(self.counts.items()))
        if not done:
            return text or 'no frames'
        return (
            f'{text}; {self.bytes / done / 1e6:.2f} MB to a frame, loss of cosine '
            f'{self.cosine / done:.5f} (worst frame {self.worst[0]:.5f}, {self.worst[1]}), '
            f'error of depth at most {self.depth_error:.3%}'
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    keep_freed_memory()
    try:
        tally = make_targets(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-make-targets: {told(error)}') from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-make-targets: interrupted; run it again to go on') from None
    print(tally)
    if tally.faults:
        more = len(tally.faults) - LISTED
        listed = '\n'.join(tally.faults[:LISTED]) + (f'\nand {more} more' if more > 0 else '')
        raise SystemExit(f'gausstr-make-targets: {len(tally.faults)} frames failed:\n{listed}')


def make_targets(options: argparse.Namespace) -> Tally:
    """Fill the cache.

    Raises:
        ValueError: an option is wrong, or data or weights cannot be read.
        OSError: the cache cannot be written, or no worker lives long enough to finish a frame.
    """
    refuse_misplaced(options, files=['--weights'], folders=['--cache', '--folder', '--masks'])
    spec = fill_spec(options)
    sweep(spec.root)
    tally = Tally()
    bar = tqdm(_outcomes(spec, options), total=len(spec.frames.keys), unit='frame')
    for outcome in bar:
        tally.add(outcome)
        if outcome.how in (AGAIN, FAILED):
            bar.write(f'{outcome.key}: {outcome.how}: {outcome.note}', file=sys.stderr)
        bar.set_postfix(tally.counts)
    return tally


def fill_spec(options: argparse.Namespace) -> FillSpec:
    """What the workers have to do.

    Raises:
        ValueError: an option is wrong, or the data cannot be read.
    """
    try:  # on a cluster it need not be here
        (present_device if options.ray_address is None else torch.device)(options.device)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f'--device: {error}') from None
    # all paths absolute: workers may stand elsewhere
    teacher = TeacherSpec(
        options.teacher, _absolute(options.folder), options.depth, _weights(options.weights)
    )
    settings = CodecSettings(1000 * options.kilobytes, options.depth_error)
    frames = open_frames(
        list(map(Path.absolute, options.data)),
        BagSettings(
            cameras=tuple(options.cameras), period=options.period, points=options.depth == LIDAR
        ),
    )
    return FillSpec(
        frames,
        teacher,
        options.cache.absolute(),
        settings,
        options.device,
        options.threads,
        _absolute(options.masks),
        {bag.name: bag.path for bag in frames.bags},
        options.verify,
    )


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def _weights(text: str | None) -> Path | str | None:
    return text if text in (None, UNTRAINED) else Path(text).absolute()


def _outcomes(spec: FillSpec, options: argparse.Namespace) -> Iterator[Outcome]:
    indices = range(len(spec.frames.keys))
    if options.ray_address is None:
        return processes.fill(spec, indices, options.workers or 1)
    if options.device not in ('cpu', 'cuda'):
        raise ValueError(
            f'--device must be cpu or cuda on Ray, which chooses the GPUs, got {options.device}'
        )
    gpus = 1 / options.workers_per_gpu if options.device == 'cuda' else 0.0
    return cluster.fill(spec, indices, options.workers, options.ray_address, gpus)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-make-targets',
        description='Store what the foundation networks see in the frames of bags, for training.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        '--teacher', choices=TEACHERS, required=True,
        help='whose targets; renderer: the truth beside the bags of streets, to try things out',
    )  # fmt: skip
    add('--data', type=Path, nargs='+', required=True, help='bags, or folders of bags')
    add('--cache', type=Path, required=True, help='folder; gets one folder for every teacher')
    add('--folder', type=Path, help='where published weights lie (default: fetch them)')
    add(
        '--depth', choices=sorted({*DEPTH_NETWORKS, LIDAR}), default='metric3d',
        help="depth network, or the bags' lidar (default: %(default)s; our own teachers see it "
        'themselves)',
    )  # fmt: skip
    add('--weights', help='of our own teachers: a file, or "untrained" (default: those shipped)')
    add(
        '--masks', type=Path, metavar='DIR',
        help='folder of label maps <camera>__<stamp in us>.npy (default: none)',
    )  # fmt: skip
    add('--device', default='cpu',
        help='of every worker: cpu, cuda, cuda:1 (default: %(default)s)')  # fmt: skip
    add(
        '--workers', type=PROCESSES, metavar='N',
        help='processes (default: 1; on Ray as many as there is room for)',
    )  # fmt: skip
    add(
        '--threads', type=PROCESSES, default=1, metavar='N',
        help='of every worker (default: %(default)s)',
    )  # fmt: skip
    add(
        '--ray-address', nargs='?', const=cluster.LOCAL, metavar='ADDRESS',
        help='work on the Ray cluster at auto, host:port or ray://host:port; without an address '
        'on a Ray that is started here (default: without Ray)',
    )  # fmt: skip
    add(
        '--workers-per-gpu', type=Whole(1, 64), default=1, metavar='N',
        help='on Ray (default: %(default)s)',
    )  # fmt: skip
    add(
        '--period', type=Real(0.01, 3600.0), default=0.4, metavar='S',
        help='seconds between frames of bags without keyframes (default: %(default)s)',
    )  # fmt: skip
    add('--cameras', nargs='+', default=[], metavar='NAME',
        help='only these (default: all that a bag has)')  # fmt: skip
    add(
        '--kilobytes', type=Whole(1, 10**6), default=500, metavar='N',
        help='of a file per camera, at most (default: %(default)s)',
    )  # fmt: skip
    add(
        '--depth-error', type=Real(1.3e-4, 1.0), default=1e-3, metavar='E',
        help='relative, at most (default: %(default)s)',
    )  # fmt: skip
    add('--verify', action='store_true', help='see whether images of stored frames have changed')
    return result


if __name__ == '__main__':
    main()
