"""The core for the node, made from its parameters, and run once before the first set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.parallel import use_threads
from gausstr_core.stamps import SECOND
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.rules import CalibratedRule, ReleasedRule, Rule
from gausstr_ros.cycle.past import Past, Remembering
from gausstr_ros.cycle.steps import MappedSet
from gausstr_ros.settings.settings import Settings


def build_pipeline(settings: Settings) -> OccupancyPipeline:
    """The pipeline that the parameters ask for.

    Raises:
        ValueError: the weights cannot be read or the device is absent.
    """
    use_threads(settings.threads or torch.get_num_threads())
    return OccupancyPipeline.from_preset(
        settings.preset,
        settings.device,
        settings.grid,
        settings.weights or None,
        folder=settings.weights_folder or None,
        depth='none' if settings.measured_depth else settings.depth_network or None,
        rule=settings.rule or None,
        networks=settings.networks,
        lattice=settings.lattice,
        word_temperature=settings.word_temperature or None,
    )


def rule_in_force(pipeline: OccupancyPipeline, settings: Settings) -> Rule:
    """The pipeline's rule with the thresholds that the parameters set.

    Raises:
        ValueError: it has no such threshold.
    """
    rule = pipeline.rule_for(settings.depth_source)
    if settings.class_temperature > 0:
        if not isinstance(rule, CalibratedRule):
            raise ValueError(
                'map.class_temperature is of the calibrated rule; '
                f'preset {settings.preset} has the released one, see map.rule'
            )
        rule = replace(rule, class_temperature=settings.class_temperature)
    if settings.occupied_threshold > 0:
        assert isinstance(rule, CalibratedRule | ReleasedRule)
        rule = replace(rule, occupied_threshold=settings.occupied_threshold)
    return rule


def remembering_in_force(
    pipeline: OccupancyPipeline, settings: Settings, rule: Rule
) -> Remembering | None:
    """By what is remembered; None where nothing shall be.

    Raises:
        ValueError: there is no evidence for the rule, or the weights' card is damaged.
    """
    if settings.memory is None:
        return None
    try:
        return Remembering(settings.memory, pipeline.evidence_for(settings.depth_source, rule))
    except ValueError as error:
        raise ValueError(f'memory.seconds is {settings.memory.seconds:g}: {error}') from error


def warm_up(pipeline: OccupancyPipeline, settings: Settings, vocabulary: Vocabulary) -> MappedSet:
    """Map grey images, so that kernels compile before the first set; what came out of them."""
    count = len(settings.cameras)
    intrinsics = torch.tensor([[250.0, 0.0, 160.0], [0.0, 250.0, 90.0], [0.0, 0.0, 1.0]])
    ego_from_camera = torch.tensor(
        [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
    )
    rig = CameraRig(
        settings.names,
        intrinsics.repeat(count, 1, 1),
        ego_from_camera.repeat(count, 1, 1),
        ((180, 320),) * count,
    )
    grey = [np.full((180, 320, 3), 128, np.uint8)] * count
    # no network may be there that could estimate what will be measured
    depth = [np.full((180, 320), 8.0, np.float32)] * count if settings.measured_depth else None
    return MappedSet(0, pipeline.run(grey, rig, vocabulary, depth), vocabulary, {})


def warm_memory(how: Remembering | None, mapped: MappedSet) -> MappedSet:
    """A set as a memory of its own gives it again, so that its kernels are compiled."""
    past = Past()
    for number in range(2):  # the second finds something to recall
        later = replace(mapped, stamp=mapped.stamp + number * SECOND)
        remembered = past.remember(later, how, np.eye(4))
    return replace(remembered, stamp=mapped.stamp)
