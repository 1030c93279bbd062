"""Inject one fault after the other and time how the node shows it and comes back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cameras import CAMERAS, PERIOD, PICTURES, Cameras, picture
from faults import Fault, faults, schedule
from node_process import NodeProcess
from watcher import Watcher

PATIENCE = 100  # cycles after which what is waited for counts as never come
CALM = 8  # cycles without a fault between two
LOOP = 5.0  # seconds that the bag jumps back
CARRIED = 20.0  # metres that the odometry jumps
RESTART = ('deactivate', 'cleanup', 'configure', 'activate')
IMPOSSIBLE = (1, 2, 3, 5, 6, 0, 10, 99, 255)  # numbers of transitions, while it is active
# One after the other; the first makes every picture's map what it was.
WORDS = (['automobile', 'tarmac', 'tree'], ['wall', 'person'], ['truck', 'sky', 'grass', 'bus'])


@dataclass
class Outcome:
    """What came of one fault; None: it never came."""

    fault: Fault
    camera: str
    visible: float | None = None  # seconds
    # cycles after the fault until the map was right; 0: in the first one without the fault
    recovered: int | None = None
    mapped: int = 0  # right maps while the fault lasted
    shown: str = ''  # what diagnostics said at the end, where it never recovered


class Soak:
    """The run; `samples` are (time, bytes) of the node's memory."""

    def __init__(self, cameras: Cameras, watcher: Watcher, node: NodeProcess, seed: int) -> None:
        self._cameras = cameras
        self._watcher = watcher
        self._node = node
        self._chance = random.Random(seed)
        lidar = cameras.lidar is not None
        every = faults(picture(900), picture(901, (120, 200)), lidar=lidar)
        self.count = len(every)
        self._schedule = schedule(every, seed)
        self.outcomes: list[Outcome] = []
        self._refused: list[Any] = []  # futures of transitions that cannot be
        self.samples: list[tuple[float, int]] = []

    def warm_up(self) -> None:
        """Play until the node maps every picture and has nothing to complain of.

        Raises:
            TimeoutError: it does not come to that.
        """
        self._play_until(self._cameras.matched, 600, 'the node does not listen')
        self._play_until(
            lambda: self._watcher.quiet() and self._watcher.maps > 0, 300, 'it has no quiet map'
        )
        self.use_first_words()
        self._play_until(self._watcher.quiet, 100, 'it is not quiet')
        self._watcher.learn()
        self._play_until(
            lambda: len(self._watcher.wanted) == PICTURES, 600, 'not all pictures were mapped'
        )

    def run(self, seconds: float) -> Iterator[Outcome]:
        """One fault after the other for some time, each of them at least once."""
        end = time.monotonic() + seconds
        while self._node.alive and (time.monotonic() < end or len(self.outcomes) < self.count):
            outcome = Outcome(next(self._schedule), self._chance.choice(CAMERAS))
            self._suffer(outcome)
            self.outcomes.append(outcome)
            yield outcome

    def _suffer(self, outcome: Outcome) -> None:
        fault, camera = outcome.fault, outcome.camera
        before = [self._watcher.counters(sign, camera) for sign in fault.signs]
        first = self._cameras.cycle
        effect = self._begin(fault, camera)
        outcome.visible = None if fault.signs else 0.0
        for number in range(fault.cycles + PATIENCE):
            at = self._tick(fault, camera)
            effect = effect or at
            self._during(fault, number)
            if outcome.visible is None:
                outcome.visible = self._delay(outcome, effect, before)
            if number + 1 >= fault.cycles and outcome.visible is not None:
                break
        last = self._cameras.cycle
        self._end(fault)
        good = self._cameras.cycle
        self._recover(outcome, good)
        self._cameras.unlatch()
        outcome.mapped = sum(cycle in self._watcher.correct for cycle in range(first + 1, last))

    def _delay(self, outcome: Outcome, effect: float | None, before: list[str]) -> float | None:
        if effect is None:
            return None
        found = [
            at - effect
            for sign, old in zip(outcome.fault.signs, before, strict=True)
            if (at := self._watcher.seen_at(sign, outcome.camera, effect, old)) is not None
        ]
        return min(found, default=None)

    def _recover(self, outcome: Outcome, good: int) -> None:
        """Go on without the fault until a map is right and nothing is complained of."""
        calm = 0
        for _ in range(PATIENCE):
            self._tick(None, '')
            right = [cycle for cycle in self._watcher.correct if cycle >= good]
            if right and outcome.recovered is None:
                outcome.recovered = min(right) - good
            calm += bool(right)
            if calm >= CALM and self._watcher.quiet():
                return
        outcome.shown = str(self._watcher.texts())

    def _begin(self, fault: Fault, camera: str) -> float | None:
        """Start what changes no image; when it took effect."""
        if fault.name == 'TF gap':
            self._cameras.transforms = False
        elif fault.name.startswith('lidar '):
            self._set_lidar_fault(fault.name)
        elif fault.name == 'bag loop':
            self._cameras.loop_back(LOOP)
        elif fault.name == 'odometry jump':
            self._cameras.carry(CARRIED)
        elif fault.name == 'node restart':
            self._transition(RESTART[0])
        elif fault.name == 'latched CameraInfo':
            self._transition('deactivate')
            self._cameras.latch(camera)
        elif fault.change is not None:
            return None
        return time.monotonic()

    def _during(self, fault: Fault, number: int) -> None:
        if fault.name == '5 vocabularies/s' and number % 2 == 0 and number < fault.cycles:
            self._watcher.set_words(WORDS[(number // 2 + 1) % len(WORDS)])
        if fault.name == 'refused transition' and number < fault.cycles:
            asked = IMPOSSIBLE[number % len(IMPOSSIBLE)]
            self._refused.append(self._watcher.change_state(asked))

    def _end(self, fault: Fault) -> None:
        if fault.name == 'TF gap':
            self._cameras.transforms = True
        elif fault.name.startswith('lidar '):
            self._set_lidar_fault('')
        elif fault.name == 'node restart':
            for label in RESTART[1:]:
                self._transition(label)
            self.use_first_words()
            self._play_until(self._cameras.matched, 200, 'it does not listen after the restart')
        elif fault.name == 'latched CameraInfo':
            self._transition('activate')
            self._play_until(self._cameras.matched, 200, 'it does not listen after activate')
        elif fault.name == 'refused transition':
            self._play_until(self._all_refused, 200, 'an impossible transition gets no reply')
        elif fault.name == '5 vocabularies/s':
            self.use_first_words()

    def _set_lidar_fault(self, name: str) -> None:
        assert self._cameras.lidar is not None
        self._cameras.lidar.fault = name

    def _all_refused(self) -> bool:
        if not all(future.done() for future in self._refused):
            return False
        if any(future.result().success for future in self._refused):
            raise TimeoutError('an impossible transition was made')
        self._refused.clear()
        return True

    def use_first_words(self) -> None:
        """Put the words in force by which the maps are compared."""
        self._await(self._watcher.set_words(WORDS[0]), 'set_categories')

    def _transition(self, label: str) -> None:
        self._await(self._watcher.change_state(label), label)

    def _await(self, future: Any, what: str) -> None:
        self._play_until(future.done, 600, f'{what} gets no reply')
        if not future.result().success:
            raise TimeoutError(f'{what} was refused: {future.result()}')

    def _tick(self, fault: Fault | None, camera: str) -> float | None:
        if self._cameras.cycle % round(1 / PERIOD) == 0 and self._node.alive:
            self.samples.append((time.monotonic(), self._node.memory))
        return self._cameras.play(fault, camera)

    def _play_until(self, condition: Callable[[], bool], cycles: int, otherwise: str) -> None:
        for _ in range(cycles):
            if condition():
                return
            if not self._node.alive:
                raise TimeoutError('the node has ended')
            self._tick(None, '')
        raise TimeoutError(f'{otherwise}: {self._watcher.texts()}')
