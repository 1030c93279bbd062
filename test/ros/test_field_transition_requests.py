"""Transitions that the state does not allow are refused: rclpy 1209, PR 1319; navigation2 4693.

rclpy 7 lets the error of its state machine out of the service's callback, which ended the process.
"""

from __future__ import annotations

import logging
import random
import threading

import pytest

pytest.importorskip('rclpy')

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor

from gausstr_ros.node.lifecycle_node import GaussTRNode

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
CHANGE = '/gausstr/change_state'

# The lifecycle of ROS 2: state -> number of the transition -> state after it.
MODEL = {
    'unconfigured': {1: 'inactive', 5: 'finalized'},
    'inactive': {2: 'unconfigured', 3: 'active', 6: 'finalized'},
    'active': {4: 'inactive', 7: 'finalized'},
    'finalized': {},
}
LABELS = {
    'configure': (1,), 'cleanup': (2,), 'activate': (3,), 'deactivate': (4,), 'shutdown': (5, 6, 7)
}  # fmt: skip
# create and destroy, transitions that only callbacks make, and numbers that are none
NEVER = (0, 8, 10, 11, 20, 30, 42, 61, 97, 99, 100, 213, 255)
STRANGE = ('Activate', 'transition_success', 'create', 'wake up', '3', 'configure ')


def after(state, asked):
    """The state after a request by number or label, None where it is refused."""
    numbers = LABELS.get(asked, ()) if isinstance(asked, str) else (asked,)
    return next((MODEL[state][n] for n in numbers if n in MODEL[state]), None)


def request(asked):
    if isinstance(asked, str):
        return ChangeState.Request(transition=Transition(label=asked))
    return ChangeState.Request(transition=Transition(id=asked))


@pytest.fixture
def manager(tester):
    """A manager with clients that it keeps: manager.ask(number or label), manager.state()."""

    class Manager:
        change = tester.node.create_client(ChangeState, CHANGE)
        get = tester.node.create_client(GetState, '/gausstr/get_state')

        def send(self, asked):
            assert self.change.wait_for_service(20)
            return self.change.call_async(request(asked))

        def ask(self, asked):
            return reply(self.send(asked)).success

        def state(self):
            assert self.get.wait_for_service(20)
            return reply(self.get.call_async(GetState.Request())).current_state.label

    def notify(_):
        with tester.changed:
            tester.changed.notify_all()

    def reply(future):
        future.add_done_callback(notify)
        tester.wait(future.done, 60, 'reply')
        return future.result()

    return Manager()


def draw(chance, count, others=(5, 6, 7)):
    """Requests; those that take long, configure and cleanup, are rare where they are allowed."""
    usual = [3, 4, 3, 4, 'activate', 'deactivate', *NEVER, *STRANGE, *others]
    state, drawn = 'inactive', []
    while len(drawn) < count:
        asked = chance.choice([*usual, 1, 2, 'configure', 'cleanup'])
        then = after(state, asked)
        rare = then == 'finalized' or (then == 'unconfigured' and chance.random() < 0.7)
        if not rare:
            drawn.append(asked)
            state = then or state
    return drawn


@pytest.mark.parametrize(
    ('path', 'asked'),
    [
        ((), 3),  # activate while unconfigured
        ((), 4),
        ((), 6),
        ((), 200),
        ((1,), 1),  # configure while inactive
        ((1,), 7),
        ((1, 3), 1),  # configure while active
        ((1, 3), 3),
        ((1, 3), 'cleanup'),
        ((1, 3), 0),
        ((5,), 1),  # finalized
        ((5,), 'shutdown'),
        ((5,), 5),
    ],
)
def test_a_transition_that_the_state_does_not_allow_is_refused(start_node, manager, path, asked):
    start_node(activate=False)
    state = 'unconfigured'
    for step in path:
        assert manager.ask(step)
        state = MODEL[state][step]
    for _ in range(3):
        assert manager.ask(asked) is False
        assert manager.state() == state


@pytest.mark.parametrize('seed', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_hundred_requests_get_the_replies_of_the_lifecycle(start_node, manager, seed):
    start_node(activate=False)
    assert manager.ask(1)
    state = 'inactive'
    for asked in draw(random.Random(seed), 200):
        then = after(state, asked)
        assert manager.ask(asked) is (then is not None), (state, asked)
        state = then or state
        assert manager.state() == state
    assert manager.ask('shutdown')
    assert manager.ask(1) is False and manager.state() == 'finalized'


class Client:
    """One manager that asks one thing after the other, from a thread and a node of its own."""

    def __init__(self, name, asked):
        self._node = rclpy.create_node(name)
        self._client = self._node.create_client(ChangeState, CHANGE)
        self.asked, self.replies = asked, []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        assert self._client.wait_for_service(20)
        for asked in self.asked:
            future = self._client.call_async(request(asked))
            executor.spin_until_future_complete(future, timeout_sec=60)
            self.replies.append(future.result() and future.result().success)
        executor.shutdown()

    def join(self):
        self._thread.join(120)
        self._node.destroy_node()
        return list(zip(self.asked, self.replies, strict=True))


def possible_ends(first, second, start):
    """The states after both sequences in any order of their requests that explains the replies."""
    states = {(0, 0): {start}}
    for i in range(len(first) + 1):
        for j in range(len(second) + 1):
            here = states.setdefault((i, j), set())
            for before, step in (((i - 1, j), first[i - 1 : i]), ((i, j - 1), second[j - 1 : j])):
                if min(before) < 0:
                    continue
                ((asked, success),) = step
                for state in states[before]:
                    then = after(state, asked)
                    if success is (then is not None):
                        here.add(then or state)
    return states[len(first), len(second)]


def test_two_managers_at_once_get_replies_that_fit_one_order(start_node, manager):
    """navigation2 4693, 3080: two ask at once, each sees the state that the other has left."""
    start_node(activate=False)
    assert manager.ask(1)
    clients = [Client(f'manager_{n}', draw(random.Random(n), 100, others=())) for n in (7, 8)]
    first, second = (client.join() for client in clients)
    assert None not in [success for _, success in (*first, *second)]
    assert {True, False} == {success for _, success in (*first, *second)}
    assert manager.state() in possible_ends(first, second, 'inactive')


def test_the_order_of_calls_of_a_manager_beside_autostart(start_node, tester, manager):
    """Nav2's manager configures and activates what it manages, and so does our autostart."""
    tester.listen(GRID, OccupancyGrid)
    start_node()  # as autostart leaves it
    for asked in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert manager.state() == 'active'
        assert manager.ask(asked) is False
    for asked in (4, 2, 2, 1, 1, 3, 3):  # reset, then startup, each reset and startup twice
        manager.ask(asked)
    assert manager.state() == 'active'
    tester.wait_matched()
    tester.play_transforms()
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map after it')


def test_requests_while_a_transition_runs_are_answered_after_it(
    start_node, tester, manager, monkeypatch
):
    """They wait their turn, and are judged by the state that the transition leads to."""
    entered, release = threading.Event(), threading.Event()
    configure = GaussTRNode._configure

    def slowly(node):
        entered.set()
        assert release.wait(30)
        configure(node)

    monkeypatch.setattr(GaussTRNode, '_configure', slowly)
    start_node(activate=False)
    futures = [manager.send(1)]
    assert entered.wait(20)
    futures += [manager.send(asked) for asked in (1, 3, 77, 'configure', 'activate')]
    release.set()
    tester.wait(lambda: all(future.done() for future in futures), 30, 'replies')
    assert [future.result().success for future in futures] == [
        True, False, True, False, False, False
    ]  # fmt: skip
    assert manager.state() == 'active'


def test_log_and_diagnostics_tell_of_what_was_refused(start_node, tester, manager):
    start_node(activate=False)
    lines = []

    class Collect(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Collect(logging.WARNING)
    logging.getLogger('gausstr_ros').addHandler(handler)
    try:
        assert manager.ask(3) is False
    finally:
        logging.getLogger('gausstr_ros').removeHandler(handler)
    assert lines == [
        'change_state: refused transition 3; possible in this state: configure (1), shutdown (5)'
    ]
    tester.wait_for_text('transitions refused=1')
