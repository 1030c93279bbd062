"""gausstr-nuscenes-to-rosbag: scenes of nuScenes, one bag each."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from gausstr_core.process.command_line import PROCESSES, refuse_misplaced
from gausstr_core.process.reasons import told
from gausstr_training.nuscenes.convert import refuse_without_camera, write_bag
from gausstr_training.nuscenes.keyframes import incomplete_keyframes
from gausstr_training.nuscenes.receipt import DamagedBagError, check_bag, source_of
from gausstr_training.nuscenes.scene import Scene
from gausstr_training.nuscenes.tables import find_tables, read_scenes
from gausstr_training.processes.workers import Check, run_jobs

EXAMPLE = """\
examples:
  gausstr-nuscenes-to-rosbag /data/nuscenes --version v1.0-mini --output bags/mini
  gausstr-nuscenes-to-rosbag /data/nuscenes --version v1.0-trainval --keyframes-only --output bags
  gausstr-nuscenes-to-rosbag /data/nuscenes --scenes scene-0061 scene-0103 --output bags
  gausstr-nuscenes-to-rosbag /data/t4/annotated --lidar LIDAR_CONCAT --output bags/t4
Interrupt it whenever you like: the same command checks what is there and goes on.
"""
LOCK = '.gausstr-nuscenes-to-rosbag.lock'
MOST_SHOWN = 20  # errors


@dataclass(frozen=True)
class Job:
    """A scene and where its bag goes."""

    scene: Scene
    root: Path
    target: Path
    keyframes_only: bool
    overwrite: bool


@dataclass(frozen=True)
class Done:
    """What became of a job."""

    written: bool
    repaired: str = ''  # what was wrong with the bag that was there


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    try:
        convert(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-nuscenes-to-rosbag: {told(error)}') from None
    except KeyboardInterrupt:
        raise SystemExit(
            'gausstr-nuscenes-to-rosbag: interrupted; run it again to go on'
        ) from None


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-nuscenes-to-rosbag',
        description='Convert nuScenes to rosbags (MCAP, ROS 2 Jazzy), one per scene.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars='@',
    )
    result.add_argument(
        'root', type=Path, help='folder with samples/, sweeps/ and the tables (v1.0-.../) in it'
    )
    result.add_argument('--output', type=Path, required=True, help='folder for the bags')
    result.add_argument('--version', help='folder of the tables (default: the only one there)')
    result.add_argument(
        '--scenes',
        nargs='+',
        metavar='NAME',
        help='only these; @FILE reads one per line (default: all)',
    )
    result.add_argument(
        '--lidar',
        metavar='CHANNEL',
        help='whose sweeps to convert (default: LIDAR_TOP, else LIDAR_CONCAT, else the only one)',
    )
    result.add_argument(
        '--keyframes-only', action='store_true', help='2 images a second and camera, not 12'
    )
    result.add_argument(
        '--workers',
        type=PROCESSES,
        default=os.cpu_count(),
        metavar='N',
        help='processes (default: one per core, here %(default)s)',
    )
    result.add_argument(
        '--overwrite', action='store_true', help='replace bags, whatever they were made from'
    )
    return result


def convert(options: argparse.Namespace) -> None:
    """Write the bags that are not there or damaged, and say what was done.

    Raises:
        ValueError: an option, a table or files of scenes are wrong; the other scenes are written.
        OSError: the output cannot be written.
    """
    refuse_misplaced(options, folders=['root', '--output'])
    tables = find_tables(options.root, options.version)
    scenes = read_scenes(tables, options.scenes, options.lidar)
    _tell_what_lacks(scenes)
    options.output.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(
            scene, options.root, options.output / scene.name, options.keyframes_only,
            options.overwrite,
        )
        for scene in scenes
    ]  # fmt: skip
    try:
        with FileLock(options.output / LOCK, timeout=0):
            _run(jobs, options.workers, options.output)
    except Timeout:
        raise ValueError(f'another process is writing bags to {options.output}') from None


def _tell_what_lacks(scenes: Sequence[Scene]) -> None:
    """Name what no bag will have, and the keyframes that evaluation will find no frame of."""
    left_out = sum((scene.left_out for scene in scenes), Counter())
    if left_out:
        told = ', '.join(f'{count} of {what}' for what, count in sorted(left_out.items()))
        print(f'files left out: {told}', file=sys.stderr)
    lines = [line for scene in scenes for line in incomplete_keyframes(scene)]
    if lines:
        more = [f'... and {len(lines) - MOST_SHOWN} more'] * (len(lines) > MOST_SHOWN)
        print(f'{len(lines)} keyframe(s) are incomplete:', file=sys.stderr)
        print('  ' + '\n  '.join([*lines[:MOST_SHOWN], *more]), file=sys.stderr)


def _run(jobs: list[Job], workers: int, output: Path) -> None:
    written, failures = 0, []
    with closing(run_jobs(do, jobs, workers)) as results:
        for job, result in tqdm(results, total=len(jobs), unit='scene'):
            if isinstance(result, Exception):
                failures.append(f'{job.scene.name}: {told(result)}')
                continue
            written += result.written
            if result.repaired:
                tqdm.write(f'{job.scene.name}: {result.repaired}: converted again')
    complete = len(jobs) - written - len(failures)
    print(f'{output}: {written} scene(s) converted, {complete} complete already')
    if failures:
        more = [f'... and {len(failures) - MOST_SHOWN} more'] * (len(failures) > MOST_SHOWN)
        shown = '\n  '.join([*sorted(failures)[:MOST_SHOWN], *more])
        raise ValueError(f'{len(failures)} of {len(jobs)} scene(s) were not converted:\n  {shown}')


def do(job: Job, check: Check) -> Done:
    """Convert a scene, unless its bag is there and whole.

    Raises:
        ValueError: as in `write_bag` and `check_bag`.
        OSError: the bag cannot be read or written.
    """
    refuse_without_camera(job.scene)
    source = source_of(job.scene, keyframes_only=job.keyframes_only)
    damage = ''
    if job.target.exists() and not job.overwrite:
        try:
            check_bag(job.target, source)
            return Done(written=False)
        except DamagedBagError as error:
            damage = str(error)
    write_bag(
        job.scene, job.root, job.target, source, keyframes_only=job.keyframes_only, check=check
    )
    return Done(written=True, repaired=damage)


if __name__ == '__main__':
    main()
