"""Full-size foundation networks with random weights: the features mean nothing, time does."""

from __future__ import annotations

import torch

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.features.clip_vision import ClipVision
from gausstr_core.foundation.features.dinov2 import DinoV2Features
from gausstr_core.foundation.features.jbu import JointBilateralStack
from gausstr_core.foundation.features.maskclip import MaskClipFeatures
from gausstr_core.foundation.interface import DepthNetwork

# [channels, rows, columns] of one image's features
SHAPES = {'talk2dino': (768, 36, 64), 'featup': (512, 27, 48)}


def random_foundation(preset: str, depth: DepthNetwork) -> CombinedFoundation:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20261122)
        features = {'talk2dino': _dinov2, 'featup': _maskclip}[preset]()
    return CombinedFoundation(features, depth)


def _dinov2() -> DinoV2Features:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    # its defaults are the Base size
    config = Dinov2WithRegistersConfig(patch_size=14, image_size=518)
    return DinoV2Features(Dinov2WithRegistersModel(config))


def _maskclip() -> MaskClipFeatures:
    tower = ClipVision(width=768, patch=16, grid=14, layers=12, out=512)
    return MaskClipFeatures(tower, JointBilateralStack(tower.out))
