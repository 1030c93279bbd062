"""The one thread that does the work: newest set in, messages out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.vocabulary import Vocabulary
from gausstr_ros.categories import VocabularyInForce
from gausstr_ros.diagnostics import Health
from gausstr_ros.inputs import RigInputs, Shot
from gausstr_ros.mapper import map_set
from gausstr_ros.outputs import Outputs
from gausstr_ros.synchroniser import ImageSet
from gausstr_ros.waiting import BAD_INPUT, WaitingSets

_LOGGER = logging.getLogger(__name__)

FAILURE = 'failure in the pipeline'


class Worker(threading.Thread):
    """Takes the newest set that is ready, maps it and publishes it, until it is stopped.

    A set that fails is reported in /diagnostics and counted, then comes the next one.

    Args:
        waiting: where sets come from.
        pipeline: the core.
        vocabulary: read once per set.
        outputs: makes the messages.
        wanted: names of the outputs that somebody listens to.
        publish: sends one output by name.
        first_use: called before the outputs of the first set that uses a vocabulary.
        health: told of everything.
        measured_depth: whether depth comes from topics.
    """

    def __init__(
        self,
        waiting: WaitingSets[Shot, RigInputs],
        pipeline: OccupancyPipeline,
        vocabulary: VocabularyInForce,
        outputs: Outputs,
        *,
        wanted: Callable[[], list[str]],
        publish: Callable[[str, Any], None],
        first_use: Callable[[Vocabulary, int], None],
        health: Health,
        measured_depth: bool,
    ) -> None:
        super().__init__(name='gausstr worker', daemon=True)
        self._waiting = waiting
        self._pipeline = pipeline
        self._vocabulary = vocabulary
        self._outputs = outputs
        self._wanted = wanted
        self._publish = publish
        self._first_use = first_use
        self._health = health
        self._measured_depth = measured_depth

    def stop(self) -> None:
        """Finish the set in work and end."""
        self._waiting.close()
        self.join()

    def run(self) -> None:
        """Work until stopped."""
        while (taken := self._waiting.take()) is not None:
            arrival, images, inputs = taken
            try:
                self._cycle(arrival, images, inputs)
            except ValueError as error:
                _LOGGER.error('set at %.3f s not mapped: %s', images.stamp / 1e9, error)
                self._health.dropped(BAD_INPUT, str(error))
            except Exception as error:  # whatever it is, the next set gets its chance
                _LOGGER.exception('set at %.3f s not mapped', images.stamp / 1e9)
                self._health.dropped(FAILURE, f'{type(error).__name__}: {error}')

    def _cycle(self, arrival: float, images: ImageSet[Shot], inputs: RigInputs) -> None:
        started = time.monotonic()
        vocabulary, first = self._vocabulary.begin_cycle(images.stamp)
        if first:
            self._first_use(vocabulary, images.stamp)
        names = self._wanted()
        if not names:
            self._health.idle()
            return
        mapped = map_set(
            self._pipeline, images, inputs, vocabulary, measured_depth=self._measured_depth
        )
        done = time.monotonic()
        for name, message in self._outputs.make(names, mapped):
            self._publish(name, message)
        now = time.monotonic()
        seconds = {
            'waiting': started - arrival,
            **mapped.seconds,
            'publishing': now - done,
            'total': now - arrival,
        }
        self._health.mapped(seconds, images.missing)
