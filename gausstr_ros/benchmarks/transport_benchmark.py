"""How much of six large cameras gets through DDS to the node's worker, and what hearing it costs.

With --lidar also how much of them beside a lidar, and what its clouds cost.

The node runs as it is shipped, in a process of its own. Nobody listens to its outputs, so nothing
is inferred: what is left is to receive, to group and to hand over. This process sends. The node's
own diagnostics say how many sets reached the worker; /proc says what its threads used.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_core.process.command_line import Real
from gausstr_core.process.memory import keep_freed_memory
from gausstr_ros.benchmarks.cloud_cost import cloud_cost
from gausstr_ros.benchmarks.transport_sender import LIDAR, POINTS, RATE, SPINS, Sender
from gausstr_ros.demo.processes import Child, DemoError, isolate
from gausstr_ros.demo.spinning import SpinningThread
from gausstr_ros.transport import VARIABLES

TRANSPORTS = ('compressed', 'raw')
REACHED, BUDGET = 0.98, 0.25  # share of the sets, share of one core for the executor's thread
_PIPELINE, _UNWANTED = 'gausstr: pipeline', 'sets unwanted (nobody listens)'
_LIDAR = f'gausstr: lidar {LIDAR}'
_TICK = os.sysconf('SC_CLK_TCK')


@dataclass(frozen=True)
class Measured:
    """One run."""

    transport: str
    sent: int
    reached: int  # sets that the worker took
    images: float  # share of the images that the node received
    seconds: float
    executor: float  # share of one core, as the next two
    process: float  # the whole node
    sender: float
    load: float  # average of the machine over the minute before, in processes
    clouds: int = 0  # sent by the lidar
    heard: int = 0  # of them

    @property
    def name(self) -> str:
        """What is measured."""
        return f'{self.transport}, lidar' if self.clouds else self.transport

    @property
    def within_budget(self) -> bool:
        """Whether enough came through for what it cost."""
        complete = min(self.reached / self.sent, self.images)
        return complete >= REACHED and self.executor <= BUDGET


class Listener:
    """The counters in the node's diagnostics."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('transport_benchmark')
        self._changed = threading.Condition()
        self._values: dict[tuple[str, str], str] = {}
        self._reports = 0
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._store, 10)
        self._spinning = SpinningThread(self.node)

    def sets(self) -> int:
        """Sets that the worker took, as of the last report."""
        return int(self._values.get((_PIPELINE, _UNWANTED), 0))

    def images(self) -> int:
        """Images that the node received, as of the last report."""
        values = self._values.items()
        return sum(int(v) for (s, key), v in values if key == 'received' and s != _LIDAR)

    def clouds(self) -> int:
        """Clouds that the node received, as of the last report."""
        return int(self._values.get((_LIDAR, 'received'), 0))

    def wait_active(self, node: Child, timeout: float = 300.0) -> None:
        """Wait for the node to be ready.

        Raises:
            DemoError: it ended, or was not ready in time.
        """
        end = time.monotonic() + timeout
        while self._values.get((_PIPELINE, 'state')) != 'active':
            node.check()
            if time.monotonic() > end:
                raise DemoError(f'the node was not active within {timeout:g} s{node.quote()}')
            self._wait_report(0.5)

    def settled(self) -> tuple[int, int, int]:
        """Sets, images and clouds once two reports in a row agree, the first from now on."""
        self._wait_report(5)
        while True:
            before = self.sets(), self.images(), self.clouds()
            self._wait_report(5)
            if (self.sets(), self.images(), self.clouds()) == before:
                return before

    def close(self) -> None:
        """End."""
        self._spinning.close()
        self.node.destroy_node()

    def _wait_report(self, timeout: float) -> None:
        with self._changed:
            seen = self._reports
            self._changed.wait_for(lambda: self._reports > seen, timeout)

    def _store(self, message: DiagnosticArray) -> None:
        with self._changed:
            self._values = {(s.name, p.key): p.value for s in message.status for p in s.values}
            self._reports += 1
            self._changed.notify_all()


def measure(transport: str, seconds: float, logs: Path, *, lidar: bool = False) -> Measured:
    """Send for some seconds and count what arrives.

    Raises:
        DemoError: the node did not start, or nothing arrived at all.
    """
    with _node(transport, logs, lidar=lidar) as node, contextlib.ExitStack() as stack:
        listener = Listener()
        stack.callback(listener.close)
        listener.wait_active(node)
        compressed = transport == 'compressed'
        sender = Sender(listener.node, NUSCENES_CAMERAS, compressed=compressed, lidar=lidar)
        _wait_heard(sender, listener, node)
        before = listener.settled()
        load = os.getloadavg()[0]
        used, own, started = _used(node.pid), time.process_time(), time.monotonic()
        clouds = sender.clouds
        sent = sender.run(round(seconds * RATE))
        elapsed = time.monotonic() - started
        spent = [now - then for now, then in zip(_used(node.pid), used, strict=True)]
        own = time.process_time() - own
        found = zip(listener.settled(), before, strict=True)
        sets, images, heard = (now - then for now, then in found)
        node.check()
        return Measured(
            transport, sent, sets, images / (sent * len(NUSCENES_CAMERAS)),
            elapsed, spent[0] / elapsed, spent[1] / elapsed, own / elapsed, load,
            sender.clouds - clouds, heard,
        )  # fmt: skip


@contextlib.contextmanager
def _node(transport: str, logs: Path, *, lidar: bool) -> Iterator[Child]:
    values = {
        'preset': 'tiny',  # it is loaded and not used
        'weights': 'untrained',
        'image_transport': transport,
        'fixed_frame': "''",
        'depth_source': 'lidar' if lidar else 'model',
        'diagnostics_period': 0.5,
    }
    given = [word for name, value in values.items() for word in ('-p', f'{name}:={value}')]
    node = Child('node', ['gausstr_ros.node.process', '--ros-args', *given], logs)
    try:
        yield node
    finally:
        node.stop()


def _wait_heard(sender: Sender, listener: Listener, node: Child, timeout: float = 30.0) -> None:
    """Send until a set arrives: until both sides know each other, what is sent is lost."""
    end = time.monotonic() + timeout
    while not listener.sets():
        if time.monotonic() > end:
            raise DemoError(f'no set reached the node within {timeout:g} s{node.quote()}')
        sender.run(3)


def _used(pid: int) -> tuple[float, float]:
    """Processor seconds of the main thread, where the executor spins, and of the process."""
    fields = [Path(f'/proc/{pid}/{place}stat').read_text() for place in (f'task/{pid}/', '')]
    times = [text.rpartition(')')[2].split()[11:13] for text in fields]
    thread, process = (sum(map(int, pair)) / _TICK for pair in times)
    return thread, process


def table(runs: Sequence[Measured]) -> str:
    """The runs as Markdown."""
    lines = [
        '| six cameras | sets sent | at the worker | images | clouds | executor | node | sender '
        '| load |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    clouds = [f'{r.heard} of {r.clouds}' if r.clouds else '' for r in runs]
    lines += [
        f'| {r.name} | {r.sent} | {r.reached} ({r.reached / r.sent:.1%}) | {r.images:.1%} '
        f'| {heard} | {r.executor:.1%} | {r.process:.0%} | {r.sender:.0%} | {r.load:.1f} |'
        for r, heard in zip(runs, clouds, strict=True)
    ]
    return '\n'.join(lines)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog=f'python -m {__spec__.name}',
        description='Six 1600x900 cameras at 12 Hz over DDS into the node, without inference.',
        epilog=f'example: python -m {__spec__.name} --seconds 20 --json dds.json',
    )
    result.add_argument(
        '--seconds', type=Real(0.1, 3600.0), default=15.0, metavar='S',
        help='of sending (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--transports', nargs='+', choices=TRANSPORTS, default=TRANSPORTS,
        help=f'of the images (default: {" ".join(TRANSPORTS)})',
    )  # fmt: skip
    result.add_argument(
        '--lidar', action='store_true',
        help=f'measure each once more with a lidar of {POINTS} points at {SPINS} Hz beside them',
    )  # fmt: skip
    result.add_argument(
        '--stock-sender', action='store_true', help='send without the profile, as is often done'
    )
    result.add_argument(
        '--json', type=Path, metavar='FILE', help='write the figures (default: nowhere)'
    )
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    keep_freed_memory()
    try:
        with tempfile.TemporaryDirectory(prefix='gausstr_dds_') as logs:
            _run(options, Path(logs))
    except DemoError as error:
        raise SystemExit(f'transport_benchmark: {error}') from None


def _run(options: Any, logs: Path) -> None:
    isolate(os.environ, logs)
    if options.stock_sender:
        for name in VARIABLES:
            os.environ.pop(name, None)  # the node sets the profile for itself
    rclpy.init()
    try:
        runs = [
            measure(transport, options.seconds, logs, lidar=lidar)
            for transport in options.transports
            for lidar in ([False, True] if options.lidar else [False])
        ]
    finally:
        rclpy.try_shutdown()
    print(f'six 1600x900 cameras at {RATE} Hz over DDS, {len(os.sched_getaffinity(0))} cores')
    print(table(runs))
    print(f'budget: >= {REACHED:.0%} of the sets, <= {BUDGET:.0%} of one core for the executor')
    for run in runs:
        print(f'{run.name}: {"within" if run.within_budget else "NOT within"} the budget')
    if options.lidar:
        _tell_clouds(runs)
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))


def _tell_clouds(runs: Sequence[Measured]) -> None:
    for without, beside in itertools.pairwise(runs):
        if beside.clouds and without.transport == beside.transport:
            more = (beside.executor - without.executor) * beside.seconds / beside.clouds
            print(
                f'{beside.name}: {without.reached / without.sent:.1%} of the sets without it, '
                f'{beside.reached / beside.sent:.1%} with it; a cloud costs the executor '
                f'{1e3 * more:.2f} ms'
            )
    reading, depth = cloud_cost()
    print(
        f'a cloud that is used costs the worker {1e3 * reading:.2f} ms to read, and for each '
        f'camera {1e3 * depth:.1f} ms to become depth at 320x180'
    )


if __name__ == '__main__':
    main()
