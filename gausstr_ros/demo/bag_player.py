"""Play a rosbag2 bag over DDS at a steady rate, the raw bytes as they are.

Playing starts when every topic of the bag has a matched subscription: what was published before
that would be lost. It is `ros2 bag play` for machines where rosbag2 is not installed. Like it, it
leaves topics out whose type is not installed here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from gausstr_core.bags.place import check_place
from gausstr_core.bags.reading import CDR, Bag, Message
from gausstr_core.process.command_line import Real
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_core.stamps import SECOND
from gausstr_ros.transport import use_shared_memory_profile

_LOGGER = logging.getLogger('gausstr_ros.demo.bag_player')  # also where this file is __main__

EXAMPLE = 'example: python -m gausstr_ros.demo.bag_player drive/bag --rate 1.25'
# Deep enough for a burst of a bag; readers that keep up never need it.
_DEPTH = 50


class BagPlayer:
    """Publishers for every topic of a bag, which is held in memory.

    A topic whose type is not installed, or that is not CDR, is left out with a warning.

    Args:
        node: what the publishers belong to.
        bag: an open one.

    Raises:
        ValueError: a topic has messages of two types, or none can be published.
    """

    def __init__(self, node: Node, bag: Bag) -> None:
        self._node = node
        messages = list(bag.messages())
        last = {message.topic: message for message in messages}
        for message in messages:
            if message.kind != (other := last[message.topic].kind):
                raise ValueError(
                    f'{bag.path}: {message.topic} is both {message.kind} and {other}, expected '
                    'one type'
                )
        self._kinds = {topic: message.kind for topic, message in last.items()}
        self._publishers = {}
        for topic, message in last.items():
            try:
                self._publishers[topic] = self._publisher(message)
            except ValueError as error:
                _LOGGER.warning('left out: %s', error)
        if last and not self._publishers:
            raise ValueError(f'{bag.path}: no topic of it can be published here')
        self._messages = [m for m in messages if m.topic in self._publishers]

    def unmatched(self) -> list[str]:
        """Topics that nobody listens to yet."""
        return [t for t, p in self._publishers.items() if not p.get_subscription_count()]

    def wait_matched(self, timeout: float) -> None:
        """Wait until somebody listens to every topic.

        Raises:
            ValueError: nobody came in time, or with another type than the bag's; the topics are
                named.
        """
        end = time.monotonic() + timeout
        while topics := self.unmatched():
            if time.monotonic() > end:
                raise ValueError(
                    f'nobody subscribed within {timeout:g} s to '
                    f'{", ".join(self._described(topic) for topic in sorted(topics))}'
                )
            rclpy.spin_once(self._node, timeout_sec=0.02)

    def play(self, rate: float, sent: Callable[[str, bytes, float], None] | None = None) -> int:
        """Publish every message in the rhythm of the bag; the number of messages.

        Args:
            rate: how many seconds of the bag go by in one second.
            sent: told topic, bytes and `time.monotonic()` of each message.
        """
        started, first, count = time.monotonic(), 0, 0
        for message in self._messages:
            first = first or message.logged
            due = started + (message.logged - first) / 1e9 / rate
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            self._publishers[message.topic].publish(bytes(message.raw))
            count += 1
            if sent is not None:
                sent(message.topic, message.raw, time.monotonic())
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=2))
        return count

    def _described(self, topic: str) -> str:
        """A topic that nobody listens to, and who would if its type were another."""
        listeners = [
            f'{info.node_name} as {info.topic_type}'
            for info in self._node.get_subscriptions_info_by_topic(topic)
            if info.topic_type != self._kinds[topic]
        ]
        if not listeners:
            return topic
        return (
            f'{topic} ({self._kinds[topic]} in the bag, heard by {", ".join(sorted(listeners))}: '
            'see image_topic and image_transport, camera_info_topic or depth_topic of the node)'
        )

    def _publisher(self, message: Message) -> Any:
        if message.encoding != CDR:
            raise ValueError(
                f'{message.topic}: {message.kind} is serialised as {message.encoding!r}, '
                f'expected {CDR!r}'
            )
        package, _, name = message.kind.replace('/msg/', '/').partition('/')
        try:
            kind = getattr(importlib.import_module(f'{package}.msg'), name)
        except (ImportError, AttributeError, TypeError) as error:
            raise ValueError(
                f'{message.topic}: message type {message.kind} is not installed'
            ) from error
        profile = QoSProfile(depth=_DEPTH)
        if message.latched:
            profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
        return self._node.create_publisher(kind, message.topic, profile)


def play_bag(options: argparse.Namespace) -> int:
    """Play the bag of the command line and write the report; the number of messages.

    Raises:
        ValueError: the bag cannot be read, or nobody subscribed.
    """
    times: list[tuple[str, int, float]] = []

    def note(topic: str, raw: bytes, now: float) -> None:
        if '/image_raw' in topic:
            times.append((topic, header_stamp(raw), now))

    check_place(options.bag)
    with Bag(options.bag) as bag:
        node = rclpy.create_node('bag_player')
        try:
            player = BagPlayer(node, bag)
            player.wait_matched(options.timeout)
            count = player.play(options.rate, note)
            if options.report:
                write_report(options.report, times)
            print(f'played {count} messages of {options.bag}', flush=True)
            if options.hold:
                _wait_for_signal()
        finally:
            node.destroy_node()
    return count


def header_stamp(raw: bytes) -> int:
    """Nanoseconds of the stamp in the CDR bytes of a message that begins with a header."""
    order = 'little' if raw[1] & 1 else 'big'
    seconds = int.from_bytes(raw[4:8], order, signed=True)
    return seconds * SECOND + int.from_bytes(raw[8:12], order)


def write_report(path: Path, times: Sequence[tuple[str, int, float]]) -> None:
    """Write when each image was sent, aside first: [[topic, stamp ns, monotonic s], ...]."""
    aside = path.with_name(f'{path.name}.part')
    aside.write_text(json.dumps(times))
    os.replace(aside, path)


def _wait_for_signal() -> None:
    """Latched messages and shared-memory buffers die with this process: stay until told."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    done.wait()


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='python -m gausstr_ros.demo.bag_player',
        description='Play a bag over DDS once every topic of it has a subscriber.',
        epilog=EXAMPLE,
    )
    result.add_argument('bag', type=Path, help='rosbag2 folder or .mcap file')
    result.add_argument(
        '--rate', type=Real(0.001, 1000.0), default=1.0, metavar='R',
        help='1 is real time (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--timeout', type=Real(0.0, 86400.0), default=30.0, metavar='S',
        help='seconds to wait for readers (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--report', type=Path, metavar='FILE',
        help='JSON of when images were sent (default: none)',
    )  # fmt: skip
    result.add_argument('--hold', action='store_true', help='after playing stay until stopped')
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    keep_freed_memory()
    use_shared_memory_profile(os.environ)
    rclpy.init()
    try:
        play_bag(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f'bag_player: {told(error)}') from None
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
