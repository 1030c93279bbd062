"""What the node has between configure and cleanup: the model, its vocabulary, and its settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gausstr_core.device_memory import DeviceMemory
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.compilation import COMPILING, watched_compilation
from gausstr_core.process.memory import peak_memory
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_ros.cycle.build import (
    build_pipeline,
    remembering_in_force,
    rule_in_force,
    warm_memory,
    warm_up,
)
from gausstr_ros.cycle.past import Past
from gausstr_ros.listening.transform_buffer import TransformBuffer
from gausstr_ros.messages.grids_and_clouds import band_slice
from gausstr_ros.node.worker import Plan
from gausstr_ros.publishing.output_topics import OutputTopics
from gausstr_ros.publishing.outputs import Outputs
from gausstr_ros.settings.settings import Settings
from gausstr_ros.vocabulary.in_force import VocabularyInForce

_LOGGER = logging.getLogger(__name__)


def _nobody(doing: str) -> None:
    """Who is told where nobody waits."""


@dataclass(frozen=True)
class Loaded:
    """A model that has run once."""

    pipeline: OccupancyPipeline
    vocabulary: Vocabulary  # that it starts with
    plan: Plan


@dataclass
class Configured:
    """All of it; settings and plan change with the parameters."""

    settings: Settings
    pipeline: OccupancyPipeline
    memory: DeviceMemory
    vocabulary: VocabularyInForce
    topics: OutputTopics
    plan: Plan
    # static transforms are kept while the node is inactive: who sent them may not do so again
    transforms: TransformBuffer = field(default_factory=TransformBuffer)
    past: Past = field(default_factory=Past)

    def check(self, settings: Settings) -> None:
        """Raise ValueError unless these settings can take the place of those in force."""
        band_slice(self.pipeline.grid, settings.band)  # may have been lowered
        if plan(self.pipeline, settings).outputs.types != self.plan.outputs.types:
            raise ValueError(
                'activation_category: ~/<camera>/activation is offered or not when the node is '
                'configured; clean it up first'
            )

    def use(self, settings: Settings) -> None:
        """Let other settings, checked before, take that place."""
        self.settings, self.plan = settings, plan(self.pipeline, settings)


def load(settings: Settings, tell: Callable[[str], None] = _nobody) -> Loaded:
    """Load the model and run everything once, so that nothing is left to compile for a set.

    Args:
        settings: what to load.
        tell: called with what is being done, for who waits; the log has it too.

    Raises:
        ValueError: as `build_pipeline` and `plan`, or the vocabulary file is wrong.
    """
    tell(f'loading {settings.preset}')
    _LOGGER.info('loading %s on %s', settings.preset, settings.device)
    pipeline = build_pipeline(settings)
    tell('encoding the words of the start')
    vocabulary = pipeline.load_vocabulary(settings.vocabulary_file or None)
    chosen = plan(pipeline, settings)
    started, compiled = time.monotonic(), list[str]()

    def compiling(kernel: str) -> None:
        if not compiled:
            _LOGGER.info(COMPILING)
        compiled.append(kernel)
        tell(f'compiling kernel {len(compiled)}: {kernel}')

    tell('running once')
    # every output once: on a fresh machine compiling what draws them takes as long as a drive;
    # nothing is left out of what nobody sees, so that no warning is spent on it
    unlimited = Outputs(replace(settings, max_gaussians=10**6, max_cubes=10**7))
    with watched_compilation(compiling):
        once = warm_up(pipeline, settings, vocabulary)
        for _ in unlimited.make(list(unlimited.types), warm_memory(chosen.memory, once)):
            pass
    _LOGGER.info(
        '%s on %s is ready, first run took %.1f s, %d kernels compiled, peak memory %s',
        settings.preset, settings.device, time.monotonic() - started, len(compiled),
        peak_memory(settings.device),
    )  # fmt: skip
    return Loaded(pipeline, vocabulary, chosen)


def plan(pipeline: OccupancyPipeline, settings: Settings) -> Plan:
    """How sets are mapped by these settings.

    Raises:
        ValueError: as `rule_in_force` and `remembering_in_force`.
    """
    rule = rule_in_force(pipeline, settings)
    memory = remembering_in_force(pipeline, settings, rule)
    return Plan(rule, Outputs(settings), settings.min_cameras, memory)
