"""The services set_categories and get_categories, and the topic of the vocabulary in force.

The services are there for as long as the node is, so that a reply can be sent in every state. Text
is encoded in a thread of its own, one request after the other, and delays neither images nor maps.
Another thread waits for the first set that uses the new vocabulary, so that a request does not
wait for the set of the one before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from dataclasses import dataclass
from threading import BoundedSemaphore, Event
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.vocabulary.text_encoder import UnwantedError
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_msgs.msg import Categories
from gausstr_msgs.srv import GetCategories, SetCategories
from gausstr_ros.health.diagnostics import Health
from gausstr_ros.health.stage_times import StuckError
from gausstr_ros.messages.stamps import time_message
from gausstr_ros.publishing.output_topics import LATCHED, NO_EVENTS
from gausstr_ros.vocabulary.in_force import VocabularyInForce, VocabularyPeriod
from gausstr_ros.vocabulary.messages import categories_message, category_from_message

_LOGGER = logging.getLogger(__name__)

REPLY_WITHIN = 2.0  # seconds after the encoding, where no set comes
MOST_WAITING = 8  # requests whose words are not encoded yet
ENCODING = 'encoding words'
NOT_CONFIGURED = 'the node is not configured'
REPLACED = 'another request replaced these words before a set used them'


@dataclass(frozen=True)
class _Open:
    """What exists between configure and cleanup."""

    pipeline: OccupancyPipeline
    relabel: Callable[[Vocabulary], None]
    in_force: VocabularyInForce
    publisher: Any
    encoding: ThreadPoolExecutor
    replying: ThreadPoolExecutor
    room: BoundedSemaphore
    closed: Event  # requests that still wait are turned away


class VocabularyServices:
    """Offers the services on a node.

    Args:
        node: whose services they are.
        health: told of the vocabulary in force and of refused ones.
    """

    def __init__(self, node: Node, health: Health) -> None:
        self._node = node
        self._health = health
        self._open: _Open | None = None
        self._asked = 0  # requests whose words were or will be encoded
        # reentrant: a callback that awaits its reply must not keep the next request waiting
        node.create_service(
            SetCategories,
            '~/set_categories',
            self._set_categories,
            callback_group=ReentrantCallbackGroup(),
        )
        node.create_service(GetCategories, '~/get_categories', self._get_categories)

    def open(
        self,
        pipeline: OccupancyPipeline,
        vocabulary: Vocabulary,
        relabel: Callable[[Vocabulary], None],
    ) -> VocabularyInForce:
        """Put the first vocabulary in force and take requests.

        Args:
            pipeline: encodes the words.
            vocabulary: the first.
            relabel: called in the text thread with a new one before it is in force, unless
                another request follows already.
        """
        publisher = self._node.create_publisher(
            Categories, '~/categories', LATCHED, event_callbacks=NO_EVENTS
        )
        closed = Event()

        def announce(vocabulary: Vocabulary, first_stamp: int | None) -> None:
            if not closed.is_set():
                publisher.publish(categories_message(vocabulary, first_stamp))
                self._health.note('vocabulary', vocabulary.id)

        with ExitStack() as undo:
            undo.callback(self._node.destroy_publisher, publisher)
            in_force = VocabularyInForce(vocabulary, announce)
            undo.pop_all()
        self._open = _Open(
            pipeline,
            relabel,
            in_force,
            publisher,
            ThreadPoolExecutor(1, 'gausstr text'),
            ThreadPoolExecutor(1, 'gausstr replies'),
            BoundedSemaphore(MOST_WAITING),
            closed,
        )
        return in_force

    def close(self, timeout: float) -> None:
        """Turn away who still waits, and take no requests until the next `open`.

        Raises:
            StuckError: the encoder does not come to its end within `timeout` seconds.
        """
        if self._open is None:
            return
        parts, self._open = self._open, None
        parts.closed.set()
        parts.in_force.close()
        for thread in (parts.encoding, parts.replying):
            try:
                thread.submit(_nothing).result(timeout)  # comes after all that is waiting
            except FutureTimeoutError:
                raise StuckError.of([ENCODING], timeout) from None
            thread.shutdown()
        self._node.destroy_publisher(parts.publisher)

    def _get_categories(
        self, request: GetCategories.Request, response: GetCategories.Response
    ) -> GetCategories.Response:
        if self._open is not None:
            response.categories = categories_message(*self._open.in_force.now)
        return response

    async def _set_categories(
        self, request: SetCategories.Request, response: SetCategories.Response
    ) -> SetCategories.Response:
        parts = self._open
        if parts is None:
            return self._refuse(response, NOT_CONFIGURED)
        if not parts.room.acquire(blocking=False):
            response.vocabulary_id = parts.in_force.now[0].id
            return self._refuse(
                response,
                f'{MOST_WAITING} requests wait for their words to be encoded already; send the '
                'next one after a reply',
            )
        done = Future(executor=self._node.executor)
        self._asked += 1
        parts.encoding.submit(self._encode, parts, self._asked, request, response, done)
        return await done

    def _encode(
        self,
        parts: _Open,
        number: int,
        request: SetCategories.Request,
        response: SetCategories.Response,
        done: Future,
    ) -> None:
        """In the text thread: encode and replace, then leave the rest to the other thread."""
        try:
            if parts.closed.is_set():
                raise ValueError(NOT_CONFIGURED)
            wanted = [category_from_message(message) for message in request.categories]
            with self._health.stage(ENCODING):
                vocabulary = parts.pipeline.build_vocabulary(
                    wanted, lambda: not parts.closed.is_set()
                )
                if number == self._asked:  # else these words are replaced at once
                    parts.relabel(vocabulary)
            period = parts.in_force.replace(vocabulary)
        except UnwantedError:  # closed while it encoded
            self._refuse(response, NOT_CONFIGURED)
        except ValueError as error:
            self._refuse(response, str(error))
        except Exception as error:  # the caller must get a reply
            _LOGGER.exception('set_categories failed')
            self._refuse(response, f'{type(error).__name__}: {error}')
        else:
            parts.replying.submit(self._reply, parts, period, response, done)
            return
        finally:
            parts.room.release()
        response.vocabulary_id = parts.in_force.now[0].id
        self._finish(done, response)

    def _reply(
        self,
        parts: _Open,
        period: VocabularyPeriod,
        response: SetCategories.Response,
        done: Future,
    ) -> None:
        """Wait for the first set, fill in the reply."""
        parts.in_force.wait_for_use(period, REPLY_WITHIN)
        response.success = period.first_stamp is not None or not period.ended
        if response.success:
            response.message = '; '.join(period.vocabulary.remarks) or 'ok'
            response.vocabulary_id = period.vocabulary.id
            response.first_stamp = time_message(period.first_stamp or 0)
        else:
            response.message = NOT_CONFIGURED if parts.closed.is_set() else REPLACED
            response.vocabulary_id = parts.in_force.now[0].id
        self._finish(done, response)

    def _refuse(self, response: SetCategories.Response, why: str) -> SetCategories.Response:
        response.message = why
        text = f'set_categories refused: {why}'
        _LOGGER.error(text)
        self._health.failed(text)
        return response

    def _finish(self, done: Future, response: SetCategories.Response) -> None:
        done.set_result(response)
        executor = self._node.executor
        if executor is not None:
            executor.wake()


def _nothing() -> None:
    """Runs when all before it has run."""
