"""The process of the node: its memory, threads and signals, and what ends it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import Any

import rclpy
import torch
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from gausstr_core.process.memory import keep_freed_memory
from gausstr_ros.health.ros_logging import RosHandler
from gausstr_ros.health.stage_times import StuckError
from gausstr_ros.node.arguments import check_arguments, check_files
from gausstr_ros.node.lifecycle_node import GaussTRNode
from gausstr_ros.transport import use_shared_memory_profile

_LOGGER = logging.getLogger('gausstr_ros.node.process')  # also where this file is __main__

NOTICE_WITHIN = 0.2  # seconds from a signal to its effect: rclpy waits without looking at them
LAST_WORDS = 1.0  # seconds for replies and diagnostics to leave a process that gives up
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if {'-h', '--help'} & set(arguments):
        print(HELP)
        return
    try:
        check_arguments(arguments)
    except ValueError as error:
        raise SystemExit(f'gausstr-node: {error}') from None
    if not keep_freed_memory():
        _LOGGER.debug('the allocator stays as it is')
    use_shared_memory_profile(os.environ)
    # What `threads: 0` means: the two threads of the worker share the cores. With all cores for
    # each, two cores made fewer cycles (docs/benchmarks.md).
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    # rclpy's own handlers end the context while the worker still publishes.
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    rclpy.init(args=[sys.argv[0], *arguments], signal_handler_options=SignalHandlerOptions.NO)
    try:
        _run(arguments)
    except (ValueError, ParameterException) as error:  # rclpy's own: use_sim_time
        raise SystemExit(f'gausstr-node: {error}') from None
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except StuckError as error:
        print(f'gausstr-node: {error}', file=sys.stderr, flush=True)
        os._exit(1)  # an end in order would wait for the thread that is stuck
    finally:
        rclpy.try_shutdown()


def _interrupt(number: int, frame: Any) -> None:
    """End in order at the first signal, at once at the second."""
    for each in _INTERRUPTS:
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> None:
    node = GaussTRNode()
    check_files(arguments, node.get_fully_qualified_name())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with RosHandler(node.get_logger()):
        try:
            if node.get_parameter('autostart').value:
                node.trigger_configure()
                if not node.fault:
                    node.trigger_activate()
                if node.fault:
                    raise ValueError(node.fault)
            while not node.stuck:
                executor.spin_once(NOTICE_WITHIN)
            end = time.monotonic() + LAST_WORDS
            while (left := end - time.monotonic()) > 0:
                executor.spin_once(left)
            raise StuckError(node.fault)
        finally:
            node.close()


HELP = """\
usage: gausstr-node [-h] [--ros-args [-p NAME:=VALUE] [--params-file FILE] [-r FROM:=TO] ...]

Map what six cameras see into labelled occupancy. A lifecycle node; it configures and activates
itself unless autostart is false. Parameters, topics and services: docs/ros.md.

options, those of ROS after --ros-args:
  -h, --help          show this
  -p NAME:=VALUE      a parameter (default: as docs/ros.md and `ros2 param describe` say)
  --params-file FILE  parameters, ROS 2 YAML; may be given again (default: the rig of nuScenes)
  -r FROM:=TO         another name of a topic; __ns:=/robot: a namespace (default: none)
  --log-level LEVEL   debug, info, warn, error or fatal (default: info)
  --enclave PATH      of SROS2, as in docs/security.md (default: none)

example: gausstr-node --ros-args -p image_transport:=raw -p fixed_frame:=map
"""

if __name__ == '__main__':
    main()
