"""gausstr-replay: the node's pipeline over a bag, without a graph.

Outputs are written beside the inputs, which are copied byte for byte. Unlike the node, which
skips sets to keep up, it maps every set.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tf2_ros
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from tqdm import tqdm

from gausstr_core.memory import keep_freed_memory
from gausstr_msgs.msg import Categories
from gausstr_ros.bags import BagReader, BagWriter
from gausstr_ros.categories import categories_message
from gausstr_ros.conversions import stamp_of
from gausstr_ros.diagnostics import Health
from gausstr_ros.inputs import DepthPairing, RigSource, Shot
from gausstr_ros.mapper import MappedSet, build_pipeline, map_seen, read_set, see_set
from gausstr_ros.outputs import Outputs
from gausstr_ros.settings import Settings, read_parameter_file, read_settings
from gausstr_ros.synchroniser import ImageSet
from gausstr_ros.waiting import BAD_INPUT, NotReady

_LOGGER = logging.getLogger('gausstr_ros.replay')  # also where this file is __main__

DEFAULT_OUTPUTS = ('occupancy_grid', 'voxels')
OPTIONAL_OUTPUTS = ('gaussians', 'voxel_markers')
NODE = '/gausstr'
EXAMPLE = """\
IN is a rosbag2 folder or its .mcap file. OUT becomes one MCAP file where it ends in .mcap, else a
rosbag2 folder with metadata.yaml; `ros2 bag play` plays both.

examples:
  gausstr-replay drive/bag mapped.mcap
  gausstr-replay drive.mcap mapped --params-file mine.yaml --outputs occupancy_grid gaussians
"""


class Replay:
    """The node without a graph: messages in by topic, mapped sets out."""

    def __init__(self, settings: Settings, buffer: tf2_ros.Buffer) -> None:
        self.settings = settings
        self._pipeline = build_pipeline(settings)
        self.vocabulary = self._pipeline.vocabulary(settings.vocabulary_file or None)
        self._now = 0  # of the bag, nanoseconds
        self.health = Health(clock=lambda: self._now / 1e9)
        self.health.configured(settings)
        self.health.state('replay')
        self.health.note('vocabulary', self.vocabulary.id)
        self.mapped = 0
        self._rigs = RigSource(settings, buffer)
        self._synchroniser = settings.synchroniser()
        self._pairing = {name: DepthPairing() for name in settings.names}
        self._pending: list[tuple[int, ImageSet[Shot]]] = []
        self._handlers: dict[str, tuple[type, Callable[[Any], None]]] = {}
        image = CompressedImage if settings.compressed else Image
        for camera in settings.cameras:
            name = camera.name
            self._handlers[camera.image_topic] = (image, partial(self._on_image, name))
            self._handlers[camera.camera_info_topic] = (
                CameraInfo,
                partial(self._rigs.add_info, name),
            )
            if settings.measured_depth:
                depth = CompressedImage if camera.compressed_depth else Image
                self._handlers[camera.depth_topic] = (depth, partial(self._on_depth, name))

    def feed(self, topic: str, raw: bytes, now: int) -> Iterator[MappedSet]:
        """Take one message of the bag at the bag's time; yields the sets that it completes."""
        self._now = max(self._now, now)
        if topic not in self._handlers:
            return
        kind, handle = self._handlers[topic]
        handle(deserialize_message(raw, kind))
        yield from self._map_ready(self.settings.transform_timeout)

    def finish(self) -> Iterator[MappedSet]:
        """Yield the sets that are left at the end of the bag."""
        self._queue(self._synchroniser.flush())
        yield from self._map_ready(0.0)

    def report(self, stamp: int) -> DiagnosticArray:
        """The diagnostics so far."""
        unpaired = {name: pairing.unpaired for name, pairing in self._pairing.items()}
        self.health.camera_drops(self._synchroniser.drops, unpaired)
        return self.health.message(stamp)

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        self.health.received(camera, stamp_of(message.header))
        if not self.settings.measured_depth:
            self._add(camera, Shot(message))
        else:
            self._add(camera, self._pairing[camera].add_image(message))

    def _on_depth(self, camera: str, message: Image | CompressedImage) -> None:
        self._add(camera, self._pairing[camera].add_depth(message))

    def _add(self, camera: str, shot: Shot | None) -> None:
        if shot is not None:
            stamp = stamp_of(shot.image.header)
            self._queue(self._synchroniser.add(camera, stamp, shot))

    def _queue(self, sets: list[ImageSet[Shot]]) -> None:
        for images in sets:
            self.health.absent(images.missing)
            self._pending.append((self._now, images))

    def _map_ready(self, patience: float) -> Iterator[MappedSet]:
        """Map what has its calibration; give up what has waited for `patience` seconds."""
        still = []
        for since, images in self._pending:
            try:
                inputs = self._rigs.inputs_for(images)
                read = read_set(images, inputs)
                self.health.read(images.payloads, read.faults, {})
                seen = see_set(
                    self._pipeline,
                    read,
                    measured_depth=self.settings.measured_depth,
                    min_cameras=self.settings.min_cameras,
                )
                mapped = map_seen(self._pipeline, seen, self.vocabulary)
            except NotReady as error:
                if self._now - since < patience * 1e9:
                    still.append((since, images))
                else:
                    self._drop(images, error.reason, error)
            except ValueError as error:
                self._drop(images, BAD_INPUT, error)
            else:
                self.mapped += 1
                self.health.mapped(mapped.seconds, (*images.missing, *read.faults))
                yield mapped
        self._pending = still

    def _drop(self, images: ImageSet[Shot], reason: str, error: Exception) -> None:
        _LOGGER.error('set at %.3f s not mapped: %s', images.stamp / 1e9, error)
        self.health.dropped(reason, str(error))


def replay(source: Path, target: Path, settings: Settings, names: Sequence[str]) -> int:
    """Map a bag and write inputs and outputs; returns the number of sets mapped.

    The target appears when it is complete.

    Raises:
        ValueError: the bag cannot be read, lacks the images, holds outputs already, or no set of
            it could be mapped; or the target exists.
    """
    with BagReader(source) as reader:
        _check_topics(reader, settings, names)
        run = Replay(settings, _transforms(reader))
        outputs = Outputs(settings)
        kinds = {name: kind for name, kind in outputs.types.items() if name in names}
        with BagWriter(target) as writer:
            for name, kind in kinds.items():
                writer.add(f'{NODE}/{name}', kind, latched=name == 'occupancy_grid')
            writer.add(f'{NODE}/categories', Categories, latched=True)
            writer.add('/diagnostics', DiagnosticArray)

            def write(mapped: MappedSet, now: int) -> None:
                if run.mapped == 1:
                    words = categories_message(run.vocabulary, mapped.stamp)
                    writer.write(f'{NODE}/categories', words, now)
                for name, message in outputs.make(kinds, mapped):
                    writer.write(f'{NODE}/{name}', message, now)
                writer.write('/diagnostics', run.report(mapped.stamp), now)

            now = 0
            for connection, now, raw in tqdm(
                reader.messages(), total=reader.count, unit='msg', desc='replay'
            ):
                writer.copy(connection, raw, now)
                for mapped in run.feed(connection.topic, raw, now):
                    write(mapped, now)
            for mapped in run.finish():
                write(mapped, now)
            if not run.mapped:
                raise ValueError(
                    f'{source}: no set could be mapped: {run.report(0).status[0].message}'
                )
            writer.complete()
    return run.mapped


def _transforms(reader: BagReader) -> tf2_ros.Buffer:
    """All transforms of the bag: with a file, none has to come late."""
    buffer = tf2_ros.Buffer(cache_time=Duration(nanoseconds=reader.duration + 10 * 10**9))
    for connection, _, raw in reader.messages('/tf', '/tf_static'):
        for transform in deserialize_message(raw, TFMessage).transforms:
            if connection.topic == '/tf_static':
                buffer.set_transform_static(transform, 'bag')
            else:
                buffer.set_transform(transform, 'bag')
    return buffer


def _check_topics(reader: BagReader, settings: Settings, names: Sequence[str]) -> None:
    wanted = {camera.image_topic for camera in settings.cameras}
    if not wanted & reader.topics.keys():
        raise ValueError(
            f'{reader.path}: expected images on {", ".join(sorted(wanted))}; the bag has '
            f'{", ".join(sorted(reader.topics)) or "nothing"}'
        )
    ours = {f'{NODE}/{name}' for name in (*names, 'categories')} & reader.topics.keys()
    if ours:
        raise ValueError(f'{reader.path} holds outputs already: {", ".join(sorted(ours))}')


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    keep_freed_memory()
    try:
        values = read_parameter_file(options.params_file) if options.params_file else {}
        settings = read_settings(values)
        count = replay(options.input, options.output, settings, options.outputs)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-replay: {error}') from None
    print(f'{count} sets mapped -> {options.output}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='gausstr-replay',
        description='Map a recorded drive without a ROS graph: bag in, bag with the map out.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('input', metavar='IN', type=Path, help='rosbag2 folder or .mcap file')
    parser.add_argument('output', metavar='OUT', type=Path, help='.mcap file or folder to write')
    parser.add_argument('--params-file', type=Path, help="the node's parameters, ROS 2 YAML")
    parser.add_argument(
        '--outputs',
        nargs='+',
        choices=DEFAULT_OUTPUTS + OPTIONAL_OUTPUTS,
        default=DEFAULT_OUTPUTS,
        help=f'default: {" ".join(DEFAULT_OUTPUTS)}; categories and diagnostics always come along',
    )
    return parser


if __name__ == '__main__':
    main()
