"""gausstr-demo: a drive through the node over DDS, and a page about what came out.

Synthesises the drive, starts the node and the player as processes, records every output, changes
the words halfway, checks all of it against what was promised, scores it against the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from std_msgs.msg import ColorRGBA

from gausstr_core.weights import read_card, shipped_weights
from gausstr_msgs.msg import Category
from gausstr_ros.demo_drive import Drive
from gausstr_ros.demo_page import Report, write_page
from gausstr_ros.demo_processes import Child, DemoError, isolate
from gausstr_ros.demo_recorder import NODE, Recorder
from gausstr_ros.demo_result import Frame, collect, score

EXAMPLE = """\
example: gausstr-demo --output demo_output
         gausstr-demo --output demo_output --seed 9001 --frames 30 --rate 2"""
# Never trained on, never used to choose thresholds.
HELD_OUT_SEED = 9000
# Name, prompts, colour, role. One word for all ground is far from "asphalt": prompts help.
NEW_WORDS = (
    ('car', ('car', 'truck', 'bus'), (66, 135, 245), Category.OBJECT),
    ('person', ('person', 'pedestrian'), (240, 70, 70), Category.OBJECT),
    ('plant', ('plant', 'vegetation', 'tree'), (72, 168, 84), Category.OBJECT),
    ('building', ('building',), (222, 172, 96), Category.OBJECT),
    ('ground', ('ground', 'road', 'sidewalk', 'grass'), (124, 120, 150), Category.GROUND),
)
_STARTING, _SYNTHESISING, _EVALUATING, _REPLYING = 240.0, 600.0, 600.0, 20.0


@dataclass(frozen=True)
class Change:
    """One call of set_categories."""

    called: float  # time.monotonic
    first_stamp: int  # ns, of the first set with the new words
    vocabulary: str  # id, from the reply


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
    rclpy.init()
    try:
        recorder, change, sent = _drive(options, drive, logs)
    finally:
        rclpy.try_shutdown()
    frames = collect(recorder, drive, sent, change.first_stamp)
    _check_change(frames, sent, change)
    with ExitStack() as stack:
        evaluation = None
        if weights is not None:
            _say('scoring the drive beside the rivals, drawing the page')
            arguments = [str(drive.folder), '--json', str(options.output / 'scores.json')]
            arguments += ['--weights', options.weights] if options.weights else []
            evaluation = Child('evaluate', ['gausstr_training.evaluate', *arguments], logs)
            stack.callback(evaluation.stop)
        report = _report(options, drive, recorder, frames, change, sent)
        if evaluation is not None:
            evaluation.wait(_EVALUATING)
            scores = json.loads((options.output / 'scores.json').read_text())
            report = report.with_scores(scores, weights)
        page = write_page(options.output, frames, drive.images(), drive.classes, report)
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
    _say(f'synthesising a drive of {options.frames} six-camera cycles, seed {options.seed}')
    folder = options.output / 'drive'
    settings = ['--seed', str(options.seed), '--frames', str(options.frames)]
    command = ['gausstr_training.synthesize', *settings, '--output', str(folder), '--overwrite']
    child = Child('synthesize', command, logs)
    try:
        child.wait(_SYNTHESISING)
    finally:
        child.stop()
    return Drive.read(folder)


def _drive(
    options: argparse.Namespace, drive: Drive, logs: Path
) -> tuple[Recorder, Change, dict[int, float]]:
    """Start the processes, play, change the words halfway, wait for the last outputs.

    Returns:
        what was heard, the change, and when the last image of each set was sent, by stamp.
    """
    with ExitStack() as stack:
        recorder = Recorder(drive.cameras)
        stack.callback(recorder.close)
        _say('starting the node')
        settings = {
            'diagnostics_period': 0.2,
            'publish.max_gaussians': 1500,  # every marker is an object of Python
            'weights': options.weights,
        }
        given = [f'{name}:={value}' for name, value in settings.items() if value]
        node = Child(
            'node',
            ['gausstr_ros.node', '--ros-args', *(a for value in given for a in ('-p', value))],
            logs,
        )
        stack.callback(node.stop)
        recorder.wait(
            recorder.ready,
            _STARTING,
            lambda: f'the node does not offer {", ".join(recorder.unoffered()) or "its services"}',
            node.check,
        )
        _say(f'playing the drive at {options.rate:g} times its speed')
        report = logs / 'sent.json'
        report.unlink(missing_ok=True)
        player = Child(
            'player',
            ['gausstr_ros.bag_player', str(drive.bag), '--rate', str(options.rate), '--hold',
             '--report', str(report)],
            logs,
        )  # fmt: skip
        stack.callback(player.stop)

        def watch() -> None:
            node.check()
            player.check()

        seconds = (drive.frames[-1].stamp - drive.frames[0].stamp) / 1e9 / options.rate + 40
        middle = drive.frames[len(drive.frames) // 2 - 1].stamp
        recorder.wait(
            lambda: max(recorder.stamps(f'{NODE}/voxels'), default=0) >= middle,
            seconds,
            lambda: _missing(recorder, drive, 'the first half of the drive'),
            watch,
        )
        change = _change_words(recorder, watch)
        recorder.wait(
            lambda: report.exists() and drive.frames[-1].stamp in recorder.complete_stamps(),
            seconds,
            lambda: _missing(recorder, drive, 'the last set'),
            watch,
        )
        return recorder, change, _sent(report, drive)


def _missing(recorder: Recorder, drive: Drive, what: str) -> str:
    """What did not come, in words."""
    if silent := recorder.silent():
        return f'expected every output for {what}; nothing came on {", ".join(silent)}'
    last = drive.frames[-1].stamp
    counts = {topic: len(set(recorder.stamps(topic))) for topic in recorder.outputs}
    late = [topic for topic in recorder.outputs if last not in recorder.stamps(topic)]
    return (
        f'expected every output for {what} (stamp {last} ns); still missing on '
        f'{", ".join(late)}; sets heard: {counts}, played: {len(drive.frames)}'
    )


def _change_words(recorder: Recorder, watch: Any) -> Change:
    """Call set_categories while images keep coming."""
    _say(f'set_categories: {", ".join(word[0] for word in NEW_WORDS)}')
    categories = [
        Category(
            name=name,
            prompts=prompts,
            role=role,
            color=ColorRGBA(r=r / 255, g=g / 255, b=b / 255, a=1.0),
        )
        for name, prompts, (r, g, b), role in NEW_WORDS
    ]
    called = time.monotonic()
    future = recorder.set_categories(categories)
    recorder.wait(future.done, _REPLYING, lambda: f'no reply from {NODE}/set_categories', watch)
    reply = future.result()
    if not reply.success:
        raise DemoError(f'{NODE}/set_categories: expected success, got {reply.message!r}')
    # A slow machine answers before a set has come; the announcement names the first one too.
    recorder.wait(
        lambda: recorder.first_use(reply.vocabulary_id) > 0,
        _REPLYING,
        lambda: f'{NODE}/categories never said from when vocabulary {reply.vocabulary_id} applies',
        watch,
    )
    announced = recorder.first_use(reply.vocabulary_id)
    stamp = reply.first_stamp.sec * 1_000_000_000 + reply.first_stamp.nanosec
    if stamp not in (0, announced):
        raise DemoError(
            f'expected the reply of {NODE}/set_categories and {NODE}/categories to name the same '
            f'first set, got {stamp} and {announced} ns'
        )
    return Change(called, announced, reply.vocabulary_id)


def _sent(report: Path, drive: Drive) -> dict[int, float]:
    """When the last image of each set was sent, by the stamp of the set."""
    times = {(topic, stamp): when for topic, stamp, when in json.loads(report.read_text())}
    return {
        frame.stamp: max(
            times[f'/{camera}/image_raw/compressed', stamp]
            for camera, stamp in frame.image_stamps.items()
        )
        for frame in drive.frames
    }


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


def _say(text: str) -> None:
    print(f'demo: {text}', flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        if not options.rate > 0:
            raise ValueError(f'--rate must be > 0, got {options.rate}')
        if options.frames < 4:
            raise ValueError(f'--frames must be at least 4, got {options.frames}')
        run_demo(options)
    except (DemoError, ValueError, OSError) as error:
        raise SystemExit(f'gausstr-demo: {error}') from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-demo: interrupted') from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='gausstr-demo',
        description='Play a synthesised drive into the node over DDS and write a page about it.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--output', type=Path, default=Path('demo_output'), help='folder to write')
    parser.add_argument('--seed', type=int, default=HELD_OUT_SEED, help='of the drive')
    parser.add_argument('--frames', type=int, default=12, help='six-camera cycles, 0.5 s apart')
    parser.add_argument(
        '--rate', type=float, default=1.25, help='speed of playing; 1 is 2 cycles a second'
    )
    parser.add_argument(
        '--drive', type=Path, help='play this folder of gausstr-synthesize instead'
    )
    parser.add_argument(
        '--weights', default='', help="a file, or 'untrained' (default: the shipped ones)"
    )
    return parser


if __name__ == '__main__':
    main()
