"""One drive through the node: processes started, played, words changed halfway, all recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from std_msgs.msg import ColorRGBA

from gausstr_core.stamps import nanoseconds
from gausstr_msgs.msg import Category
from gausstr_ros.demo.drive import Drive
from gausstr_ros.demo.processes import Child, DemoError
from gausstr_ros.demo.recorder import NODE, Recorder

# Name, prompts, colour, role. One word for all ground is far from "asphalt": prompts help.
NEW_WORDS = (
    ('car', ('car', 'truck', 'bus'), (66, 135, 245), Category.OBJECT),
    ('person', ('person', 'pedestrian'), (240, 70, 70), Category.OBJECT),
    ('plant', ('plant', 'vegetation', 'tree'), (72, 168, 84), Category.OBJECT),
    ('building', ('building',), (222, 172, 96), Category.OBJECT),
    ('ground', ('ground', 'road', 'sidewalk', 'grass'), (124, 120, 150), Category.GROUND),
)
_STARTING, _REPLYING = 240.0, 20.0  # seconds


@dataclass(frozen=True)
class Change:
    """One call of set_categories."""

    called: float  # time.monotonic
    first_stamp: int  # ns, of the first set with the new words
    vocabulary: str  # id, from the reply


def record_drive(
    drive: Drive, logs: Path, *, rate: float, weights: str, memory: float = 0.0
) -> tuple[Recorder, Change, dict[int, float]]:
    """Start the processes, play, change the words halfway, wait for the last outputs.

    Args:
        drive: what to play.
        logs: folder of the processes' logs.
        rate: 1 is the drive's own speed.
        weights: parameter of the node.
        memory: likewise, memory.seconds.

    Returns:
        what was heard, the change, and when the last image of each set was sent, by stamp.

    Raises:
        DemoError: a process ended, or something did not come; named, with logs.
    """
    with ExitStack() as stack:
        recorder = Recorder(drive.cameras)
        stack.callback(recorder.close)
        node = _start_node(weights, memory, logs)
        stack.callback(node.stop)
        recorder.wait(
            recorder.ready,
            _STARTING,
            lambda: f'the node does not offer {", ".join(recorder.unoffered()) or "its services"}',
            node.check,
        )
        sent = logs / 'sent.json'
        player = _start_player(drive, rate, sent, logs)
        stack.callback(player.stop)

        def watch() -> None:
            node.check()
            player.check()

        patience = (drive.frames[-1].stamp - drive.frames[0].stamp) / 1e9 / rate + 40
        middle = drive.frames[len(drive.frames) // 2 - 1].stamp
        recorder.wait(
            lambda: max(recorder.stamps(f'{NODE}/voxels'), default=0) >= middle,
            patience,
            lambda: _missing(recorder, drive, 'the first half of the drive'),
            watch,
        )
        change = _change_words(recorder, watch)
        recorder.wait(
            lambda: sent.exists() and drive.frames[-1].stamp in recorder.complete_stamps(),
            patience,
            lambda: _missing(recorder, drive, 'the last set'),
            watch,
        )
        return recorder, change, _sent(sent, drive)


def _start_node(weights: str, memory: float, logs: Path) -> Child:
    say('starting the node')
    settings = {'diagnostics_period': 0.2, 'weights': weights, 'memory.seconds': memory}
    given = [f'{name}:={value}' for name, value in settings.items() if value]
    arguments = [argument for value in given for argument in ('-p', value)]
    return Child('node', ['gausstr_ros.node.process', '--ros-args', *arguments], logs)


def _start_player(drive: Drive, rate: float, sent: Path, logs: Path) -> Child:
    say(f'playing the drive at {rate:g} times its speed')
    sent.unlink(missing_ok=True)
    arguments = [str(drive.bag), '--rate', str(rate), '--report', str(sent), '--hold']
    return Child('player', ['gausstr_ros.demo.bag_player', *arguments], logs)


def say(text: str) -> None:
    """Tell the user what goes on."""
    print(f'demo: {text}', flush=True)


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


def _change_words(recorder: Recorder, watch: Callable[[], None]) -> Change:
    """Call set_categories while images keep coming."""
    say(f'set_categories: {", ".join(word[0] for word in NEW_WORDS)}')
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
    stamp = nanoseconds(reply.first_stamp)
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
