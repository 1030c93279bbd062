"""gausstr-replay: the node's pipeline over a bag, without a graph.

Outputs are written beside the inputs, which are copied byte for byte. Unlike the node, which
skips sets to keep up, it maps every set. What is mapped is kept in a journal until the target is
complete: a run that was interrupted or killed copies the inputs again, and maps on where it was.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import tf2_ros
import torch
from ament_index_python.packages import get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage
from tqdm import tqdm

from gausstr_core.bags.messages import learn_types
from gausstr_core.bags.place import check_place
from gausstr_core.bags.reading import Bag, Message
from gausstr_core.bags.writing import BagWriter
from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.compilation import announced_compilation
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_msgs.msg import Categories
from gausstr_ros.messages.serialised import serialised, type_name
from gausstr_ros.publishing.outputs import Outputs
from gausstr_ros.replay.journal import Journal, StoredSet, fingerprint
from gausstr_ros.replay.remapping import (
    as_recorded,
    check_transforms,
    read_rules,
    remapped,
    transform_topics,
)
from gausstr_ros.replay.run import Replay
from gausstr_ros.replay.topics import TRANSFORMS, check_types, is_of, wanted_topics
from gausstr_ros.settings.parameter_file import read_parameter_file
from gausstr_ros.settings.settings import Settings, read_settings
from gausstr_ros.vocabulary.messages import categories_message

_LOGGER = logging.getLogger('gausstr_ros.replay.command')  # also where this file is __main__

DEFAULT_OUTPUTS = ('occupancy_grid', 'voxels')
OPTIONAL_OUTPUTS = ('gaussians', 'voxel_markers')
PICTURES = ('depth', 'semantics', 'activation')  # one per camera
NODE = '/gausstr'
EXAMPLE = """\
IN is a rosbag2 folder or its .mcap or .db3 file. OUT becomes one MCAP file where it ends in .mcap,
else a rosbag2 folder with metadata.yaml; `ros2 bag play` plays both. OUT appears when it is
complete. The same command goes on where an interrupted one was.

examples:
  gausstr-replay drive/bag mapped.mcap
  gausstr-replay robot.mcap mapped --remap /tf:=/robot/tf /tf_static:=/robot/tf_static
  gausstr-replay drive.mcap mapped --params-file mine.yaml --outputs occupancy_grid gaussians
"""


def replay(
    source: Path,
    target: Path,
    settings: Settings,
    names: Sequence[str],
    remaps: Sequence[str] = (),
) -> int:
    """Map a bag and write inputs and outputs; returns the number of sets mapped.

    The target appears when it is complete. Until then what is mapped lies in a journal beside it,
    which a run with the same bag and settings takes up.

    Args:
        source: rosbag2 folder or file.
        target: .mcap file or folder.
        settings: as of the node.
        names: outputs, as `output_names` gives them.
        remaps: FROM:=TO, inputs that have another name in the bag.

    Raises:
        ValueError: the bag cannot be read, lacks the images, has them in another type, holds
            outputs already, or no set of it could be mapped; or the target exists, or another
            process is writing it.
        OSError: the bag's disk or network does not answer, or the target cannot be written; the
            journal stays.
    """
    check_place(source)
    rules = read_rules(remaps, settings)
    settings = remapped(settings, rules)
    latched = [f'{NODE}/occupancy_grid', f'{NODE}/categories']
    writer = BagWriter(target, _output_types(settings, names), latched=latched)
    with Bag(source) as bag:
        settings = as_recorded(settings, bag)
        topics = transform_topics(rules)
        _check_topics(bag, settings, names, topics)
        check_transforms(topics, bag)
        transforms = _transforms(bag, topics)
        journal = Journal(target, fingerprint(source, settings, [*names, *remaps]))
        # the lock first: who is refused must leave every journal alone
        with writer.locked(), journal, writer:
            run = Replay(settings, transforms, names, journal)
            if len(journal):
                _LOGGER.warning('going on: %d sets are mapped already', len(journal))
            with announced_compilation(partial(tqdm.write, file=sys.stderr)):
                _write_all(bag, run, writer)
            if not run.mapped:
                reason = run.report(0).status[0].message
                raise ValueError(f'{source}: no set could be mapped: {reason}')
    _tell_times(run)
    return run.mapped


def _tell_times(run: Replay) -> None:
    """Here, as they would make the bag of each run another one."""
    times = run.stage_times.values().items()
    medians = [f'{name[:-4]} {value}' for name, value in times if name.endswith(' p50')]
    print(f'medians of a set: {", ".join(medians)}')


def _output_types(settings: Settings, names: Sequence[str]) -> dict[str, str]:
    """Topic -> type of what is written beside the inputs."""
    package = Categories.__module__.split('.')[0]  # which no library knows
    learn_types(Path(get_package_share_directory(package)) / 'msg', package)
    kinds = Outputs(settings).types
    classes: dict[str, type] = {f'{NODE}/{name}': kinds[name] for name in names}
    classes |= {f'{NODE}/categories': Categories, '/diagnostics': DiagnosticArray}
    return {topic: type_name(kind) for topic, kind in classes.items()}


def _write_all(bag: Bag, run: Replay, writer: BagWriter) -> None:
    """Copy the inputs and write the results of each set after the message that completed it."""
    now = 0
    kinds = {wanted.topic: wanted.kind for wanted in wanted_topics(run.settings)}
    left_out: set[str] = set()
    count = sum(connection.msgcount for connection in bag.connections)
    for message in tqdm(bag.messages(), total=count, unit='msg', desc='replay'):
        _copy(message, writer, left_out)
        now = message.logged
        if is_of(message.connection, kinds.get(message.topic, '')):
            results = run.feed(message.topic, message.raw, now, latched=message.latched)
            _write(results, run, writer, now)
    _write(run.finish(), run, writer, now)


def _copy(message: Message, writer: BagWriter, left_out: set[str]) -> None:
    """Copy an input; one whose type nobody knows is left out, which is said once."""
    try:
        writer.copy(message)
    except ValueError as error:
        if str(error) not in left_out:
            left_out.add(str(error))
            _LOGGER.warning('left out: %s', error)


def _write(
    results: Iterator[tuple[int, StoredSet]], run: Replay, writer: BagWriter, now: int
) -> None:
    for stamp, result in results:
        if run.mapped == 1:
            categories = categories_message(run.vocabulary, stamp)
            writer.write(f'{NODE}/categories', now, serialised(categories))
        for name, message in result.messages:
            writer.write(f'{NODE}/{name}', now, message)
        writer.write('/diagnostics', now, serialised(run.report(stamp)))


def output_names(chosen: Sequence[str], settings: Settings) -> list[str]:
    """Topics of the outputs below the node's name, each once; pictures are one per camera.

    Raises:
        ValueError: `activation` without `activation_category`.
    """
    if 'activation' in chosen and not settings.activation_category:
        raise ValueError('--outputs activation: set the parameter activation_category')
    once = dict.fromkeys(chosen)
    wanted = [name for name in once if name not in PICTURES]
    pictures = [name for name in once if name in PICTURES]
    return wanted + [f'{camera}/{name}' for camera in settings.names for name in pictures]


def _transforms(bag: Bag, topics: Sequence[str]) -> tf2_ros.Buffer:
    """All transforms of the bag: with a file, none has to come late.

    Args:
        bag: where they are.
        topics: of moving, and of static transforms.
    """
    # none is too old: one with a wrong stamp must not take the place of all others
    buffer = tf2_ros.Buffer(cache_time=Duration(nanoseconds=2**62))
    for message in bag.messages(topics):
        if not is_of(message.connection, TRANSFORMS):
            continue
        for transform in deserialize_message(message.raw, TFMessage).transforms:
            if message.topic == topics[1]:
                buffer.set_transform_static(transform, 'bag')
            else:
                buffer.set_transform(transform, 'bag')
    return buffer


def _check_topics(
    bag: Bag, settings: Settings, names: Sequence[str], transforms: Sequence[str]
) -> None:
    wanted = {camera.image_topic for camera in settings.cameras}
    found = {connection.topic for connection in bag.connections}
    if not wanted & found:
        raise ValueError(
            f'{bag.path}: expected images on {", ".join(sorted(wanted))}; the bag has '
            f'{", ".join(sorted(found)) or "nothing"}'
        )
    check_types(bag, settings, transforms)
    ours = {f'{NODE}/{name}' for name in (*names, 'categories')} & found
    if ours:
        raise ValueError(f'{bag.path} holds outputs already: {", ".join(sorted(ours))}')


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    keep_freed_memory()
    try:
        refuse_misplaced(options, files=['--params-file'])
        values = {}
        if options.params_file:
            values = read_parameter_file(options.params_file, options.node)
        settings = read_settings(values)
        names = output_names(options.outputs, settings)
        # A batch system's way to interrupt: what is half written is removed, the journal stays.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        count = replay(options.input, options.output, settings, names, options.remap)
    except (ValueError, OSError, sqlite3.Error) as error:
        raise SystemExit(f'gausstr-replay: {told(error)}') from None
    except torch.cuda.OutOfMemoryError as error:
        # no smaller profile as in the node: all maps of a bag are made in one way
        raise SystemExit(
            f'gausstr-replay: out of device memory: {error}; free some and run it again to go on, '
            'or start with a larger grid.resolution or on the CPU'
        ) from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-replay: interrupted; run it again to go on') from None
    print(f'{count} sets mapped -> {options.output}')


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-replay',
        description='Map a recorded drive without a ROS graph: bag in, bag with the map out.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        'input', metavar='IN', type=Path, help='rosbag2 folder, .mcap or .db3 file'
    )
    result.add_argument('output', metavar='OUT', type=Path, help='.mcap file or folder to write')
    result.add_argument(
        '--params-file',
        type=Path,
        metavar='FILE',
        help="the node's parameters, ROS 2 YAML (default: the rig of nuScenes)",
    )
    result.add_argument(
        '--node',
        default=NODE,
        metavar='NAME',
        help='full name of the node whose parameters are taken from the file, such as '
        '/robot/gausstr (default: %(default)s)',
    )
    result.add_argument(
        '--outputs',
        nargs='+',
        choices=DEFAULT_OUTPUTS + OPTIONAL_OUTPUTS + PICTURES,
        default=DEFAULT_OUTPUTS,
        help=f'what is written; {", ".join(PICTURES)} are of every camera; categories and '
        f'diagnostics always come along (default: {" ".join(DEFAULT_OUTPUTS)})',
    )
    result.add_argument(
        '--remap',
        nargs='+',
        default=[],
        metavar='FROM:=TO',
        help='inputs that have another name in the bag: transforms, images, CameraInfo, depth, '
        'clouds '
        '(default: none)',
    )
    return result


if __name__ == '__main__':
    main()
