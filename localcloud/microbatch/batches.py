"""Micro-batches side by side: pulls while there is room, runs, acknowledges."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.runners.runner import PipelineState
from google import pubsub_v1
from google.api_core import exceptions as api_exceptions

from localcloud.microbatch.leases import Leases

_log = logging.getLogger(__name__)

# A run of the pipeline costs some 0.1 s of CPU however few messages it has. Starting one at most
# this often keeps that to a fraction of a core, and costs a prompt a quarter of a second at most.
BETWEEN_STARTS_S = 0.25
# A batch is published when all of it is done: one slow prompt may hold up this share, at most, of
# what is under way.
LARGEST_BATCH = 1 / 8
# After a failed run (say, a topic that is gone) its messages come back this much later.
RETRY_AFTER_S = 10
PULL_ERROR_PAUSE_S = 1.0


class Batches:
    """Works off a subscription.

    Args:
        leases: where messages come from.
        run: runs the pipeline over one batch, in the calling thread; raises if it failed.
        most_batches: most runs side by side.
        most_messages: most messages under lease at once.
    """

    def __init__(
        self,
        leases: Leases,
        run: Callable[[list[PubsubMessage]], None],
        *,
        most_batches: int,
        most_messages: int,
    ) -> None:
        self._leases = leases
        self._run = run
        self._most_batches = most_batches
        self._room = most_messages
        self._most_in_batch = max(1, int(most_messages * LARGEST_BATCH))
        self._batches = 0
        self._changed = threading.Condition()

    def work(
        self,
        *,
        stop: Callable[[], bool],
        force: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> str:
        """Pull and run until `stop`, then finish what is under way, unless `force`.

        `progress` is called about once a second with the number of messages under way.
        """
        most_messages = self._room
        while not stop():
            progress(most_messages - self._room)
            if room := self._wait_for_room():
                started = time.monotonic()
                messages = self._pull(min(room, self._most_in_batch))
                if stop():  # what a waiting pull still brought is for whoever comes next
                    self._leases.release([message.ack_id for message in messages], 0)
                elif messages:
                    self._begin(len(messages))
                    # A daemon: a forced stop must not wait for it.
                    threading.Thread(target=self._work_on, args=(messages,), daemon=True).start()
                    time.sleep(max(0.0, started + BETWEEN_STARTS_S - time.monotonic()))
        _log.info("draining: %d messages under way", most_messages - self._room)
        while self._batches and not force():
            progress(most_messages - self._room)
            with self._changed:
                self._changed.wait(1.0)
        self._leases.close()
        if self._batches:
            _log.warning("left with %d messages under way", most_messages - self._room)
            return str(PipelineState.CANCELLED)
        return str(PipelineState.DRAINED)

    def _wait_for_room(self) -> int:
        with self._changed:
            if self._batches >= self._most_batches or self._room == 0:
                self._changed.wait(1.0)
            return self._room if self._batches < self._most_batches else 0

    def _pull(self, most: int) -> list[pubsub_v1.ReceivedMessage]:
        try:
            return self._leases.pull(most)
        except api_exceptions.GoogleAPIError as error:
            _log.error("cannot pull, trying again: %s", error)
            time.sleep(PULL_ERROR_PAUSE_S)
            return []

    def _begin(self, messages: int) -> None:
        with self._changed:
            self._batches += 1
            self._room -= messages

    def _work_on(self, received: list[pubsub_v1.ReceivedMessage]) -> None:
        ids = [message.ack_id for message in received]
        try:
            self._run([_message(item.message) for item in received])
            self._leases.acknowledge(ids)
        except Exception:
            _log.exception(
                "micro-batch of %d failed; its messages come again in %d s", len(ids), RETRY_AFTER_S
            )
            self._leases.release(ids, RETRY_AFTER_S)
        finally:
            with self._changed:
                self._batches -= 1
                self._room += len(received)
                self._changed.notify_all()


def _message(message: Any) -> PubsubMessage:
    return PubsubMessage(
        message.data, dict(message.attributes), message.message_id, message.publish_time
    )
