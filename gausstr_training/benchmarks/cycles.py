"""How many complete cycles a second the compact pipeline makes on this machine's CPU.

    python -m gausstr_training.benchmarks.cycles [STREET] [--cycles 40] [--json FILE]

As in the node, one thread encodes the images, with the foundation network, and another maps what
the first has encoded, meanwhile the first encodes the next set. Beside it, in turn, the same in
one thread. Six cameras of 448x252, decoded already; nothing is published. Without STREET, one
frame is synthesised.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import torch

from gausstr_core.encoded_images import EncodedImages
from gausstr_core.pipeline import OccupancyPipeline, OccupancyResult
from gausstr_core.process.command_line import Whole
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.parallel import follow_torch_threads, keep_torch_threads, use_threads
from gausstr_core.process.reasons import told
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_training.benchmarks.fast_paths import device_name
from gausstr_training.evaluation.reports.report import write_json
from gausstr_training.streets.drive_settings import DriveSettings
from gausstr_training.streets.reader import StreetFrame, read_street

SEED = 30000
WARM_UP = 4  # cycles before the clock starts: kernels are loaded, memory is taken
ROUNDS = 3


class Cycles:
    """The same frame again and again through a pipeline."""

    def __init__(self, pipeline: OccupancyPipeline, frame: StreetFrame) -> None:
        self._pipeline, self._rig = pipeline, frame.rig
        self._images = [torch.from_numpy(image) for image in frame.images]
        self._vocabulary: Vocabulary = pipeline.load_vocabulary()
        self._cores = torch.get_num_threads()

    def in_turn(self, cycles: int) -> list[OccupancyResult]:
        """One thread, with all cores: encode, map, encode, map."""
        use_threads(self._cores)
        return [self._map(self._encode()) for _ in range(cycles)]

    def overlapped(self, cycles: int) -> list[OccupancyResult]:
        """Two threads, with half of the cores each: one encodes the next set, one maps."""
        handed: Queue[EncodedImages] = Queue(1)
        use_threads(max(1, self._cores // 2))

        def encode_all() -> None:
            follow_torch_threads()
            for _ in range(cycles):
                handed.put(self._encode())

        encoding = threading.Thread(target=encode_all, daemon=True)
        encoding.start()
        found = [self._map(handed.get()) for _ in range(cycles)]
        encoding.join()
        return found

    def _encode(self) -> EncodedImages:
        return self._pipeline.encode(self._images, self._rig)

    def _map(self, encoded: EncodedImages) -> OccupancyResult:
        return self._pipeline.map(encoded, self._vocabulary)


def timed(run: Callable[[int], Sequence[OccupancyResult]], cycles: int) -> dict[str, Any]:
    """Cycles a second, seconds of all cores to a cycle, and each stage's median in ms."""
    wall, cpu = time.perf_counter(), time.process_time()
    results = run(cycles)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    stages = {
        name: round(1e3 * float(np.median([result.seconds[name] for result in results])), 1)
        for name in results[0].seconds
    }
    return {
        'cycles_a_second': round(cycles / wall, 2),
        'core_seconds_a_cycle': round(cpu / cycles, 3),
        'stages_ms': stages,
    }


def measure(cycles: Cycles, count: int) -> dict[str, list[dict[str, Any]]]:
    """Both ways in turn, so that a machine whose speed drifts is fair to both."""
    cycles.overlapped(WARM_UP)
    found: dict[str, list[dict[str, Any]]] = {'overlapped': [], 'in turn': []}
    for _ in range(ROUNDS):
        found['overlapped'].append(timed(cycles.overlapped, count))
        found['in turn'].append(timed(cycles.in_turn, count))
    return found


def frame_of(street: Path | None) -> StreetFrame:
    """The first frame of a street, or of a synthesised one.

    Raises:
        ValueError: the street cannot be read.
    """
    if street is not None:
        return read_street(street)[0]
    from gausstr_training.streets.drive import write_drive

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / 'street'
        write_drive(made, DriveSettings(SEED, voxels=False))
        return read_street(made)[0]


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """A row for each way: the median round, the range, and the stages."""
    lines = []
    for way, rounds in found.items():
        middle = sorted(rounds, key=lambda entry: entry['cycles_a_second'])[len(rounds) // 2]
        rates = [entry['cycles_a_second'] for entry in rounds]
        stages = ', '.join(f'{name} {ms:g}' for name, ms in middle['stages_ms'].items())
        lines.append(
            f'{way:10}  {middle["cycles_a_second"]:.2f} cycles/s ({min(rates):.2f} to '
            f'{max(rates):.2f}), {middle["core_seconds_a_cycle"]:.3f} s of a core each; '
            f'ms: {stages}'
        )
    return '\n'.join(lines)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr_training.benchmarks.cycles',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        'street', nargs='?', type=Path, metavar='STREET',
        help='whose first frame is mapped (default: one is drawn)',
    )  # fmt: skip
    result.add_argument(
        '--cycles', type=Whole(1, 10**6), default=40, metavar='N',
        help='of each round (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--preset', choices=('compact', 'tiny'), default='compact',
        help='model (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--json', type=Path, metavar='FILE', help='write the figures here (default: nowhere)'
    )
    return result


def main(arguments: list[str] | None = None) -> None:
    """Print both rows; `--json FILE` writes all rounds."""
    options = parser().parse_args(arguments)
    keep_freed_memory()
    keep_torch_threads()
    try:
        weights = 'untrained' if options.preset == 'tiny' else None
        pipeline = OccupancyPipeline.from_preset(options.preset, weights=weights)
        cycles = Cycles(pipeline, frame_of(options.street))
        found = measure(cycles, options.cycles)
        print(f'{device_name()}, torch {torch.__version__}\n{table(found)}')
        if options.json:
            write_json(
                options.json, {'device': device_name(), 'torch': torch.__version__, **found}
            )
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr_training.benchmarks.cycles: {told(error)}') from None


if __name__ == '__main__':
    main()
