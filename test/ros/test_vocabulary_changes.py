"""Many changes of the words: none holds up another, none costs a set."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from visualization_msgs.msg import MarkerArray

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.stamps import nanoseconds
from gausstr_msgs.msg import Categories, Category
from gausstr_msgs.srv import GetCategories, SetCategories
from gausstr_ros.vocabulary import services

pytestmark = pytest.mark.ros
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SET, GET, WORDS = '/gausstr/set_categories', '/gausstr/get_categories', '/gausstr/categories'
CUBES = '/gausstr/voxel_markers'
SETS = 40
# No word in two of them, so that a map shows by its words which vocabulary it is of.
VOCABULARIES = (['automobile', 'tarmac'], ['lorry', 'grass', 'wall'], ['coach', 'gravel'])


@pytest.fixture
def ask(tester):
    """Send a request for words; returns the future of its reply."""
    client = tester.node.create_client(SetCategories, SET)

    def ask(*names):
        assert client.wait_for_service(10)
        categories = [Category(name=name) for name in names]
        return client.call_async(SetCategories.Request(categories=categories))

    yield ask
    tester.node.destroy_client(client)


@pytest.fixture
def mapping(start_node, tester, monkeypatch):
    """A node whose words and cubes are heard; each reply waits for the first set."""
    monkeypatch.setattr(services, 'REPLY_WITHIN', 1000.0)
    tester.listen(WORDS, Categories, LATCHED)
    tester.listen(CUBES, MarkerArray)
    start_node()
    tester.wait_matched()
    tester.play_transforms()


def announced(tester, name):
    """Wait until the words in force begin with a name."""
    tester.wait(
        lambda: tester.heard[WORDS] and tester.heard[WORDS][-1].categories[0].name == name,
        what=f'{name} in force',
    )


def change_state(tester, label):
    request = ChangeState.Request()
    request.transition.label = label
    assert tester.call('/gausstr/change_state', ChangeState, request, 60).success, label


def test_a_request_too_many_is_refused_at_once_and_the_others_are_not(
    start_node, tester, ask, monkeypatch
):
    go_on, build = threading.Event(), OccupancyPipeline.build_vocabulary

    def slow(*arguments):
        assert go_on.wait(60)
        return build(*arguments)

    start_node()
    monkeypatch.setattr(OccupancyPipeline, 'build_vocabulary', slow)
    waiting = [ask(f'word {number}') for number in range(services.MOST_WAITING)]
    try:
        refused = ask('one too many')
        tester.wait(refused.done, what='refusal')
        assert not refused.result().success
        assert 'wait for their words to be encoded' in refused.result().message
        assert refused.result().vocabulary_id
        tester.wait_for_text('set_categories refused', 'wait for their words to be encoded')
        assert not any(future.done() for future in waiting)
    finally:
        go_on.set()
    tester.wait(lambda: all(future.done() for future in waiting), what='replies')
    *replaced, last = [future.result() for future in waiting]
    assert last.success
    assert all(reply.message == services.REPLACED for reply in replaced)


def test_a_request_does_not_wait_for_the_first_set_of_the_one_before(mapping, tester, ask):
    first = ask('automobile')
    announced(tester, 'automobile')
    second = ask('lorry')
    announced(tester, 'lorry')
    tester.wait(first.done, what='reply to the words that were replaced')
    assert not first.result().success
    assert first.result().message == services.REPLACED
    assert not second.done()
    stamp = tester.play_set(0)
    tester.wait(second.done, what='reply with the first set')
    assert second.result().success
    assert nanoseconds(tester.heard[WORDS][-1].header.stamp) == stamp
    assert second.result().first_stamp == tester.heard[WORDS][-1].header.stamp


def test_the_reply_names_the_first_set_that_was_mapped(mapping, tester, ask, monkeypatch):
    left, map_set = [1], OccupancyPipeline.map

    def fail_once(*arguments):
        if left:
            left.pop()
            raise RuntimeError('device hiccup')
        return map_set(*arguments)

    future = ask('automobile')
    announced(tester, 'automobile')
    monkeypatch.setattr(OccupancyPipeline, 'map', fail_once)
    tester.play_set(0)
    tester.wait_for_text('sets dropped: failure in the pipeline=1')
    assert not future.done()
    stamp = tester.play_set(1)
    tester.wait(future.done, what='reply')
    assert nanoseconds(future.result().first_stamp) == stamp
    tester.wait(lambda: tester.heard[CUBES], what='map')
    assert [nanoseconds(m.markers[0].header.stamp) for m in tester.heard[CUBES]] == [stamp]


def test_words_that_are_replaced_while_a_set_is_mapped_with_them_were_used(
    mapping, tester, ask, monkeypatch
):
    begun, go_on, map_set = threading.Event(), threading.Event(), OccupancyPipeline.map

    def slow(*arguments):
        begun.set()
        assert go_on.wait(60)
        return map_set(*arguments)

    monkeypatch.setattr(OccupancyPipeline, 'map', slow)
    first = ask('automobile')
    announced(tester, 'automobile')
    stamp = tester.play_set(0)
    assert begun.wait(20)
    second = ask('lorry')
    announced(tester, 'lorry')
    go_on.set()
    tester.wait(first.done, what='reply to the words that were replaced')
    assert first.result().success and nanoseconds(first.result().first_stamp) == stamp
    announced(tester, 'lorry')
    after = tester.play_set(1)
    tester.wait(second.done, what='reply')
    assert nanoseconds(second.result().first_stamp) == after
    tester.wait(
        lambda: nanoseconds(tester.heard[WORDS][-1].header.stamp) == after, what='second stamp'
    )
    heard = [(m.categories[0].name, nanoseconds(m.header.stamp)) for m in tester.heard[WORDS][-5:]]
    assert heard == [
        ('automobile', 0), ('lorry', 0), ('automobile', stamp), ('lorry', 0), ('lorry', after)
    ]  # fmt: skip


def test_a_cleanup_answers_who_waits_and_later_requests(start_node, tester, ask, monkeypatch):
    monkeypatch.setattr(services, 'REPLY_WITHIN', 1000.0)
    tester.listen(WORDS, Categories, LATCHED)
    start_node()
    waiting = ask('automobile')
    announced(tester, 'automobile')
    change_state(tester, 'deactivate')
    change_state(tester, 'cleanup')
    tester.wait(waiting.done, what='reply at the cleanup')
    late = ask('lorry')
    tester.wait(late.done, what='reply while nothing is configured')
    for reply in (waiting.result(), late.result()):
        assert (reply.success, reply.message) == (False, services.NOT_CONFIGURED)
    known = tester.call(GET, GetCategories, GetCategories.Request())
    assert not known.categories.categories
    change_state(tester, 'configure')
    tester.wait_for_text('state=inactive')


def test_changes_of_the_words_cost_no_set_and_label_none_wrongly(start_node, tester, ask):
    """At least five requests a second, of which every third is refused."""
    tester.listen(WORDS, Categories, LATCHED)
    tester.listen(CUBES, MarkerArray)
    start_node(**{'sync.timeout': 5.0})
    tester.wait_matched()
    tester.play_transforms()
    begun, asked = time.monotonic(), []
    stamps = []
    for index in range(SETS):
        # ahead of the pace, whatever this machine's is; never more than may wait
        while len(asked) <= 5 * (time.monotonic() - begun) + index:
            number = len(asked)
            names = VOCABULARIES[number // 3 % 3] if number % 3 else ['car', 'Car']
            asked.append(ask(*names))
            tester.wait(lambda: sum(not f.done() for f in asked) < 8, what='reply')
        stamps.append(tester.play_set(index))
        tester.wait(lambda n=index: len(tester.heard[CUBES]) > n, what=f'map {index}')
    took = time.monotonic() - begun
    assert len(asked) / took >= 5
    tester.wait(lambda: all(future.done() for future in asked), what='replies')

    maps = [(nanoseconds(m.markers[0].header.stamp), m.markers[1:]) for m in tester.heard[CUBES]]
    assert [stamp for stamp, _ in maps] == stamps
    terms = {  # first stamp -> words
        nanoseconds(m.header.stamp): {category.name for category in m.categories}
        for m in tester.heard[WORDS]
        if nanoseconds(m.header.stamp)
    }
    assert len(terms) > SETS / 4
    for stamp, markers in maps:
        names = {marker.ns for marker in markers}
        assert names and names <= terms[max(first for first in terms if first <= stamp)], stamp
    replies = [future.result() for future in asked]
    refused = [reply for reply in replies if 'twice' in reply.message]
    assert len(refused) == len(range(0, len(asked), 3))
    used = {nanoseconds(r.first_stamp) for r in replies if r.success}
    assert used - {0} <= set(terms)
    tester.wait_for_text(f'sets complete={SETS}')
    assert not [text for text in tester.texts() if 'dropped: ' in text]
    print(f'{SETS} maps with {len(terms)} vocabularies, {len(asked) / took:.0f} requests a second')
