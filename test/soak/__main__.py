"""Run the soak: python test/soak --minutes 10."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import rclpy
from cameras import Cameras
from domain_coordinator import domain_id
from node_process import NodeProcess
from report import judge, table
from soak import Soak
from tqdm import tqdm
from watcher import Watcher

from gausstr_core.process.command_line import SEED, Real, Whole
from gausstr_ros.demo.spinning import SpinningThread
from gausstr_ros.transport import use_shared_memory_profile


def main() -> int:
    """Run it; 0 where every check passed."""
    options = _parser().parse_args()
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    use_shared_memory_profile(os.environ)
    with domain_id() as domain, tempfile.TemporaryDirectory() as folder:
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        os.environ['ROS_LOG_DIR'] = folder
        log = options.log or Path(folder) / 'node.log'
        return _run(options, log)


def _run(options: argparse.Namespace, log: Path) -> int:
    seed = options.seed
    rclpy.init()
    helper = rclpy.create_node('soak')
    cameras = Cameras(helper, seed, lidar=options.lidar)
    watcher = Watcher(helper, cameras)
    spinning = SpinningThread(helper)
    node = NodeProcess(log, lidar=options.lidar)
    soak = Soak(cameras, watcher, node, seed)
    try:
        soak.warm_up()
        start = time.monotonic()
        with tqdm(desc='soak', unit='fault', disable=None) as progress:
            for outcome in soak.run(60 * options.minutes):
                progress.update()
                progress.set_postfix_str(outcome.fault.name)
        seconds = time.monotonic() - start
    except TimeoutError as error:
        print(f'soak: {error}\n{log.read_text()[-4000:]}', file=sys.stderr)
        return 1
    finally:
        status = node.stop()
        spinning.close()
        rclpy.try_shutdown()
    print(table(soak, seconds, watcher.maps, cameras.cycle))
    wrong = judge(soak, node.exceptions(), status, options.recovery_cycles, options.growth / 100)
    print('\n'.join(f'FAILED: {text}' for text in wrong) or 'all checks passed')
    return int(bool(wrong))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='make soak',
        description='Play cameras at 10 Hz into the node, inject faults, and time its answers.',
        epilog='example: python test/soak --minutes 1.5 --seed 3',
    )
    parser.add_argument(
        '--minutes', type=Real(0.1, 10_000.0), default=10.0, help='how long (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=SEED, default=0, help='of the schedule (default: %(default)s)'
    )
    parser.add_argument(
        '--recovery-cycles',
        type=Whole(0, 1000),
        default=1,
        help='after the first without the fault in which the map must be right again at the '
        'latest; more where other work makes the node skip sets (default: %(default)s)',
    )
    parser.add_argument(
        '--growth',
        type=Real(0.1, 100.0),
        default=2.0,
        metavar='PERCENT',
        help='by which memory may grow; with --lidar the heap comes to its size only in the '
        'fourth restart, a tenth above that after the first (default: %(default)s)',
    )
    parser.add_argument(
        '--lidar',
        action='store_true',
        help='take depth from a lidar at 20 Hz, and let that fail',
    )
    parser.add_argument(
        '--log', type=Path, help='keep here what the node prints (default: nowhere)'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
