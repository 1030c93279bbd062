"""gausstr-demo: a drive through the node over DDS, and a page about what came out.

Synthesises the drive, starts the node and the player as processes, records every output, changes
the words halfway, checks all of it against what was promised, scores it against the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.signals import SignalHandlerOptions

from gausstr_core.process.command_line import SEED, Real, Whole, refuse_misplaced
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_core.weights import read_card, shipped_weights
from gausstr_ros.demo.drive import Drive
from gausstr_ros.demo.page import Report, draw_pictures, write_page
from gausstr_ros.demo.processes import Child, DemoError, isolate
from gausstr_ros.demo.recorder import NODE, Recorder
from gausstr_ros.demo.result import Frame, collect, score
from gausstr_ros.demo.session import NEW_WORDS, Change, record_drive, say

EXAMPLE = """\
example: gausstr-demo --output demo_output
         gausstr-demo --output demo_output --seed 9001 --frames 30 --rate 2"""
# Never trained on, never used to choose thresholds.
HELD_OUT_SEED = 9000
_SYNTHESISING, _EVALUATING = 600.0, 600.0  # seconds


def run_demo(options: argparse.Namespace) -> Path:
    """Run everything; returns the page.

    Raises:
        DemoError: something promised did not happen.
        ValueError: an option or a file is not what was expected.
    """
    logs = options.output / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    weights = _weights_card(options.weights)
    drive = _drive_to_play(options, logs)
    isolate(os.environ, logs)
    # its own handlers would keep Ctrl-C from ending the children
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        recorder, change, sent = record_drive(
            drive, logs, rate=options.rate, weights=options.weights, memory=options.memory
        )
    finally:
        rclpy.try_shutdown()
    frames = collect(recorder, drive, sent, change.first_stamp)
    _check_change(frames, sent, change)
    with ExitStack() as stack:
        evaluation = None
        if weights is not None:
            say('scoring the drive beside the rivals, drawing the page')
            arguments = [str(drive.folder), '--json', str(options.output / 'scores.json')]
            arguments += ['--weights', options.weights] if options.weights else []
            evaluation = Child('evaluate', ['gausstr_training.evaluate', *arguments], logs)
            stack.callback(evaluation.stop)
        draw_pictures(options.output, frames, drive.images(), drive.classes)
        report = _report(options, drive, recorder, frames, change, sent)
        if evaluation is not None:
            evaluation.wait(_EVALUATING)
            scores = json.loads((options.output / 'scores.json').read_text())
            report = report.with_scores(scores, weights)
        page = write_page(options.output, frames, report)
    _summarise(report, frames, page)
    return page


def _weights_card(weights: str) -> dict[str, Any] | None:
    """The card of the weights; None for the untrained model, which has neither card nor scores."""
    if weights == 'untrained':
        return None
    return read_card(Path(weights) if weights else shipped_weights('compact'))


def _drive_to_play(options: argparse.Namespace, logs: Path) -> Drive:
    if options.drive is not None:
        return Drive.read(options.drive)
    say(f'synthesising a drive of {options.frames} six-camera cycles, seed {options.seed}')
    folder = options.output / 'drive'
    settings = ['--seed', str(options.seed), '--frames', str(options.frames)]
    command = ['gausstr_training.synthesize', *settings, '--output', str(folder), '--overwrite']
    child = Child('synthesize', command, logs)
    try:
        child.wait(_SYNTHESISING)
    finally:
        child.stop()
    return Drive.read(folder)


def _check_change(frames: Sequence[Frame], sent: dict[int, float], change: Change) -> None:
    """The first frame whose images were sent after the call must carry the new words."""
    new = [frame for frame in frames if frame.truth.stamp >= change.first_stamp]
    if not new or len(new) == len(frames):
        raise DemoError(
            f'expected complete cycles before and after the change of words at '
            f'{change.first_stamp} ns, got {len(frames) - len(new)} and {len(new)}'
        )
    if new[0].words.id != change.vocabulary:
        raise DemoError(
            f'expected {NODE}/categories to announce vocabulary {change.vocabulary}, as the reply '
            f'of set_categories says, got {new[0].words.id}'
        )
    later = [f.truth.stamp for f in frames if sent[f.truth.stamp] > change.called]
    if later and change.first_stamp > later[0]:
        raise DemoError(
            f'expected set_categories to apply from the next frame, {later[0]} ns, but it applies '
            f'from {change.first_stamp} ns'
        )


def _report(
    options: argparse.Namespace,
    drive: Drive,
    recorder: Recorder,
    frames: Sequence[Frame],
    change: Change,
    sent: dict[int, float],
) -> Report:
    stamps = [frame.truth.stamp for frame in frames]
    finished = max(e.time for t in recorder.outputs for e in recorder.heard[t])
    begun = min(sent.values())
    old = [frame for frame in frames if frame.words.id == frames[0].words.id]
    before = sum(1 for s in stamps if s < change.first_stamp and sent[s] > change.called)
    names = ', '.join(word[0] for word in NEW_WORDS)
    return Report(
        cycles=len(frames),
        sets=len(drive.frames),
        rate=len(frames) / (finished - begun),
        played=(len(sent) - 1) / (max(sent.values()) - begun),
        stages=_stages(recorder),
        change=(
            f'Between two cycles the demo called set_categories with {names}. The node '
            'named the first set that they apply to, and every map from that stamp on carries the '
            f'new words and their colours; {before} set(s) sent after the call came out in the '
            'old ones.'
        ),
        drive_score=score(old, drive.classes),
        machine=_machine(),
        seed=drive.seed,
        facts=[
            f'Weights: {options.weights or "shipped with the package"}.',
            f'{len(frames)} cycles of which all {len(recorder.outputs)} outputs came, '
            f'{frames[0].words.id} then {change.vocabulary}.',
            f'The first {len(old)} are scored: their words are the classes of the truth.',
        ],
    )


def _stages(recorder: Recorder) -> dict[str, float]:
    """Median milliseconds per stage over the diagnostics, in the order of the stages."""
    times: dict[str, list[float]] = {}
    for report in recorder.decode_all('/diagnostics'):
        for status in report.status:
            for pair in status.values:
                if pair.key.endswith(' [ms]'):
                    times.setdefault(pair.key.removesuffix(' [ms]'), []).append(float(pair.value))
    return {stage: float(np.median(values)) for stage, values in times.items()}


def _machine() -> str:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith('model name')]
        model = names[0].split(':', 1)[1].strip() if names else model
    return f'{len(os.sched_getaffinity(0))} cores of {model}'


def _summarise(report: Report, frames: Sequence[Frame], page: Path) -> None:
    latency = [frame.seconds for frame in frames]
    print(f'  {report.cycles} of {report.sets} cycles complete, {report.rate:.2f} per second')
    print(
        f'  end to end {1e3 * np.median(latency):.0f} ms median, {1e3 * max(latency):.0f} ms worst'
    )
    print(f'  IoU {report.drive_score[0]:.1f}, mIoU {report.drive_score[1]:.1f} on this drive')
    print('  set_categories took effect on the next frame')
    print(f'page: {page.resolve()}')


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the children then too
    try:
        refuse_misplaced(options, files=['--weights'], folders=['--drive', '--output'])
        run_demo(options)
    except (DemoError, ValueError, OSError) as error:
        raise SystemExit(f'gausstr-demo: {told(error)}') from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-demo: interrupted') from None


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-demo',
        description='Play a synthesised drive into the node over DDS and write a page about it.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        '--output',
        type=Path,
        default=Path('demo_output'),
        metavar='DIR',
        help='folder to write (default: %(default)s)',
    )
    result.add_argument(
        '--seed',
        type=SEED,
        default=HELD_OUT_SEED,
        metavar='N',
        help='of the drive (default: %(default)s)',
    )
    result.add_argument(
        '--frames',
        type=Whole(4, 10_000),
        default=12,
        metavar='N',
        help='six-camera cycles, 0.5 s apart (default: %(default)s)',
    )
    result.add_argument(
        '--rate',
        type=Real(0.01, 100.0),
        default=1.25,
        metavar='R',
        help='speed of playing; 1 is 2 cycles a second (default: %(default)s)',
    )
    result.add_argument(
        '--drive',
        type=Path,
        metavar='DIR',
        help='play this folder of gausstr-synthesize instead (default: synthesise one)',
    )
    result.add_argument(
        '--memory',
        type=Real(0.0, 3600.0),
        default=0.0,
        metavar='S',
        help='seconds for which the node remembers what it saw; 0: not at all '
        '(default: %(default)s)',
    )
    result.add_argument(
        '--weights', default='', help="a file, or 'untrained' (default: the shipped ones)"
    )
    return result


if __name__ == '__main__':
    main()
