"""A request for more words than anybody waits for."""

from __future__ import annotations

import threading
import time

import pytest
import torch

pytest.importorskip('rclpy')

from lifecycle_msgs.srv import ChangeState

from gausstr_core.vocabulary.text_encoder import PIECE, TextEncoder
from gausstr_core.vocabulary.vocabulary import MAX_PROMPTS_TOGETHER
from gausstr_msgs.msg import Category
from gausstr_msgs.srv import SetCategories
from gausstr_ros.vocabulary import services

pytestmark = pytest.mark.ros
SET = '/gausstr/set_categories'


def request(categories, prompts, tag=''):
    """Prompts of 100 characters, none of them twice."""
    return SetCategories.Request(
        categories=[
            Category(
                name=f'category {number}',
                prompts=[f'{tag} {number} {k} '.ljust(100, 'x') for k in range(prompts)],
            )
            for number in range(categories)
        ]
    )


def change_state(tester, label, timeout=30.0):
    wanted = ChangeState.Request()
    wanted.transition.label = label
    reply = tester.call('/gausstr/change_state', ChangeState, wanted, timeout)
    assert reply.success, (label, tester.texts()[-8:])


@pytest.fixture
def encoding(monkeypatch):
    """Counts the pieces that are encoded, each of which takes a while; no model is loaded."""
    begun, pieces = threading.Event(), []

    def slow(self, words):
        pieces.append(len(words))
        begun.set()
        time.sleep(0.2)  # what a piece costs; not waited for
        return torch.nn.functional.normalize(torch.randn(len(words), self.dimension), dim=-1)

    monkeypatch.setattr(TextEncoder, '_encode_new', slow)
    return begun, pieces


def test_a_cleanup_does_not_wait_for_words_that_nobody_wants(
    start_node, tester, encoding, monkeypatch
):
    """field_reports R12: the cleanup called the encoding a stuck device, and the process ended."""
    begun, pieces = encoding
    node = start_node(watchdog_timeout=5.0)
    client = tester.node.create_client(SetCategories, SET)
    assert client.wait_for_service(10)
    replies = [client.call_async(request(32, 30, f'r{n}')) for n in range(3)]
    assert begun.wait(20)
    change_state(tester, 'deactivate')
    change_state(tester, 'cleanup')
    tester.wait(lambda: all(reply.done() for reply in replies), what='replies')
    assert [r.result().message for r in replies] == [services.NOT_CONFIGURED] * 3
    assert not node.stuck and max(pieces) <= PIECE
    assert sum(pieces) < 32 * 30 / 2, 'it went on after nobody wanted it'
    change_state(tester, 'configure')
    tester.wait_for_text('state=inactive')
    tester.node.destroy_client(client)


def test_too_many_prompts_together_are_refused_with_the_numbers(start_node, tester, encoding):
    """field_reports R12."""
    start_node()
    reply = tester.call(SET, SetCategories, request(255, 32))
    assert not reply.success and reply.vocabulary_id
    assert f'at most {MAX_PROMPTS_TOGETHER} prompts together, got 8160 of 255' in reply.message
    tester.wait_for_text('set_categories refused', 'prompts together')
    assert not encoding[1], 'something was encoded'
