"""Ten thousand random schedules of messages through the synchroniser."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from gausstr_ros.sets.limits import Grouping
from gausstr_ros.sets.synchroniser import OPEN_SETS, Synchroniser

SCHEDULES = 10_000
START = 10**18
MS = 10**6
CLEAN = 4  # cycles without faults at the end of each schedule


@dataclass(frozen=True)
class Message:
    arrival: int  # all in nanoseconds
    camera: str
    stamp: int
    cycle: int


@dataclass(frozen=True)
class Schedule:
    """What cameras send, in the order of arrival, and by what it is grouped."""

    grouping: Grouping
    messages: list[Message]
    polls: bool
    promised: dict[int, int]  # cycle -> images, of the clean cycles that must come out whole


def random_schedule(chance: random.Random) -> Schedule:
    """Cameras at 5 to 30 Hz, some at half the rate, with faults before the clean cycles.

    Faults: a jump of the clock by 0.1 s to 1000 s either way, a silent camera, lost, delayed and
    repeated messages, single wrong stamps, and a camera whose clock is an hour off.
    """
    count = chance.randint(1, 7)
    names = [f'camera{i}' for i in range(count)]
    period = chance.choice([33, 50, 83, 100, 200]) * MS
    tolerance = int(chance.uniform(0.15, 0.45) * period)
    offsets = chance.choice(['none', 'given', 'learned'])
    spread = 0.6 * tolerance if offsets == 'none' else 0.9 * period
    phases = {name: int(chance.uniform(0, spread)) for name in names}
    timeout = max(int(chance.uniform(0.5, 4) * period), tolerance)
    min_cameras = chance.randint(1, count) if chance.random() < 0.3 else 1
    cycles = chance.randint(4, 11)
    messages = _messages(chance, phases, period, tolerance, cycles)
    grouping = Grouping(
        tuple(names),
        tolerance / 1e9,
        timeout / 1e9,
        min_cameras,
        {name: phase / 1e9 for name, phase in phases.items()} if offsets == 'given' else {},
        learn_offsets=offsets == 'learned',
    )
    recovers = min_cameras == 1 and offsets != 'learned' and timeout > 1.2 * period
    clean = Counter(message.cycle for message in messages if message.cycle >= cycles)
    return Schedule(grouping, messages, chance.random() < 0.7, dict(clean) if recovers else {})


def _messages(
    chance: random.Random, phases: dict[str, int], period: int, tolerance: int, cycles: int
) -> list[Message]:
    names = list(phases)
    slow = {name for name in names[1:] if chance.random() < 0.15}
    jumps, silence, losses, wrong, delays, repeats, other_clock = (
        chance.random() < 0.35 for _ in range(7)
    )
    jump_at = chance.randint(2, cycles - 1)
    jump = chance.choice([-1, 1]) * int(10 ** chance.uniform(8, 12)) if jumps else 0
    silent, silent_in = chance.choice(names), range(*sorted(chance.choices(range(cycles), k=2)))
    hour_off = chance.choice(names) if other_clock and len(names) > 2 else ''
    messages = []
    for cycle in range(cycles + CLEAN):
        faulty = cycle < cycles
        for name in names:
            away = silence and name == silent and cycle in silent_in
            lost = losses and faulty and chance.random() < 0.1
            if away or lost or (name in slow and cycle % 2):
                continue
            taken = START + cycle * period + phases[name] + int(chance.uniform(0, 0.1) * tolerance)
            stamp = taken + (jump if cycle >= jump_at else 0)
            arrival = taken + int(chance.uniform(0, 0.1) * period)
            if faulty and name == hour_off:
                stamp += chance.choice([-1, 1]) * 3600 * 10**9
            if faulty and wrong and chance.random() < 0.05:
                stamp += int(chance.gauss(0, 1) * 10 ** chance.uniform(6, 11))
            if faulty and delays and chance.random() < 0.1:
                arrival += int(chance.uniform(0, 3) * period)
            messages.append(Message(arrival, name, stamp, cycle))
            if faulty and repeats and chance.random() < 0.15:
                again = arrival + int(chance.uniform(0, 2) * period)
                messages.append(Message(again, name, stamp, cycle))
    return sorted(messages, key=lambda message: message.arrival)


class Checked:
    """A synchroniser whose every answer is checked as it comes."""

    def __init__(self, schedule: Schedule) -> None:
        self.sync = Synchroniser(schedule.grouping)
        self.schedule = schedule
        self.used: set[int] = set()
        self.largest: dict[int, int] = {}  # cycle -> images of it in one set
        self._offsets = self.sync.offsets
        self._newest = 0

    def call(self, method, *arguments) -> None:
        back = self.sync.jumps_back
        sets = method(*arguments)
        jumped = self.sync.jumps_back > back
        for images in sets:
            self._check(images)
            assert jumped or images.stamp > self._newest
            self._newest = images.stamp
        self._newest = 0 if jumped else self._newest
        if self.schedule.grouping.learn_offsets:
            self._offsets = self.sync.offsets
        assert len(self.sync) <= (OPEN_SETS + 1) * len(self.sync.cameras)

    def _check(self, images) -> None:
        grouping, messages = self.schedule.grouping, self.schedule.messages
        for camera, number in images.payloads.items():
            assert number not in self.used, 'an image in two sets'
            self.used.add(number)
            sent = messages[number]
            assert (sent.camera, sent.stamp) == (camera, images.stamps[camera])
        assert len(images.payloads) >= grouping.min_cameras
        assert images.stamp == max(images.stamps.values())
        assert sorted((*images.payloads, *images.missing)) == sorted(grouping.cameras)
        # what was learned in this very call came after the sets that it gave out
        times = [(s - START) / 1e9 - self._offsets[c] for c, s in images.stamps.items()]
        assert max(times) - min(times) <= grouping.tolerance + 1e-6
        for cycle in {messages[number].cycle for number in images.payloads.values()}:
            self.largest[cycle] = max(self.largest.get(cycle, 0), len(images.payloads))


def play(schedule: Schedule, chance: random.Random) -> Checked:
    checked = Checked(schedule)
    for number, message in enumerate(schedule.messages):
        checked.call(checked.sync.add, message.camera, message.stamp, number)
        if schedule.polls and chance.random() < 0.3:
            checked.call(checked.sync.poll, message.arrival)
    checked.call(checked.sync.flush)
    return checked


def test_random_schedules():
    """ros_comm 800, 802, 2052 and worse: no set mixes stamps beyond the tolerance, no image comes
    out twice or vanishes uncounted, memory is bounded, and clean input soon gives whole sets.
    """
    messages = cycles = lost = promised = 0
    for seed in range(SCHEDULES):
        chance = random.Random(seed)
        schedule = random_schedule(chance)
        checked = play(schedule, chance)
        dropped = sum(checked.sync.drops.values())
        assert len(checked.sync) == 0
        assert len(checked.used) + dropped == len(schedule.messages), f'schedule {seed}'
        messages += len(schedule.messages)
        cycles += len(checked.largest)
        broken = [c for c, n in schedule.promised.items() if checked.largest.get(c, 0) < n]
        assert not schedule.promised or len(broken) < CLEAN, f'schedule {seed}: {broken}'
        promised += bool(schedule.promised)
        lost += len(broken) > 1
    print(
        f'{SCHEDULES} schedules, {messages} messages, {cycles} cycles in sets; of {promised} that '
        f'end in {CLEAN} clean cycles {promised - lost} lose at most one of these'
    )
    assert lost <= 0.01 * promised
