"""Filling a cache: what a worker does with a frame, the same in this process and on a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gausstr_training.targets.codec import CodecSettings, Summary
from gausstr_training.targets.container import DamagedFile
from gausstr_training.targets.frames import FrameSource, TargetFrame
from gausstr_training.targets.masks import StoredMasks
from gausstr_training.targets.networks import TeacherSpec
from gausstr_training.targets.online import KEPT, MaskSource, Teacher
from gausstr_training.targets.sights import LIDAR, RENDERER, Sight, lidar_sight, street_sight

FAILED = 'failed'


@dataclass(frozen=True)
class FillSpec:
    """Everything a worker has to know; picklable."""

    frames: FrameSource
    teacher: TeacherSpec
    root: Path  # of the cache; on a cluster a folder that all machines see
    settings: CodecSettings = field(default_factory=CodecSettings)
    device: str = 'cpu'
    threads: int = 1  # of torch in each worker: sums depend on it in the last bit
    masks: Path | None = None  # folder of label maps
    bags: Mapping[str, Path] = field(default_factory=dict)  # where the bag of each name lies
    verify: bool = False  # read the images of frames that are there, to see whether they changed


@dataclass(frozen=True)
class Outcome:
    """What became of a frame."""

    index: int
    key: str
    how: str  # 'kept', 'made', 'made again' or 'failed'
    note: str  # why again, or why it failed
    summary: Summary | None  # of the file; None where it failed
    worker: tuple[str, int]  # machine and process; ('', 0) where the worker died


class Filler:
    """Fills the cache frame by frame; lives in a worker and loads the teacher there."""

    def __init__(self, spec: FillSpec) -> None:
        self._spec, self._keys = spec, spec.frames.keys
        self._teacher: Teacher | None = None
        self._masks: StoredMasks | None = None

    def fill(self, index: int) -> Outcome:
        """See to it that the cache has the targets of a frame.

        What is wrong with one frame is its outcome; the others need not wait for that.

        Raises:
            ValueError: the teacher does not load, or the folder of masks is wrong.
            OSError: the cache cannot be written.
        """
        teacher = self._loaded()
        try:
            how, note, summary = self._filled(teacher, index)
        except ValueError as error:
            how, note, summary = FAILED, str(error), None
        worker = (socket.gethostname(), os.getpid())
        return Outcome(index, self._keys[index], how, note, summary, worker)

    def _loaded(self) -> Teacher:
        if self._teacher is None:
            spec = self._spec
            torch.set_num_threads(spec.threads)
            self._masks = StoredMasks(spec.masks) if spec.masks else None
            self._teacher = Teacher.load(spec.teacher, spec.root, spec.settings, spec.device)
        return self._teacher

    def _filled(self, teacher: Teacher, index: int) -> tuple[str, str, Summary | None]:
        key, cache = self._keys[index], teacher.cache
        assert cache is not None
        if not self._spec.verify:
            try:
                summary = cache.check(key)
            except DamagedFile:
                summary = None  # the teacher meets it again, and says so
            if summary is not None and (summary.masks or self._masks is None):
                return KEPT, '', summary
        try:
            frame = self._spec.frames[index]
        except OSError as error:  # of the bag's disk: those of the cache end the work
            raise ValueError(str(error)) from error
        masks, sight = self._masks_of(frame), self._sight_of(frame)
        how = teacher.packed_for(key, frame.images, frame.rig, masks, sight)[1]
        how, _, note = how.partition(': ')
        return how, note, cache.check(key)

    def _sight_of(self, frame: TargetFrame) -> Sight | None:
        if self._spec.teacher.name == RENDERER:
            return street_sight(frame, self._spec.bags)
        return lidar_sight(frame) if self._spec.teacher.depth == LIDAR else None

    def _masks_of(self, frame: TargetFrame) -> MaskSource | None:
        if self._masks is None:
            return None
        masks, names, stamps = self._masks, frame.rig.names, tuple(frame.image_stamps)
        return lambda size: masks.of(names, stamps, size)
