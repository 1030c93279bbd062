"""The one object with state: cycles go in, maps of what is seen and remembered come out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.remembering import kernels, plain
from gausstr_core.remembering.compression import UNKNOWN, Compression, voxel_codes
from gausstr_core.remembering.evidence import Evidence
from gausstr_core.remembering.looking import Cycle, Present, looks
from gausstr_core.remembering.movements import GRID, checked_pose, reset_reason
from gausstr_core.remembering.naming import Names, names_of, rename
from gausstr_core.remembering.ring import NEVER, Ring
from gausstr_core.remembering.settings import MemorySettings
from gausstr_core.vocabulary.vocabulary import Vocabulary

STEPS = 1024  # of the table of decay
CADENCE = 0.5  # seconds between the looks that the evidence was fitted on
MOST = 6.0  # log-odds that are kept at most: what was seen for minutes can still go
NEVER_TAKEN = -1e9
# Log-odds, found on validation drives; kernels.py has their names. What the present sees is never
# taken away, whatever the past says: a free past votes a pedestrian away, and under a pose that
# shakes the road as well.
LEVELS = np.array([4.5, 6.5, 4.0, 2.0, 1.5, 3.0, NEVER_TAKEN, NEVER_TAKEN, -0.5])


@dataclass(frozen=True)
class Remembered:
    """What is seen and what is remembered, in the ego frame of one cycle."""

    occupancy: Occupancy  # what is seen now comes first, what is remembered is added
    age: Tensor  # [X, Y, Z] float32 seconds since it was seen; 0: now; inf: unknown
    reset: str  # why the memory started afresh in this cycle; '' where it did not


class Memory:
    """What was seen of the voxels around the ego, in a frame that does not move with it.

    The first cycle after a reset comes out as it went in, bit for bit. One thread calls
    `remember`; `relabel` may run in another beside it.

    Args:
        settings: how long, and which movements are believed.
        grid: of the maps to come; another one resets.
        evidence: of the source of depth, see `OccupancyPipeline.evidence_for`.
        backend: 'fast' (numba) or 'reference' (numpy, the twin); they agree in every bit.
    """

    def __init__(
        self,
        settings: MemorySettings,
        grid: VoxelGrid,
        evidence: Evidence,
        *,
        backend: str = 'fast',
        levels: np.ndarray = LEVELS,
    ) -> None:
        if backend not in ('fast', 'reference'):
            raise ValueError(f"backend must be 'fast' or 'reference', got {backend!r}")
        self.settings, self.grid, self.evidence = settings, grid, evidence
        self.resets: Counter[str] = Counter()
        self._backend, self._levels = backend, levels
        self._arithmetic = kernels if backend == 'fast' else plain
        self._lock = threading.Lock()  # of the ring's names and of what follows
        self._prepared: Names | None = None
        self._begin()

    def _begin(self) -> None:
        self._ring = Ring.empty(self.grid)
        self._compression: Compression | None = None
        self._words = ''  # id of the vocabulary of the ring's labels
        self._epoch = 0  # ns
        self._last: tuple[int, np.ndarray] | None = None
        ages = np.arange(STEPS) / (STEPS - 1) * self.settings.seconds
        self._decay = 0.5 ** (ages / self.settings.half_life)

    @property
    def nbytes(self) -> int:
        """What the memory occupies; it never grows."""
        return self._ring.nbytes

    @property
    def empty(self) -> bool:
        """Whether nothing was remembered since the last reset."""
        return self._last is None

    def clear(self, reason: str) -> None:
        """Forget everything and count the reason; nothing is counted where nothing was kept."""
        with self._lock:
            self._clear(reason)

    def _clear(self, reason: str) -> None:
        if self._last is None:
            return
        self.resets[reason] += 1
        self._ring.clear()
        self._last, self._prepared = None, None

    def remember(
        self,
        result: Cycle,
        vocabulary: Vocabulary,
        fixed_from_ego: np.ndarray,
        stamp: int,
    ) -> Remembered:
        """Add what is remembered to a cycle's map, then remember the cycle.

        Args:
            result: an `OccupancyResult` of the pipeline; it is not changed.
            vocabulary: that it was mapped with. If it is another one than before, what is
                remembered gets its words first; `relabel` does most of that beforehand.
            fixed_from_ego: float64 [4, 4] at `stamp`.
            stamp: ns, of the ego frame of the result.

        Raises:
            ValueError: the pose is not finite and rigid.
        """
        pose = checked_pose(fixed_from_ego)
        with self._lock:
            reason = self._reset_reason(result.occupancy.grid, pose, stamp)
            if reason:
                self._clear(reason)
                if result.occupancy.grid != self.grid:
                    self.grid = result.occupancy.grid
                    self._begin()
            return replace(self._cycle(result, vocabulary, pose, stamp), reset=reason)

    def _reset_reason(self, grid: VoxelGrid, pose: np.ndarray, stamp: int) -> str:
        if self._last is None:
            return '' if grid == self.grid else GRID
        if grid != self.grid:
            return GRID
        return reset_reason(self.settings, self._last, (stamp, pose))

    def _cycle(
        self, result: Cycle, vocabulary: Vocabulary, pose: np.ndarray, stamp: int
    ) -> Remembered:
        threshold = self.evidence.rule.threshold_at(self.grid.resolution)
        present = Present.of(result.occupancy, vocabulary, threshold)
        bins = looks(
            present, result.visible_depth, result.rig, self.grid.lower, self.grid.resolution,
            backend=self._backend,
        )  # fmt: skip
        if self._compression is None and len(result.gaussians):
            self._compression = Compression.of(result.gaussians.features)
        if self._last is None:
            self._epoch, self._words = stamp, vocabulary.id
            self._ring.origin[:] = 0
        self._ring.follow(self.grid, pose)
        if vocabulary.id != self._words and self._compression is not None:
            rename(self._ring, self._compression, vocabulary, self._prepared)
            self._words = vocabulary.id
        now = (stamp - self._epoch) // 1_000_000
        found = self._recall(present, bins, vocabulary, pose, now, result.occupancy)
        since = CADENCE if self._last is None else (stamp - self._last[0]) / 1e9
        self._learn(present, bins, result, pose, now, min(1.0, since / CADENCE))
        self._last = stamp, pose
        return found

    def _recall(
        self,
        present: Present,
        bins: np.ndarray,
        vocabulary: Vocabulary,
        pose: np.ndarray,
        now: int,
        seen: Occupancy,
    ) -> Remembered:
        ring = self._ring
        labels, confidence = present.labels.copy(), present.confidence.copy()
        observed = present.observed.copy()
        age = np.empty(labels.shape, np.float32)
        movable = np.array([c.movable for c in vocabulary.categories], dtype=np.bool_)
        self._arithmetic.recall(
            bins, self.evidence.flat, present.kinds, movable, self._cells_from_voxel(pose),
            ring.size, ring.origin, ring.odds, ring.seen, ring.slot, ring.label, ring.share,
            self._decay, self._limits(now), self._levels, MOST, labels, confidence, observed, age,
        )  # fmt: skip
        device = seen.labels.device
        occupancy = replace(
            seen,
            labels=torch.from_numpy(labels).to(device),
            confidence=torch.from_numpy(confidence).to(device, seen.confidence.dtype),
            observed=torch.from_numpy(observed).to(device),
        )
        return Remembered(occupancy, torch.from_numpy(age).to(device), '')

    def _learn(
        self,
        present: Present,
        bins: np.ndarray,
        result: Cycle,
        pose: np.ndarray,
        now: int,
        scale: float,
    ) -> None:
        ring = self._ring
        wanted = np.empty((len(ring.owner), 3), np.int32)
        count = self._arithmetic.learn(
            bins, self.evidence.flat, present.labels, present.confidence,
            self._voxel_from_cell(pose), ring.size, ring.origin, ring.odds, ring.seen, ring.slot,
            ring.owner, ring.label, ring.share, ring.named, ring.hand, int(ring.hand[1]),
            self._decay, self._limits(now), scale, MOST, wanted,
        )  # fmt: skip
        ring.hand[1] += 1
        if self._compression is not None:
            self._learn_features(wanted[:count], present, result, self._compression)

    def _learn_features(
        self, wanted: np.ndarray, present: Present, result: Cycle, compression: Compression
    ) -> None:
        """Give names [S, 3] (slot, flat voxel, whether new) the features of their voxels."""
        slots, voxels, fresh = wanted.T
        rows = np.full(self.grid.shape, -1, np.int32)
        rows.reshape(-1)[voxels] = np.arange(len(voxels), dtype=np.int32)
        codes = voxel_codes(
            compression,
            result.gaussians,
            result.probabilities,
            rows,
            present.labels.reshape(-1)[voxels],
            self.grid,
            backend=self._backend,
        )
        # of two cells in one voxel both get the row of the later one
        codes = codes[rows.reshape(-1)[voxels]]
        kept = (fresh > 0) | (codes[:, 0] != UNKNOWN)
        self._ring.code[slots[kept]] = codes[kept]

    def _limits(self, now: int) -> np.ndarray:
        seconds = self.settings.seconds, self.settings.movable_seconds
        return np.array([now, *(round(1000 * s) for s in seconds)], np.int64)

    def _cells_from_voxel(self, pose: np.ndarray) -> np.ndarray:
        """[3, 4]: index of a voxel -> its middle, in cells of the fixed frame."""
        edge = self.grid.resolution
        lower = np.array(self.grid.lower) + 0.5 * edge
        place = (pose[:3, :3] @ lower + pose[:3, 3]) / edge
        return np.concatenate([pose[:3, :3], place[:, None]], axis=1)

    def _voxel_from_cell(self, pose: np.ndarray) -> np.ndarray:
        """[3, 4]: index of a cell in the window -> its middle, in voxels of the ego's grid."""
        edge = self.grid.resolution
        turn = pose[:3, :3].T
        middle = (self._ring.origin + 0.5) * edge
        place = (turn @ (middle - pose[:3, 3]) - np.array(self.grid.lower)) / edge
        return np.concatenate([turn, place[:, None]], axis=1)

    def relabel(self, vocabulary: Vocabulary) -> None:
        """Name what is remembered in new words ahead of the first cycle that uses them.

        Takes up to a second; the caller is not the thread that maps.
        """
        with self._lock:
            compression, codes = self._compression, self._ring.code.copy()
            named = self._ring.named.copy()
        if compression is None:
            return
        label, share = np.zeros((2, len(codes)), np.uint8)
        used = np.flatnonzero(named != NEVER)  # what is not needs no name
        label[used], share[used] = names_of(codes[used], compression, vocabulary)
        with self._lock:
            if self._compression is compression:
                self._prepared = Names(vocabulary.id, label, share, named)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next cycles depend on, as arrays for a journal (no pickles)."""
        with self._lock:
            arrays = {f'ring.{key}': value.copy() for key, value in vars(self._ring).items()}
            arrays['words'] = np.frombuffer(self._words.encode(), np.uint8).copy()
            arrays['reasons'] = np.array(list(self.resets), dtype=np.str_)
            arrays['resets'] = np.array(list(self.resets.values()), np.int64)
            if self._last is not None:
                arrays['stamps'] = np.array([self._epoch, self._last[0]], np.int64)
                arrays['pose'] = self._last[1].copy()
            if self._compression is not None:
                for key, value in vars(self._compression).items():
                    arrays[f'compression.{key}'] = value.numpy().copy()
            return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on where `state` was taken: the next cycles give the same bits.

        Raises:
            ValueError: the arrays are not of a memory of this grid; the message names one.
        """
        with self._lock:
            self._begin()
            for key, value in vars(self._ring).items():
                found = arrays.get(f'ring.{key}')
                if found is None or (found.shape, found.dtype) != (value.shape, value.dtype):
                    got = 'nothing' if found is None else f'{found.dtype} {found.shape}'
                    raise ValueError(
                        f'memory: ring.{key} must be {value.dtype} {value.shape} for this grid, '
                        f'got {got}'
                    )
                value[...] = found
            self._words = bytes(arrays['words']).decode()
            reasons, counts = arrays['reasons'].tolist(), arrays['resets'].tolist()
            self.resets = Counter(dict(zip(reasons, counts, strict=True)))
            if 'stamps' in arrays:
                self._epoch = int(arrays['stamps'][0])
                self._last = int(arrays['stamps'][1]), np.array(arrays['pose'], np.float64)
            if 'compression.mean' in arrays:
                names = [f'compression.{key}' for key in ('mean', 'components', 'step')]
                parts = [torch.from_numpy(arrays[name].copy()) for name in names]
                self._compression = Compression(*parts)
