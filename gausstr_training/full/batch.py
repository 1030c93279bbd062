"""Frames with their targets, and what all frames of a batch share: PCA basis and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_training.bags.frame import BagFrame
from gausstr_training.full.target_source import TargetSource
from gausstr_training.losses.paper import directions_of_moments, feature_moments
from gausstr_training.losses.released import Counts, Targets
from gausstr_training.losses.temporal import seen_from
from gausstr_training.processes import ranks


@dataclass(frozen=True)
class Views:
    """Cameras in the ego frame of a piece, and what they should show."""

    rig: CameraRig  # at the size of the depth
    targets: Targets


@dataclass(frozen=True)
class Scene:
    """One frame, and where they are wanted its neighbours in time."""

    position: int  # in the order of the training; all randomness hangs on it
    own: Views
    near: tuple[Views, ...] = ()

    @property
    def maps(self) -> FoundationMaps:
        """What the transformer reads."""
        return FoundationMaps(self.own.targets.features, self.own.targets.depth)


@dataclass(frozen=True)
class Shared:
    """What belongs to a whole batch, on all processes."""

    basis: Tensor  # [C, D] principal directions of the target features
    own: Counts
    near: Counts


@dataclass(frozen=True)
class Piece:
    """A scene as a part of its batch."""

    scene: Scene
    shared: Shared


def scene_of(
    position: int, frame: BagFrame, source: TargetSource, limit: float, temporal: bool
) -> Scene:
    """Ask for the targets of a frame, and of its neighbours for `temporal` supervision.

    Args:
        position: see `Scene`.
        frame: images of any size.
        source: gives the targets.
        limit: metres; where depths end.
        temporal: whether neighbours are wanted.
    """
    own = _views(frame, frame.rig, source)
    near = []
    for other in frame.neighbours if temporal else ():
        views = _views(other, frame.rig_of(other), source)
        seen = seen_from(views.targets.depth, views.rig, own.targets.depth, own.rig, limit)
        near.append(replace(views, targets=replace(views.targets, seen=seen)))
    return Scene(position, own, tuple(near))


def _views(frame: BagFrame, rig: CameraRig, source: TargetSource) -> Views:
    targets = source(frame)
    height, width = targets.depth.shape[-2:]
    return Views(rig.resized(height, width).to(targets.depth.device), targets)


def shared_by(scenes: Sequence[Scene], dims: int, limit: float, *, everywhere: bool) -> Shared:
    """PCA once for all layers, and the numbers that the losses are means over.

    Args:
        scenes: of this process, at least one.
        dims: of the basis.
        limit: metres; where depths end.
        everywhere: the batch is that of all processes, every one of which must call this.

    Raises:
        ValueError: the features have fewer channels than the basis wants.
    """
    channels = scenes[0].own.targets.features.shape[1]
    if channels < dims:
        raise ValueError(f'{channels} feature channels cannot be reduced to {dims} dimensions')
    moments = torch.stack([feature_moments(s.own.targets.features) for s in scenes]).sum(0)
    own = torch.stack([Counts.of(s.own.targets, limit).as_tensor() for s in scenes]).sum(0)
    near = torch.zeros_like(own)
    for views in (views for scene in scenes for views in scene.near):
        near += Counts.of(views.targets, limit).as_tensor()
    if everywhere:
        numbers = ranks.summed(torch.cat([moments.flatten(), own, near]))
        moments = numbers[: moments.numel()].view_as(moments)
        own, near = numbers[-2 * len(own) :].chunk(2)
    basis = directions_of_moments(moments, dims).float().contiguous()
    if everywhere:
        # another GPU model may turn the basis another way
        basis = ranks.tensor_of_first(basis)
    counts = (Counts.from_tensor(values).at_least_one() for values in (own, near))
    return Shared(basis, *counts)
