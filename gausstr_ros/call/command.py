"""gausstr-call: words, diagnostics and maps of a running node, without the ROS 2 tools.

`ros2 service call` and `ros2 topic echo` do the same where ROS is installed; the environment of
`make setup` has neither.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from gausstr_core.process.command_line import Real
from gausstr_core.process.reasons import told
from gausstr_core.stamps import nanoseconds
from gausstr_core.vocabulary.vocabulary import Category, read_categories
from gausstr_msgs.srv import GetCategories, SetCategories
from gausstr_ros.call.asking import NODE, Asker, Unanswered
from gausstr_ros.call.map_files import check_folder, write_map
from gausstr_ros.call.reports import has_error, statuses_of, worst, written
from gausstr_ros.call.words import outcome, parse_category, request, table
from gausstr_ros.publishing.output_topics import LATCHED
from gausstr_ros.transport import use_shared_memory_profile

ENCODING = 60.0  # seconds that the first words may take on a machine that is busy
# Seconds to wait for a map newer than the latched one, which may be of long ago: what nobody
# listens to is not made.
NEWER_WITHIN = 3.0
SECONDS = Real(0.0, 86400.0)
EXAMPLE = """\
examples:
  gausstr-call set car person ground:ground
  gausstr-call set 'van=van,delivery van,minibus' ground=road,pavement:ground
  gausstr-call set --file words.yaml
  gausstr-call get
  gausstr-call clear-memory
  gausstr-call diagnostics
  gausstr-call save-map maps/now
  gausstr-call get --node /robot/gausstr
"""


def set_words(asker: Asker, options: argparse.Namespace) -> int:
    """Replace the vocabulary."""
    categories = _wanted(options)
    reply = asker.call('set_categories', SetCategories, request(categories), ENCODING)
    if not reply.success:
        raise ValueError(f'{asker.name} refuses: {reply.message}')
    print(outcome(reply))
    return 0


def _wanted(options: argparse.Namespace) -> list[Category]:
    if options.file is not None and options.words:
        raise ValueError('set: give categories or --file, not both')
    if options.file is not None:
        return read_categories(options.file)
    if not options.words:
        raise ValueError('set: expected at least one category, such as car, or --file')
    return [parse_category(text) for text in options.words]


def get_words(asker: Asker, options: argparse.Namespace) -> int:
    """Print the vocabulary in force."""
    found = asker.call('get_categories', GetCategories, GetCategories.Request()).categories
    if not found.categories:
        raise ValueError(f'{asker.name} has no vocabulary: the node is not configured')
    print(table(found))
    return 0


def clear_memory(asker: Asker, options: argparse.Namespace) -> int:
    """Have the node forget what it remembers."""
    reply = asker.call('clear_memory', Trigger, Trigger.Request())
    if not reply.success:
        raise ValueError(f'{asker.name} refuses: {reply.message}')
    print('the memory is empty')
    return 0


def diagnostics(asker: Asker, options: argparse.Namespace) -> int:
    """Print what /diagnostics says of the node; 1 where a status is ERROR."""
    reports: list[list[DiagnosticStatus]] = []

    def take(report: DiagnosticArray, published: float) -> None:
        if statuses := statuses_of(asker.name, report):
            reports.append(statuses)

    asker.hear('/diagnostics', DiagnosticArray, take, QoSProfile(depth=10))
    asker.wait(lambda: bool(reports), f'no status of {asker.name} on /diagnostics')
    asker.spin(lambda: False, options.seconds)
    statuses = worst(reports)
    print(written(statuses, values=not options.brief))
    return int(has_error(statuses))


def save_map(asker: Asker, options: argparse.Namespace) -> int:
    """Write the newest ~/occupancy_grid as map_server reads it."""
    check_folder(options.folder, overwrite=options.overwrite)  # before anybody waits
    maps: list[tuple[OccupancyGrid, float]] = []
    topic, asked = f'{asker.name}/occupancy_grid', time.time()
    asker.hear(topic, OccupancyGrid, lambda *heard: maps.append(heard), LATCHED)
    asker.wait(lambda: bool(maps), f'no map on {topic}')
    asker.spin(lambda: maps[-1][1] >= asked, NEWER_WITHIN)
    grid, published = maps[-1]
    path = write_map(grid, options.folder, overwrite=options.overwrite)
    old = f', made {asked - published:.0f} s ago: no newer one came' if published < asked else ''
    header = grid.header
    print(f'{path}: {header.frame_id} at {nanoseconds(header.stamp) / 1e9:.3f} s{old}')
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    at = given.index('--ros-args') if '--ros-args' in given else len(given)
    options = parser().parse_args(given[:at])
    use_shared_memory_profile(os.environ)
    try:
        with Asker(options.node, options.timeout, given[at:]) as asker:
            code = options.run(asker, options)
    except (ValueError, Unanswered, OSError) as error:
        raise SystemExit(f'gausstr-call: {told(error)}') from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-call: interrupted') from None
    if code:
        raise SystemExit(code)


def parser() -> argparse.ArgumentParser:
    """Options of the command, verb by verb."""
    result = argparse.ArgumentParser(
        prog='gausstr-call',
        description='Words, diagnostics and maps of a running node, without the ROS 2 tools.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    of_all = argparse.ArgumentParser(add_help=False)
    of_all.add_argument('--node', default=NODE, help='name with namespace (default: %(default)s)')
    of_all.add_argument(
        '--timeout',
        type=SECONDS,
        default=10.0,
        metavar='S',
        help='seconds that an answer may take, and 60 those of new words (default: %(default)s)',
    )
    verbs = result.add_subparsers(title='what to do', required=True, metavar='VERB')

    def verb(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, parents=[of_all], help=text)
        made.set_defaults(run=run)
        return made

    _add_words(verb('set', set_words, 'replace the vocabulary'))
    verb('get', get_words, 'print the vocabulary in force')
    verb('clear-memory', clear_memory, 'forget what was seen before')
    _add_listening(
        verb('diagnostics', diagnostics, 'print the health; exit code 1 if a status is ERROR')
    )
    _add_target(verb('save-map', save_map, "write the map from above for Nav2's map_server"))
    return result


def _add_words(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        'words',
        nargs='*',
        metavar='NAME[=PROMPT,...][:ROLE]',
        help='a category; role object (default), ground or sky; prompts: by default the name',
    )
    verb.add_argument(
        '--file', type=Path, help='YAML instead, as the parameter vocabulary_file (default: none)'
    )


def _add_listening(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        '--brief',
        action='store_true',
        help='without the values below each status (default: with them)',
    )
    verb.add_argument(
        '--seconds',
        type=SECONDS,
        default=1.0,
        metavar='S',
        help='listen for so long, show each status at its worst (default: %(default)s)',
    )


def _add_target(verb: argparse.ArgumentParser) -> None:
    verb.add_argument('folder', type=Path, metavar='DIR', help='gets map.pgm and map.yaml')
    verb.add_argument(
        '--overwrite',
        action='store_true',
        help='replace a map that lies there (default: it is an error)',
    )


if __name__ == '__main__':
    main()
