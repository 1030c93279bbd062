"""The lifecycle node `gausstr`: parameters, wiring, one worker.

The executor's thread only stores messages. A device call that never returns ends the process: its
thread cannot be stopped, and what it uses cannot be taken away from it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from gausstr_core.device_memory import DeviceMemory
from gausstr_core.process.memory import return_freed_memory
from gausstr_ros.cycle.past import Past
from gausstr_ros.health.diagnostics import Health
from gausstr_ros.health.stage_times import StuckError
from gausstr_ros.listening.subscriptions import Subscriptions
from gausstr_ros.messages.grids_and_clouds import band_slice
from gausstr_ros.node.clear_memory import ClearMemory
from gausstr_ros.node.configured import Configured, load
from gausstr_ros.node.live_parameters import LiveParameters
from gausstr_ros.node.transition_requests import TransitionRequests
from gausstr_ros.node.worker import Worker
from gausstr_ros.publishing.output_topics import NO_EVENTS, OutputTopics
from gausstr_ros.settings.declaration import declare_parameters, parameter_values
from gausstr_ros.settings.settings import Settings, read_settings
from gausstr_ros.vocabulary.services import NOT_CONFIGURED, VocabularyServices

_LOGGER = logging.getLogger(__name__)

REPORT_EVERY = 1.0  # seconds, until the node is configured and while a transition runs
CHECK_EVERY = 0.5  # seconds between two looks at who connects to us and does not fit
OUT_OF_MEMORY = 'out of device memory'
DEACTIVATED = 'deactivated'  # why the memory starts afresh


class GaussTRNode(LifecycleNode):
    """See docs/ros.md for its parameters, topics and services.

    Raises:
        ValueError: a parameter is of the wrong type or out of its range.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('gausstr', **kwargs)
        declare_parameters(self)
        self.health = Health(node=self.get_fully_qualified_name())
        TransitionRequests(self, self.health)
        self.fault = ''  # why the last transition failed
        self.stuck = False  # whether only the end of the process helps
        self._configured: Configured | None = None
        self._live: LiveParameters | None = None
        self._running: tuple[Subscriptions, Worker] | None = None
        self._halt_reason = ''
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._vocabulary_services = VocabularyServices(self, self.health)
        ClearMemory(self, self._clear_past)
        self._diagnostics = self.create_publisher(
            DiagnosticArray, '/diagnostics', 10, event_callbacks=NO_EVENTS
        )
        self._reporting = self.create_timer(REPORT_EVERY, self._report, clock=self._steady)
        self._checking = self.create_timer(
            CHECK_EVERY, self._check_connections, clock=self._steady
        )
        self._halting = self.create_guard_condition(self._halt)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the model and the vocabulary, offer outputs and services."""
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
        return self._attempt('shutdown', self._shutdown)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured, or to finalized where a device call does not return."""
        return TransitionCallbackReturn.FAILURE if self.stuck else TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop the worker and release everything; may be called in any state.

        Raises:
            StuckError: a device call does not return; the threads and what they use stay behind.
        """
        if not self.stuck:
            self._stop()
            self._cleanup()

    def _shutdown(self) -> None:
        self.close()
        self.health.state('finalized')

    def _attempt(self, name: str, step: Any, *arguments: Any) -> TransitionCallbackReturn:
        """Run one transition; rclpy itself would swallow what it raises."""
        self.fault = ''
        try:
            with self.health.transition(name), self._reporting_meanwhile():
                step(*arguments)
        except (ValueError, OSError, StuckError) as error:
            self.fault = f'{name} failed: {error}'
            self.get_logger().error(self.fault)
        except Exception as error:
            self.fault = f'{name} failed: {type(error).__name__}: {error}'
            _LOGGER.exception('%s failed', name)
        if not self.fault:
            return TransitionCallbackReturn.SUCCESS
        self.health.failed(self.fault)
        with contextlib.suppress(StuckError):
            self.close()
        if self.stuck:
            self.health.halted(self.fault)
            self.health.state('finalized')
            self._report()
        if name in ('configure', 'shutdown'):
            return TransitionCallbackReturn.FAILURE
        # all is released: FAILURE would lead back to the state before, in which it was not
        return TransitionCallbackReturn.ERROR

    def _configure(self) -> None:
        settings = read_settings(parameter_values(self))
        self.health.watch(settings.watchdog_timeout)
        loaded = load(settings, partial(self.health.note, 'configure is'))
        self.health.configured(settings)
        with contextlib.ExitStack() as undo:
            topics = OutputTopics(self, loaded.plan.outputs.types, self.health)
            undo.callback(topics.close)
            past = Past()
            vocabulary = self._vocabulary_services.open(
                loaded.pipeline, loaded.vocabulary, past.relabel
            )
            undo.pop_all()
        self._configured = Configured(
            settings,
            loaded.pipeline,
            DeviceMemory(loaded.pipeline),
            vocabulary,
            topics,
            loaded.plan,
            past=past,
        )
        self._reporting.timer_period_ns = round(settings.diagnostics_period * 1e9)
        self._live = LiveParameters(self, self._configured.check, self._use)
        self.health.state('inactive')

    def _use(self, settings: Settings) -> None:
        """Go on with other settings, from the next set on."""
        parts = self._configured
        assert parts is not None
        parts.use(settings)
        self.health.watch(settings.watchdog_timeout)
        self._reporting.timer_period_ns = round(settings.diagnostics_period * 1e9)
        if self._running is not None:
            subscriptions, worker = self._running
            subscriptions.regroup(settings)
            worker.follow(parts.plan)

    def _activate(self, state: LifecycleState) -> None:
        parts = self._configured
        assert parts is not None
        parts.memory.enter()
        LifecycleNode.on_activate(self, state)
        subscriptions = Subscriptions(
            self, parts.settings, self.health, parts.transforms, parts.past.forget
        )
        worker = Worker(
            subscriptions.arrivals,
            parts.pipeline,
            parts.vocabulary,
            parts.plan,
            wanted=parts.topics.wanted,
            publish=parts.topics.publish,
            short_of_memory=self._short_of_memory,
            broken=self._broken,
            health=self.health,
            measured_depth=parts.settings.measured_depth,
            past=parts.past,
            ego_pose=subscriptions.ego_pose,
        )
        self._running = (subscriptions, worker)
        worker.start()
        self.health.state('active')

    def _deactivate(self, state: LifecycleState) -> None:
        self._stop()
        assert self._configured is not None
        self._clear_past(DEACTIVATED)
        self._configured.memory.leave()
        LifecycleNode.on_deactivate(self, state)
        self.health.state('inactive')

    def _clear_past(self, reason: str) -> str:
        """Forget what is remembered; why that cannot be, or ''."""
        parts = self._configured
        if parts is None:
            return NOT_CONFIGURED
        if parts.plan.memory is None:
            return 'memory.seconds is 0: nothing is remembered'
        parts.past.clear(reason)
        for key, value in parts.past.values().items():
            self.health.note(key, value)
        return ''

    def _stop(self) -> None:
        if self._running is not None:
            subscriptions, worker = self._running
            self._running = None
            subscriptions.close()
            self._within_limit(worker.stop)

    def _cleanup(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None
        if self._configured is not None:
            self._within_limit(self._vocabulary_services.close)
            self._configured.topics.close()
            self._configured = None
            return_freed_memory()
        self.health.state('unconfigured')

    def _within_limit(self, end: Callable[[float], None]) -> None:
        """Wait for threads; where they do not end, what they use is left to them, but silenced."""
        assert self._configured is not None
        try:
            end(self._configured.settings.watchdog_timeout)
        except StuckError:
            self.stuck = True
            self._configured.topics.silence()
            raise

    def _short_of_memory(self, error: torch.cuda.OutOfMemoryError) -> None:
        """In a thread of the worker: ask less of the device, or have the node stop."""
        parts = self._configured
        assert parts is not None
        self.health.dropped(OUT_OF_MEMORY, f'{OUT_OF_MEMORY}: {error}')
        step = None
        if parts.settings.lower_on_out_of_memory:
            step = parts.memory.lower(partial(band_slice, band=parts.settings.band))
        if step is not None:
            text = f'{OUT_OF_MEMORY}, from now on: {step}'
            _LOGGER.warning(text)
            self.health.lowered(text)
            self.health.note('memory profile', step)
            return
        lowered = parts.settings.lower_on_out_of_memory
        why = 'nothing smaller is left' if lowered else 'on_out_of_memory is stop'
        self._stop_soon(f'stopped: {OUT_OF_MEMORY}, {why}: {error}')

    def _broken(self, error: Exception) -> None:
        """In a thread of the worker, which ends."""
        self._stop_soon(f'stopped: failure in the worker, {type(error).__name__}: {error}')

    def _stop_soon(self, reason: str) -> None:
        self._halt_reason = reason
        self._halting.trigger()

    def _halt(self) -> None:
        """Deactivate, on the executor's thread."""
        if self._running is not None:
            _LOGGER.error(self._halt_reason)
            self.trigger_deactivate()
            if not self.fault:
                self.health.halted(self._halt_reason)

    def _check_connections(self) -> None:
        if self._configured is not None and not self.stuck:
            self._configured.topics.check()
        if self._running is not None:
            self._running[0].check()

    @contextlib.contextmanager
    def _reporting_meanwhile(self) -> Iterator[None]:
        """Go on with the diagnostics while a transition holds the executor's thread."""
        ended = threading.Event()

        def report() -> None:
            while not ended.wait(REPORT_EVERY):
                self._report()

        thread = threading.Thread(target=report, name='gausstr reporting', daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _report(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        sim_time = bool(self.get_parameter('use_sim_time').value)
        self._diagnostics.publish(self.health.message(stamp, sim_time=sim_time))
