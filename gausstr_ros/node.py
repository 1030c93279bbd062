"""The lifecycle node `gausstr`: parameters, wiring, one worker.

The executor's thread only stores messages. Text is encoded in a thread of its own, so that
set_categories delays neither images nor maps; its reply comes when the first set uses the new
words, and names it, or after `REPLY_WITHIN` seconds where no set comes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from gausstr_core.memory import keep_freed_memory, peak_memory
from gausstr_core.vocabulary import Vocabulary
from gausstr_msgs.msg import Categories
from gausstr_msgs.srv import GetCategories, SetCategories
from gausstr_ros.categories import VocabularyInForce, categories_message, category_from_message
from gausstr_ros.conversions import time_message
from gausstr_ros.declaration import declare_parameters, parameter_values
from gausstr_ros.diagnostics import Health
from gausstr_ros.mapper import build_pipeline, warm_up
from gausstr_ros.outputs import Outputs
from gausstr_ros.ros_logging import RosHandler
from gausstr_ros.settings import Settings, read_settings
from gausstr_ros.subscriptions import Subscriptions
from gausstr_ros.transport import use_shared_memory_profile
from gausstr_ros.worker import Worker

_LOGGER = logging.getLogger('gausstr_ros.node')  # also where this file is __main__

REPLY_WITHIN = 2.0
NOTICE_WITHIN = 0.2  # seconds from a signal to its effect: rclpy waits without looking at them
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
# A latched map reaches who comes later, as Nav2's static layer expects; others may ignore it.
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NEWEST = QoSProfile(depth=1)


@dataclass
class _Configured:
    """What exists between configure and cleanup."""

    settings: Settings
    pipeline: Any
    vocabulary: VocabularyInForce
    outputs: Outputs
    publishers: dict[str, Any]
    categories: Any
    services: list[Any]
    encoding: ThreadPoolExecutor


class GaussTRNode(LifecycleNode):
    """See docs/ros.md for its parameters, topics and services.

    Raises:
        ValueError: a parameter is of the wrong type or out of its range.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('gausstr', **kwargs)
        declare_parameters(self)
        self.health = Health()
        self.fault = ''  # why the last transition failed
        self._configured: _Configured | None = None
        self._running: tuple[Subscriptions, Worker] | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._reporting = self.create_timer(1.0, self._report, clock=self._steady)
        self.add_on_set_parameters_callback(self._refuse_late_parameters)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the model and the words, offer outputs and services."""
        return self._attempt('configure', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the cameras and start the worker."""
        return self._attempt('activate', self._activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and free the accelerator; the model stays in main memory."""
        return self._attempt('deactivate', self._deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model, the outputs and the services."""
        return self._attempt('cleanup', self._cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything."""
        return self._attempt('shutdown', self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured."""
        return self._attempt('error', self.close)

    def close(self) -> None:
        """Stop the worker and release everything; may be called in any state."""
        self._stop()
        self._cleanup()

    def _attempt(self, name: str, step: Any, *arguments: Any) -> TransitionCallbackReturn:
        """Run one transition; rclpy itself would swallow what it raises."""
        self.fault = ''
        try:
            step(*arguments)
        except (ValueError, OSError) as error:
            self.fault = f'{name} failed: {error}'
            self.get_logger().error(self.fault)
        except Exception as error:
            self.fault = f'{name} failed: {type(error).__name__}: {error}'
            _LOGGER.exception('%s failed', name)
        if self.fault:
            self.health.failed(self.fault)
            self.close()
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        settings = read_settings(parameter_values(self))
        pipeline = build_pipeline(settings)
        vocabulary = pipeline.vocabulary(settings.vocabulary_file or None)
        started = time.monotonic()
        # every output once: on a fresh machine compiling what draws them takes as long as a drive;
        # nothing is left out of what nobody sees, so that no warning is spent on it
        unlimited = Outputs(replace(settings, max_gaussians=10**6, max_cubes=10**7))
        for _ in unlimited.make(list(unlimited.types), warm_up(pipeline, settings, vocabulary)):
            pass
        _LOGGER.info(
            '%s on %s is ready, first run took %.1f s, peak memory %s',
            settings.preset, settings.device, time.monotonic() - started,
            peak_memory(settings.device),
        )  # fmt: skip
        self.health.configured(settings)
        outputs = Outputs(settings)
        publishers = {
            name: self.create_lifecycle_publisher(
                kind,
                f'~/{name}',
                LATCHED if name == 'occupancy_grid' else NEWEST,
                event_callbacks=PublisherEventCallbacks(
                    incompatible_qos=partial(self._incompatible, name)
                ),
            )
            for name, kind in outputs.types.items()
        }
        categories = self.create_publisher(Categories, '~/categories', LATCHED)
        # A group of its own: the callback waits, and must not hold up the others.
        services = [
            self.create_service(
                SetCategories,
                '~/set_categories',
                self._set_categories,
                callback_group=MutuallyExclusiveCallbackGroup(),
            ),
            self.create_service(GetCategories, '~/get_categories', self._get_categories),
        ]
        self._configured = _Configured(
            settings,
            pipeline,
            VocabularyInForce(vocabulary),
            outputs,
            publishers,
            categories,
            services,
            ThreadPoolExecutor(1, 'gausstr text'),
        )
        self._announce(vocabulary, None)
        self._reporting.timer_period_ns = round(settings.diagnostics_period * 1e9)
        self.health.state('inactive')

    def _activate(self, state: LifecycleState) -> None:
        parts = self._configured
        assert parts is not None
        parts.pipeline.enter_device()
        LifecycleNode.on_activate(self, state)
        subscriptions = Subscriptions(self, parts.settings, self.health)
        worker = Worker(
            subscriptions.waiting,
            parts.pipeline,
            parts.vocabulary,
            parts.outputs,
            wanted=self._wanted,
            publish=lambda name, message: parts.publishers[name].publish(message),
            first_use=self._announce,
            health=self.health,
            measured_depth=parts.settings.measured_depth,
            min_cameras=parts.settings.min_cameras,
        )
        self._running = (subscriptions, worker)
        worker.start()
        self.health.state('active')

    def _deactivate(self, state: LifecycleState) -> None:
        self._stop()
        assert self._configured is not None
        self._configured.pipeline.leave_device()
        LifecycleNode.on_deactivate(self, state)
        self.health.state('inactive')

    def _stop(self) -> None:
        if self._running is not None:
            subscriptions, worker = self._running
            self._running = None
            subscriptions.close()
            worker.stop()

    def _cleanup(self) -> None:
        if self._configured is not None:
            parts, self._configured = self._configured, None
            parts.encoding.shutdown(wait=True, cancel_futures=True)
            for service in parts.services:
                self.destroy_service(service)
            for publisher in parts.publishers.values():
                self.destroy_lifecycle_publisher(publisher)
            self.destroy_publisher(parts.categories)
        self.health.state('unconfigured')

    def _wanted(self) -> list[str]:
        assert self._configured is not None
        publishers = self._configured.publishers
        return [name for name, p in publishers.items() if p.get_subscription_count()]

    def _announce(self, vocabulary: Vocabulary, first_stamp: int | None) -> None:
        assert self._configured is not None
        self._configured.categories.publish(categories_message(vocabulary, first_stamp))
        self.health.note('vocabulary', vocabulary.id)

    def _get_categories(
        self, request: GetCategories.Request, response: GetCategories.Response
    ) -> GetCategories.Response:
        assert self._configured is not None
        response.categories = categories_message(*self._configured.vocabulary.now)
        return response

    async def _set_categories(
        self, request: SetCategories.Request, response: SetCategories.Response
    ) -> SetCategories.Response:
        assert self._configured is not None
        done = Future(executor=self.executor)
        parts = self._configured
        parts.encoding.submit(self._change_vocabulary, parts, request, response, done)
        return await done

    def _change_vocabulary(
        self,
        parts: _Configured,
        request: SetCategories.Request,
        response: SetCategories.Response,
        done: Future,
    ) -> None:
        """In the text thread: encode, replace, wait for the first set, fill in the reply."""
        try:
            wanted = [category_from_message(message) for message in request.categories]
            with self.health.stage('encoding words'):
                vocabulary = parts.pipeline.words(wanted)
            parts.vocabulary.replace(vocabulary)
            self._announce(vocabulary, None)
            stamp = parts.vocabulary.wait_for_first_stamp(REPLY_WITHIN)
            response.success = True
            response.message = '; '.join(vocabulary.remarks) or 'ok'
            response.first_stamp = time_message(stamp or 0)
        except ValueError as error:
            response.message = str(error)
        except Exception as error:  # the caller must get a reply
            _LOGGER.exception('set_categories failed')
            response.message = f'{type(error).__name__}: {error}'
        if not response.success:
            self.get_logger().error(f'set_categories refused: {response.message}')
            self.health.failed(f'set_categories refused: {response.message}')
        response.vocabulary_id = parts.vocabulary.now[0].id
        done.set_result(response)
        self.executor.wake()

    def _incompatible(self, name: str, event: Any) -> None:
        policy = QoSPolicyKind(event.last_policy_kind).name.lower()
        text = f'~/{name}: a subscription asks for an incompatible {policy} and gets nothing'
        _LOGGER.warning(text)
        self.health.unheard(name, text)

    def _report(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        sim_time = bool(self.get_parameter('use_sim_time').value)
        self._diagnostics.publish(self.health.message(stamp, sim_time=sim_time))

    def _refuse_late_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        names = [parameter.name for parameter in changed if parameter.name != 'use_sim_time']
        if self._configured is None or not names:
            return SetParametersResult(successful=True)
        reason = f'{", ".join(names)}: read when the node is configured; clean it up first'
        return SetParametersResult(successful=False, reason=reason)


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if {'-h', '--help'} & set(arguments):
        print(HELP)
        return
    if not keep_freed_memory():
        _LOGGER.debug('the allocator stays as it is')
    use_shared_memory_profile(os.environ)
    # rclpy's own handlers end the context while the worker still publishes.
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    rclpy.init(args=[sys.argv[0], *arguments], signal_handler_options=SignalHandlerOptions.NO)
    try:
        _run()
    except ValueError as error:
        raise SystemExit(f'gausstr-node: {error}') from None
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


def _interrupt(number: int, frame: Any) -> None:
    """End in order at the first signal, at once at the second."""
    for each in _INTERRUPTS:
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt


def _run() -> None:
    node = GaussTRNode()
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
            while True:
                executor.spin_once(NOTICE_WITHIN)
        finally:
            node.close()


HELP = """\
usage: gausstr-node [--ros-args -p NAME:=VALUE ... --params-file FILE -r FROM:=TO ...]

Map what six cameras see into labelled occupancy. A lifecycle node; it configures and activates
itself unless autostart is false. Parameters, topics and services: docs/ros.md.

example: gausstr-node --ros-args -p image_transport:=raw -p fixed_frame:=map
"""

if __name__ == '__main__':
    main()
