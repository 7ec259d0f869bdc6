"""Runs micro-batches in parallel: pulls messages, runs the pipeline, acknowledges."""

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

# A run of the pipeline costs some 0.1 s of CPU, however few messages it has. With at least this
# time between starts that is a fraction of a core, and delays a prompt by 0.25 s at most.
BETWEEN_STARTS_S = 0.25
# A batch is published when all of it is done, so one slow prompt delays its whole batch: at most
# this share of the messages in progress.
LARGEST_BATCH = 1 / 8
# Messages of a failed run are delivered again after this time. A run fails, for example, when a
# topic has been deleted.
RETRY_AFTER_S = 10
PULL_ERROR_PAUSE_S = 1.0


class Batches:
    """Processes the messages of a subscription in micro-batches.

    Args:
        leases: pulls and acknowledges messages.
        run: runs the pipeline over one batch in the calling thread, and raises if that fails.
        max_batches: maximum number of parallel runs.
        max_messages: maximum number of messages under lease at once.
    """

    def __init__(
        self,
        leases: Leases,
        run: Callable[[list[PubsubMessage]], None],
        *,
        max_batches: int,
        max_messages: int,
    ) -> None:
        self._leases = leases
        self._run = run
        self._max_batches = max_batches
        self._room = max_messages
        self._max_batch_size = max(1, int(max_messages * LARGEST_BATCH))
        self._batches = 0
        self._changed = threading.Condition()

    def work(
        self,
        *,
        stop: Callable[[], bool],
        force: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> str:
        """Process messages until told to stop, then finish those in progress.

        Args:
            stop: returns whether to pull no more messages.
            force: returns whether to abandon messages in progress.
            progress: called about once a second with the number of messages in progress.

        Returns:
            DRAINED, or CANCELLED if messages were abandoned.
        """
        max_messages = self._room
        while not stop():
            progress(max_messages - self._room)
            if room := self._wait_for_room():
                started = time.monotonic()
                messages = self._pull(min(room, self._max_batch_size))
                if stop():  # a pull that was waiting may still have returned messages
                    self._leases.release([message.ack_id for message in messages], 0)
                elif messages:
                    self._begin(len(messages))
                    # A daemon thread, because a forced stop must not wait for it.
                    threading.Thread(target=self._work_on, args=(messages,), daemon=True).start()
                    time.sleep(max(0.0, started + BETWEEN_STARTS_S - time.monotonic()))
        _log.info("draining: %d messages in progress", max_messages - self._room)
        while self._batches and not force():
            progress(max_messages - self._room)
            with self._changed:
                self._changed.wait(1.0)
        self._leases.close()
        if self._batches:
            _log.warning("stopped with %d messages in progress", max_messages - self._room)
            return str(PipelineState.CANCELLED)
        return str(PipelineState.DRAINED)

    def _wait_for_room(self) -> int:
        with self._changed:
            if self._batches >= self._max_batches or self._room == 0:
                self._changed.wait(1.0)
            return self._room if self._batches < self._max_batches else 0

    def _pull(self, limit: int) -> list[pubsub_v1.ReceivedMessage]:
        try:
            return self._leases.pull(limit)
        except api_exceptions.GoogleAPIError as error:
            _log.error("cannot pull messages, will retry: %s", error)
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
                "micro-batch of %d failed; its messages will be delivered again in %d s",
                len(ids),
                RETRY_AFTER_S,
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
