"""gausstr-synthesize: procedural streets with exact truth, as rosbags."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from gausstr_core.process.command_line import (
    PROCESSES,
    SEED,
    ImageSize,
    Real,
    Whole,
    refuse_misplaced,
)
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_training.processes.workers import Check, run_jobs
from gausstr_training.streets.drive import write_drive
from gausstr_training.streets.drive_settings import USUAL_RATE, DriveSettings
from gausstr_training.streets.grids import RESOLUTION, truth_grid
from gausstr_training.streets.reader import check_street
from gausstr_training.streets.rendering.raycast import check_caster
from gausstr_training.streets.scene.styles import STYLES

FINEST, COARSEST = 0.05, 3.2  # metres of a voxel

EXAMPLE = """\
examples:
  gausstr-synthesize --seed 7 --frames 20 --output drive
  gausstr-synthesize --seed 0 --streets 700 --frames 1 --no-voxels --workers 2 --output streets
  gausstr-synthesize --seed 0 --streets 700 --no-voxels --randomise --output varied
  gausstr-synthesize --seed 40000 --streets 6 --frames 12 --moving --output drives
  gausstr-synthesize --seed 20000 --streets 8 --resolution 0.8 0.4 0.2 0.1 --output fine
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    keep_freed_memory()
    try:
        synthesize(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-synthesize: {told(error)}') from None
    except KeyboardInterrupt:
        begun = 'the streets that were not complete start' if options.streets else 'it starts'
        raise SystemExit(
            f'gausstr-synthesize: interrupted; run it again to go on: {begun} again at the first '
            'frame'
        ) from None


def synthesize(options: argparse.Namespace) -> None:
    """Write the streets that are not there yet.

    Raises:
        ValueError: an option is out of range, or a street of another kind or a broken one is in
            the way, or there is no ray caster.
        OSError: the output cannot be written.
    """
    refuse_misplaced(options, folders=['--output'])
    width, height = options.size
    check_caster()  # before --overwrite removes what could not be made again
    jobs: list[tuple[Path, DriveSettings]] = []
    for seed in range(options.seed, options.seed + (options.streets or 1)):
        many = options.streets is not None
        folder = options.output / f'street_{seed:06d}' if many else options.output
        settings = DriveSettings(
            seed, options.frames, width, height, options.voxels, options.randomise,
            tuple(dict.fromkeys(options.resolution)), options.style, options.moving,
            options.rate, options.hilly,
        )  # fmt: skip
        if _must_write(folder, settings, overwrite=options.overwrite):
            jobs.append((folder, settings))
    skipped = (options.streets or 1) - len(jobs)
    if skipped:
        print(f'{skipped} street(s) in {options.output} are complete already: skipped')
    # closed at once: an exception keeps the generator, and with it the workers, alive
    total = len(jobs) * options.frames
    with (
        tqdm(total=total, unit='frame', disable=not jobs) as bar,
        closing(run_jobs(_write, jobs, options.workers, bar.update)) as results,
    ):
        for _, result in results:
            if isinstance(result, Exception):
                raise result


def _write(job: tuple[Path, DriveSettings], check: Check) -> None:
    write_drive(*job, check)


def _must_write(folder: Path, settings: DriveSettings, *, overwrite: bool) -> bool:
    if not folder.exists():
        return True
    if overwrite:
        shutil.rmtree(folder)
        return True
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        return True
    try:
        check_street(folder, settings)
    except ValueError as error:
        raise ValueError(f'{error}; --overwrite replaces it') from None
    return False


def _resolution(text: str) -> float:
    """Metres of a voxel of which the truth's grid is a whole number."""
    value = Real(FINEST, COARSEST)(text)
    try:
        truth_grid(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-synthesize',
        description='Synthesise street drives: a rosbag with six cameras, and exact truth.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        '--seed', type=SEED, required=True, metavar='N', help='of the (first) street'
    )
    result.add_argument(
        '--frames',
        type=Whole(1, 100_000),
        default=1,
        metavar='N',
        help='six-camera cycles (default: %(default)s)',
    )
    result.add_argument(
        '--rate',
        type=Real(0.1, 20.0),
        default=USUAL_RATE,
        metavar='HZ',
        help='cycles a second (default: %(default)s)',
    )
    result.add_argument(
        '--moving',
        action='store_true',
        help='say in the truth which voxels belong to what moves: gausstr-evaluate --drives '
        'needs it',
    )
    result.add_argument(
        '--hilly', action='store_true', help='up and down slopes, and through a turn'
    )
    result.add_argument('--output', type=Path, required=True, help='folder to write')
    result.add_argument(
        '--streets',
        type=Whole(1, 10**6),
        metavar='N',
        help='write this many, seeds counting up, to OUTPUT/street_SSSSSS '
        '(default: one, to OUTPUT)',
    )
    result.add_argument(
        '--workers',
        type=PROCESSES,
        default=1,
        metavar='N',
        help='processes (default: %(default)s)',
    )
    result.add_argument(
        '--size',
        type=ImageSize(),
        default='448x252',
        metavar='WIDTHxHEIGHT',
        help='of the images in pixels (default: %(default)s)',
    )
    result.add_argument(
        '--resolution',
        type=_resolution,
        nargs='+',
        default=[RESOLUTION],
        metavar='METRES',
        help='of the voxel truth, one or several; finer than 0.2 only within 12 m of the ego '
        f'(default: {RESOLUTION})',
    )
    result.add_argument(
        '--no-voxels', dest='voxels', action='store_false', help='leave out the voxel truth'
    )
    result.add_argument(
        '--randomise',
        action='store_true',
        help='vary light, weather, exposure, cameras, materials and shapes as real streets do',
    )
    styles = '; '.join(f'{name}: {style.about}' for name, style in STYLES.items())
    result.add_argument(
        '--style',
        choices=sorted(STYLES),
        default='',
        help=f'a look that no training street has, to teach and to score ({styles}; default: '
        'none)',
    )
    result.add_argument('--overwrite', action='store_true', help='replace streets that are there')
    return result


if __name__ == '__main__':
    main()
