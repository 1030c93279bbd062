"""The learning rate as a function of the step alone: a resumed run needs no more."""

from __future__ import annotations

import math

from gausstr_training.recipes import StageRecipe


def learning_rate(schedule: StageRecipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero, or steps down at the milestones.

    Args:
        schedule: the numbers.
        step: from 0.
        steps: of the whole stage.
    """
    if step < schedule.warmup:
        start = schedule.warmup_start or 1 / schedule.warmup
        share = step / max(schedule.warmup - 1, 1) if schedule.warmup > 1 else 1.0
        return schedule.learning_rate * (start + (1 - start) * share)
    if schedule.schedule == 'step':
        passed = sum(step >= round(share * steps) for share in schedule.milestones)
        return schedule.learning_rate * schedule.gamma**passed
    rest = (step - schedule.warmup) / max(steps - schedule.warmup, 1)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))
