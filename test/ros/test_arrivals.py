"""Images are encoded as they come, each at most once, and only for the sets that hold them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_ros.sets.arrivals import SETS_AHEAD, Arrivals
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.limits import Grouping
from gausstr_ros.sets.synchroniser import Synchroniser
from gausstr_ros.sets.waiting import SUPERSEDED, NotReady, TakenSet, WaitingSet

MS = 1_000_000
PERIOD, TOLERANCE, TIMEOUT, PATIENCE = 100, 40, 150, 120  # milliseconds
LATE, NEVER = 60, 10_000
NEWS = 'no transform'
KINDS = ['good'] * 8 + ['lost', 'twice', 'future', 'wrong', 'broken']


@dataclass(eq=False)
class Picture:
    """An image on its way, and when what it needs will have come; milliseconds."""

    camera: str
    stamp: int
    arrival: int
    ready: int
    wrong: type[Exception] | None = None
    # what is there of the kind until then: 'nothing', 'the same', or always 'more'
    lacking: str = 'more'


@dataclass
class Robot:
    """The synchroniser, the arrivals and a worker that sees by noting what it saw."""

    cameras: tuple[str, ...]
    min_cameras: int
    at_once: int
    wanted: bool = True
    now: int = 0
    encoded: Counter = field(default_factory=Counter)
    waited_for: set[str] = field(default_factory=set)  # cameras that a set has waited for
    taken: list[TakenSet] = field(default_factory=list)
    drops: Counter = field(default_factory=Counter)
    complete: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.sync = Synchroniser(
            Grouping(self.cameras, TOLERANCE / 1e3, TIMEOUT / 1e3, self.min_cameras)
        )
        self.arrivals = Arrivals(
            self.needs,
            lambda camera, images, own: own or self.needs(camera, images.payloads[camera]),
            self.drop,
            timeout=PATIENCE / 1e3,
            min_cameras=self.min_cameras,
            cameras=len(self.cameras),
            clock=lambda: self.now / 1e3,
        )

    def needs(self, camera: str, picture: Picture) -> tuple[str, int]:
        assert camera == picture.camera
        if picture.wrong:
            raise picture.wrong(f'camera {camera}: its images have an empty frame_id')
        if self.now < picture.ready:
            self.asked += 1
            newest = {'nothing': None, 'the same': -1, 'more': self.asked}[picture.lacking]
            raise NotReady(NEWS, f'camera {camera}: {NEWS}', newest=newest)
        return camera, picture.stamp

    def drop(self, reason: str, text: str) -> None:
        self.drops[reason] += 1
        if reason == NEWS:
            self.waited_for |= {*self.cameras}  # for which of them, the text says of one only

    def hear(self, picture: Picture) -> None:
        self.tell(self.sync.add(picture.camera, picture.stamp * MS, picture))

    def tell(self, sets) -> None:
        self.complete += len(sets)
        self.arrivals.update(sets, self.sync.forming)

    def step(self) -> bool:
        """Do the next piece of work; whether there was any."""
        job = self.arrivals.find(lambda: self.wanted, self.at_once)
        if job is None:
            return False
        if isinstance(job, TakenSet):
            self.finish(job)
        else:
            assert self.wanted and len(job) <= self.at_once
            for image in job:
                assert image.needs == (image.camera, image.payload.stamp)
                self.encoded[image.payload] += 1
                self.arrivals.keep(image, image.payload)
        assert self.arrivals.encoded <= SETS_AHEAD * len(self.cameras)
        return True

    def finish(self, job: TakenSet) -> None:
        payloads = job.images.payloads
        assert all(payloads[camera] is part for camera, part in job.parts.items())
        assert not job.inputs.keys() & job.faults.keys()
        assert job.inputs.keys() | job.faults.keys() == payloads.keys()
        assert job.parts.keys() <= job.inputs.keys()
        for camera, text in job.faults.items():
            assert f'camera {camera}' in text
            image, waited = payloads[camera], self.now / 1e3 - job.arrival
            known = image.lacking != 'more' and camera in self.waited_for
            assert image.wrong or known or waited >= PATIENCE / 1e3
            self.waited_for.add(camera)
        for camera in job.inputs.keys() - job.parts.keys():
            self.encoded[payloads[camera]] += 1
        assert 0 <= job.early <= len(payloads)
        self.taken.append(job)


@st.composite
def drives(draw):
    """Pictures in the order of their arrival, and how many pieces of work fit in between."""
    cameras = tuple('ABCD'[: draw(st.integers(1, 4))])
    lacking = draw(st.sampled_from(['nothing', 'the same', 'more']))
    pictures = []
    for cycle in range(draw(st.integers(1, 6))):
        for place, camera in enumerate(cameras):
            kind = draw(st.sampled_from(KINDS))
            stamp = 1000 + PERIOD * cycle + 5 * place
            delay = draw(st.sampled_from([0, 0, 0, 3, 50, 130, 400]))
            late = draw(st.sampled_from([0, 0, 0, 20, LATE, NEVER]))
            arrival = stamp + delay
            if kind == 'future':
                stamp += 300
            for repeat in range({'lost': 0, 'twice': 2}.get(kind, 1)):
                at = arrival + repeat
                wrong = {'wrong': ValueError, 'broken': RuntimeError}.get(kind)
                pictures.append(Picture(camera, stamp, at, at + late, wrong, lacking))
    pictures.sort(key=lambda picture: picture.arrival)
    work = draw(st.lists(st.integers(0, 4), min_size=len(pictures), max_size=len(pictures)))
    return cameras, list(zip(pictures, work, strict=True))


@settings(max_examples=100, deadline=None)
@given(drives(), st.integers(1, 3), st.sampled_from([1, 1, 3]), st.booleans())
def test_whatever_comes_in_whatever_order(drive, min_cameras, at_once, wanted):
    cameras, messages = drive
    robot = Robot(cameras, min(min_cameras, len(cameras)), at_once, wanted)
    for picture, work in messages:
        robot.now = picture.arrival
        robot.tell(robot.sync.poll(robot.now * MS))
        robot.hear(picture)
        for _ in range(work):
            robot.step()
    robot.tell(robot.sync.flush())
    for _ in range(2):
        while robot.step():
            pass
        robot.now += PATIENCE + 1
    # each set came to one end, each image was encoded once at most, and nothing is left behind
    assert robot.complete == len(robot.taken) + robot.drops.total()
    assert robot.drops.keys() <= {SUPERSEDED, NEWS}
    assert all(count == 1 for count in robot.encoded.values())
    assert len(robot.arrivals) == 0 and not robot.step() and robot.arrivals.encoded == 0
    stamps = [job.images.stamp for job in robot.taken]
    assert robot.sync.jumps_back or stamps == sorted(set(stamps)), 'an older set after a newer'


def spread(cameras: str, start: int, late: str = '', delay: int = 0) -> list[Picture]:
    """A cycle: 5 ms from camera to camera."""
    stamps = {camera: start + 5 * place for place, camera in enumerate(cameras)}
    arrivals = {camera: at + (delay if camera in late else 0) for camera, at in stamps.items()}
    cycle = [Picture(c, stamps[c], arrivals[c], arrivals[c]) for c in cameras]
    return sorted(cycle, key=lambda picture: picture.arrival)


def play(robot: Robot, pictures: list[Picture], work: int = 9) -> None:
    for picture in pictures:
        robot.now = picture.arrival
        robot.hear(picture)
        while work and robot.step():
            pass


def test_only_the_last_image_is_left_to_see_when_a_set_is_complete():
    robot = Robot(tuple('ABCDEF'), 1, 1)
    for cycle in range(3):
        play(robot, spread('ABCDEF', 1000 + PERIOD * cycle, late='F', delay=20))
    assert [(len(job.parts), job.early) for job in robot.taken] == [(5, 5)] * 3


def test_a_set_goes_on_without_the_camera_whose_transform_never_comes():
    robot = Robot(tuple('ABC'), 2, 1)
    cycle = spread('ABC', 1000)
    cycle[1].ready = NEVER
    play(robot, cycle)
    assert robot.taken == [] and robot.arrivals.encoded == 2
    robot.now += PATIENCE + 1
    robot.step()
    (job,) = robot.taken
    assert list(job.inputs) == ['A', 'C'] and list(job.faults) == ['B'] and NEWS in job.faults['B']
    assert list(job.parts) == ['A', 'C']


@pytest.mark.parametrize('lacking', ['nothing', 'the same', 'more'])
def test_sets_after_it_wait_only_where_there_is_news(lacking):
    robot = Robot(tuple('ABC'), 1, 1)
    for number in range(3):
        robot.now = 1000 + 500 * number
        cycle = spread('ABC', robot.now)
        cycle[1].ready, cycle[1].lacking = NEVER, lacking
        play(robot, cycle)
        waits = lacking == 'more' or number == 0
        assert len(robot.taken) == (number if waits else number + 1)
        robot.now += PATIENCE + 1
        robot.step()
        assert list(robot.taken[number].faults) == ['B']
    play(robot, spread('ABC', 3000))
    assert list(robot.taken[3].inputs) == ['A', 'B', 'C']
    cycle = spread('ABC', 3500)
    cycle[1].ready, cycle[1].lacking = NEVER, lacking  # as after a jump of the clock
    play(robot, cycle)
    assert len(robot.taken) == 4, 'B came meanwhile: it is waited for once more'


def test_sets_that_wait_already_go_on_waiting_when_one_has_waited_in_vain():
    robot = Robot(tuple('AB'), 1, 1)
    for number in range(2):
        cycle = spread('AB', 1000 + PERIOD * number)
        cycle[1].ready, cycle[1].lacking = 1000 + PATIENCE + 50, 'the same'
        play(robot, cycle)
    robot.now = 1005 + PATIENCE + 1
    robot.step()
    assert [list(job.faults) for job in robot.taken] == [['B']]
    assert not robot.step() and len(robot.arrivals) == 1
    robot.now = 1000 + PATIENCE + 50
    robot.step()
    assert list(robot.taken[1].inputs) == ['A', 'B']


def test_an_unforeseen_error_is_a_fault_of_its_camera():
    robot = Robot(tuple('AB'), 1, 1)
    cycle = spread('AB', 1000)
    cycle[1].wrong = RuntimeError
    play(robot, cycle)
    (job,) = robot.taken
    assert list(job.inputs) == ['A']
    assert job.faults['B'].startswith('camera B: RuntimeError: ')


def test_a_set_is_dropped_where_the_transforms_of_too_many_never_come():
    robot = Robot(tuple('ABC'), 3, 1)
    cycle = spread('ABC', 1000)
    cycle[1].ready = NEVER
    play(robot, cycle)
    robot.now += PATIENCE + 1
    assert not robot.step()
    assert robot.taken == [] and robot.drops == {NEWS: 1} and robot.arrivals.encoded == 0


def test_a_machine_that_is_too_slow_skips_sets_whole_and_takes_the_newest():
    robot = Robot(tuple('ABC'), 1, 1)
    for cycle in range(4):
        play(robot, spread('ABC', 1000 + PERIOD * cycle), work=0)
    robot.step()
    (job,) = robot.taken
    assert job.images.stamp == (1000 + 3 * PERIOD + 10) * MS and job.early == 0
    assert robot.drops == {SUPERSEDED: 3} and robot.encoded.total() == 3


def test_no_more_than_sixteen_sets_wait_for_transforms():
    """geometry2 438, 327, 797: the queue of what waits for late TF is bounded."""
    robot = Robot(tuple('AB'), 1, 1)
    for cycle in range(20):
        pictures = spread('AB', 1000 + PERIOD * cycle)
        for picture in pictures:
            picture.ready = NEVER
        play(robot, pictures, work=0)
    assert len(robot.arrivals) == 16 and robot.drops == {SUPERSEDED: 4}


def test_a_set_that_is_begun_is_gone_on_with_before_the_next_one():
    robot = Robot(tuple('ABC'), 1, 1)
    first, second = spread('ABC', 1000, late='C', delay=150), spread('ABC', 1000 + PERIOD)
    play(robot, first[:1])  # begun with A
    play(robot, [first[1], *second[:2]], work=0)
    order = []
    while robot.step():
        order += [p for p in robot.encoded if p not in order]
    assert [(p.camera, p.stamp) for p in order] == [
        ('A', 1000), ('B', 1005), ('A', 1100), ('B', 1105)
    ]  # fmt: skip


def test_no_more_is_encoded_of_a_set_that_has_failed():
    robot = Robot(tuple('ABC'), 1, 1)
    first, second = spread('ABC', 1000), spread('ABC', 1000 + PERIOD)
    play(robot, first[:1], work=0)
    (image,) = robot.arrivals.find(lambda: True)
    robot.arrivals.keep(image, image.payload, failed=True)
    play(robot, first[1:2])
    assert not robot.encoded
    play(robot, first[2:])
    (job,) = robot.taken
    assert list(job.parts) == ['A']
    play(robot, second)
    assert list(robot.taken[1].parts) == ['A', 'B']


def test_nobody_who_wants_a_map_means_nothing_is_encoded_ahead():
    robot = Robot(tuple('AB'), 1, 1, wanted=False)
    play(robot, spread('AB', 1000)[:1])
    assert not robot.encoded


@pytest.fixture
def tiny():
    """The pipeline as a node of one thread has it."""
    pytest.importorskip('rclpy')
    from gausstr_ros.cycle.build import build_pipeline
    from gausstr_ros.settings.settings import read_settings

    return build_pipeline(read_settings({'preset': 'tiny', 'weights': 'untrained', 'threads': 1}))


@pytest.mark.ros
def test_an_image_encoded_as_it_comes_gives_the_maps_of_its_set_encoded_at_once(tiny):
    import torch
    from image_messages import camera_info, encoded

    from gausstr_ros.cycle.steps import encode_images, encode_set, join_set, map_set
    from gausstr_ros.listening.depth_pairing import Shot
    from gausstr_ros.listening.rig_source import CameraInputs, ImageInputs
    from gausstr_ros.sets.image_sets import ImageSet

    chance, cameras = np.random.default_rng(3), tuple('ABCD')
    shots, inputs = {}, {}
    for place, camera in enumerate(cameras):
        size = (90, 160) if place else (120, 200)
        pixels = chance.integers(0, 255, (*size, 3), np.uint8)
        shots[camera] = Shot(encoded(pixels, 'png', 'png'))
        mount = turned(place * np.pi / 2)
        pose = mount.copy()
        pose[0, 3] -= 0.1 * place  # the car went on meanwhile
        inputs[camera] = CameraInputs(ImageInputs(camera_info(size[1], size[0]), mount), pose)
    shots['B'].image.data = shots['B'].image.data[:100]
    images = ImageSet(40, {c: 10 * i for i, c in enumerate(cameras)}, shots, ())
    before = {}
    for camera in 'DBA':
        one = {camera: (shots[camera], inputs[camera].image)}
        before |= encode_images(tiny, one, measured_depth=False)
    options = {'measured_depth': False}
    ahead = encode_set(tiny, images, inputs, before=before, **options)
    after = encode_set(tiny, images, inputs, **options)
    assert list(ahead.parts) == list(after.parts) == list(cameras)
    assert ahead.faults == after.faults and list(after.faults) == ['B']
    vocabulary = tiny.load_vocabulary()
    one, other = (
        map_set(tiny, join_set(images), vocabulary, tiny.rule).result for images in (ahead, after)
    )
    assert one.rig.names == ('A', 'C', 'D')
    for a, b in (
        (one.maps.features, other.maps.features),
        (one.maps.depth, other.maps.depth),
        (one.rig.ego_from_camera, other.rig.ego_from_camera),
        (one.gaussians.means, other.gaussians.means),
        (one.occupancy.density, other.occupancy.density),
        (one.occupancy.labels, other.occupancy.labels),
        (one.occupancy.confidence, other.occupancy.confidence),
        (one.occupancy.observed, other.occupancy.observed),
    ):
        assert torch.equal(a, b)
    expected = torch.tensor(np.stack([inputs[c].pose for c in 'ACD'])).float()
    assert torch.equal(one.rig.ego_from_camera, expected)


def turned(yaw: float) -> np.ndarray:
    """ego_from_camera [4, 4] of a camera that looks along `yaw`, 1.5 m above the ground."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:3, :3] = [[s, 0, c], [-c, 0, s], [0, -1, 0]]
    pose[2, 3] = 1.5
    return pose


@pytest.mark.ros
def test_the_cameras_that_came_are_encoded_while_the_last_one_is_late(request):
    from nav_msgs.msg import OccupancyGrid

    grid = '/gausstr/occupancy_grid'
    tester, start_node = (request.getfixturevalue(name) for name in ('tester', 'start_node'))
    tester.listen(grid, OccupancyGrid)
    # a set waits for as long as the diagnostics below may take
    start_node(**{'sync.timeout': 30.0})
    tester.wait_matched()
    tester.play_transforms()
    others, last = tester.cameras[:-1], tester.cameras[-1]
    tester.play_set(0, leave_out=[last])
    tester.wait_for_text(f'queue: images encoded ahead={len(others)}')
    assert not tester.stamps(grid)
    stamp = tester.play_set(0, leave_out=others)
    tester.wait(lambda: stamp in tester.stamps(grid), what='map')
    share = round(100 * len(others) / len(tester.cameras))
    tester.wait_for_text(f'images encoded on arrival [%]={share}')
    tester.wait_for_text('sets skipped, of the last 100 [%]=0')
    tester.wait_for_text('queue: images encoded ahead=0')
    tester.wait_for_text('sets complete=1')


@pytest.mark.parametrize('final', [False, True])
def test_what_cannot_come_any_more_is_not_waited_for(final):
    """As a cloud that is too old while younger ones have come."""
    images = ImageSet(1, {'left': 1, 'right': 1}, {'left': 'image', 'right': 'image'}, ())

    def prepare(camera, _):
        if camera == 'right':
            raise NotReady('cloud too old', 'camera right: cloud too old', final=final)
        return camera

    waiting = WaitingSet(images, 0.0)
    assert waiting.gather(prepare, lambda *_: True, 1) == final
    assert waiting.faults == ({'right': 'camera right: cloud too old'} if final else {})
    if final:
        with pytest.raises(NotReady, match=r'sync\.min_cameras is 2') as raised:
            WaitingSet(images, 0.0).gather(prepare, lambda *_: True, 2)
        assert raised.value.reason == 'cloud too old'
