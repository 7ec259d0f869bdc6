"""StreamingPull: a stream with messages in one direction, acks and lease changes in the other."""

import asyncio
import contextlib
from typing import Any

import grpc

from localcloud.pubsub import names, protobuf
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.entry import Consumer
from localcloud.pubsub.errors import invalid
from localcloud.pubsub.received_message import received_pb
from localcloud.pubsub.wakeups import Wakeups

KEEPALIVE_S = 30.0
"""An idle client with protocol version 1 is sent an empty response at this interval."""

_BATCH = 100
"""Maximum messages in a response, so that parallel streams share a subscription's messages."""


class Stream:
    """One stream. Its leases outlive it: unacknowledged messages return at their deadlines."""

    def __init__(
        self, broker: Broker, committer: Committer, wakeups: Wakeups, stopping: asyncio.Event
    ) -> None:
        self._broker = broker
        self._committer = committer
        self._wakeups = wakeups
        self._stopping = stopping
        self._name = ""
        self._deadline_s = 0

    async def serve(self, context: Any) -> None:
        """Serve the stream until the client ends it or the server stops.

        Raises:
            PubSubError: a request of the client is invalid.
        """
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        self._name = names.check_subscription(first.subscription)
        self._broker.subscription(self._name)
        if not first.stream_ack_deadline_seconds:
            raise invalid("The first message of a stream must set stream_ack_deadline_seconds.")
        self._apply(first)
        keepalive_s = KEEPALIVE_S if first.protocol_version >= 1 else None
        with self._wakeups.sleeper(self._name) as wake:
            consumer = Consumer(
                first.max_outstanding_messages, first.max_outstanding_bytes, wake.set
            )
            reader = asyncio.create_task(self._read(context))
            reader.add_done_callback(lambda _task: wake.set())
            try:
                await self._write(context, consumer, wake, reader, keepalive_s)
            finally:
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await reader

    async def _write(
        self,
        context: Any,
        consumer: Consumer,
        wake: asyncio.Event,
        reader: asyncio.Task[None],
        keepalive_s: float | None,
    ) -> None:
        while not reader.done():
            if self._stopping.is_set():
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE, "The server is stopping; try again."
                )
            wake.clear()
            deliveries = self._broker.pull(self._name, _BATCH, self._deadline_s, consumer)
            if deliveries:
                self._committer.soon()
                await context.write(
                    protobuf.StreamingPullResponse(received_messages=map(received_pb, deliveries))
                )
                continue
            try:
                await asyncio.wait_for(wake.wait(), keepalive_s)
            except TimeoutError:
                await context.write(protobuf.StreamingPullResponse())
        reader.result()

    async def _read(self, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.subscription:
                raise invalid("subscription may only be set in first message.")
            if (
                request.max_outstanding_messages
                or request.max_outstanding_bytes
                or request.protocol_version
            ):
                raise invalid(
                    "max_outstanding_messages, max_outstanding_bytes and protocol_version may only "
                    "be set in the first message."
                )
            self._apply(request)

    def _apply(self, request: Any) -> None:
        """Carry out a request of the stream. An empty request is a client's keep-alive."""
        if deadline_s := request.stream_ack_deadline_seconds:
            if not 10 <= deadline_s <= 600:
                raise invalid(
                    "stream_ack_deadline_seconds must be between 10 and 600 seconds; "
                    f"{deadline_s} was given."
                )
            self._deadline_s = deadline_s
        ack_ids, seconds = request.modify_deadline_ack_ids, request.modify_deadline_seconds
        if len(ack_ids) != len(seconds):
            raise invalid(
                "modify_deadline_ack_ids and modify_deadline_seconds must have the same size; "
                f"{len(ack_ids)} and {len(seconds)} were given."
            )
        if request.ack_ids:
            self._broker.acknowledge(self._name, request.ack_ids)
        if ack_ids:
            changes = zip(ack_ids, map(check_ack_deadline, seconds), strict=True)
            self._broker.modify_ack_deadline(self._name, changes)
        self._committer.soon()


def check_ack_deadline(seconds: int) -> int:
    """Return `seconds`; raise INVALID_ARGUMENT unless a lease can last that long."""
    if not 0 <= seconds <= 600:
        raise invalid(
            f"Invalid ack deadline given (ack_deadline={seconds}). "
            "The ack deadline must be between 0 and 600 seconds."
        )
    return seconds
