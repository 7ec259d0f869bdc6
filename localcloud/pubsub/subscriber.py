"""google.pubsub.v1.Subscriber: from protobuf to the broker and back."""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf import empty_pb2

from localcloud.pubsub import names, resources, wire
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.deliveries import received_pb
from localcloud.pubsub.errors import invalid, unimplemented
from localcloud.pubsub.message import Delivery
from localcloud.pubsub.paging import page
from localcloud.pubsub.streaming import Stream, check_ack_deadline
from localcloud.pubsub.wakeups import Wakeups

MAX_PULL = 1_000
"""Most messages in one answer, whatever is asked for."""

LONGEST_PULL_S = 60.0
"""How long a pull without a deadline of its own waits for a message."""

_DEADLINE_MARGIN_S = 1.0
"""So long before its client would give up, a pull that finds nothing answers. So does Google's."""


class Subscriber:
    """Its methods return what gRPC answers, and raise `PubSubError`.

    Once `stopping` is set (and sleepers are woken) pulls come back empty and streams end.
    """

    def __init__(
        self, broker: Broker, committer: Committer, wakeups: Wakeups, stopping: asyncio.Event
    ) -> None:
        self._broker = broker
        self._committer = committer
        self._wakeups = wakeups
        self._stopping = stopping

    def unary(self) -> dict[str, tuple[Callable[..., Any], Any]]:
        """By name: each method but the streaming one, and the class of its request."""
        return {
            "CreateSubscription": (self.create_subscription, wire.Subscription),
            "GetSubscription": (self.get_subscription, wire.GetSubscriptionRequest),
            "UpdateSubscription": (self.update_subscription, wire.UpdateSubscriptionRequest),
            "ListSubscriptions": (self.list_subscriptions, wire.ListSubscriptionsRequest),
            "DeleteSubscription": (self.delete_subscription, wire.DeleteSubscriptionRequest),
            "Pull": (self.pull, wire.PullRequest),
            "Acknowledge": (self.acknowledge, wire.AcknowledgeRequest),
            "ModifyAckDeadline": (self.modify_ack_deadline, wire.ModifyAckDeadlineRequest),
            "Seek": (self.seek, wire.SeekRequest),
        }

    async def create_subscription(self, request: Any, _context: Any) -> Any:
        """A `Subscription`, created."""
        settings = self._broker.create_subscription(resources.parse_subscription(request))
        await self._committer.durable()
        return resources.subscription_pb(settings)

    async def get_subscription(self, request: Any, _context: Any) -> Any:
        """A `Subscription`."""
        name = names.check_subscription(request.subscription)
        return resources.subscription_pb(self._broker.subscription(name))

    async def update_subscription(self, request: Any, _context: Any) -> Any:
        """The `Subscription` as it is after the update."""
        paths = list(request.update_mask.paths)
        settings = self._broker.update_subscription(
            names.check_subscription(request.subscription.name),
            lambda old: resources.updated_subscription(old, request.subscription, paths),
        )
        await self._committer.durable()
        return resources.subscription_pb(settings)

    async def list_subscriptions(self, request: Any, _context: Any) -> Any:
        """A page of a project's subscriptions."""
        every = self._broker.subscriptions(names.check_project(request.project))
        found, token = page(every, lambda each: each.name, request.page_size, request.page_token)
        return wire.ListSubscriptionsResponse(
            subscriptions=[resources.subscription_pb(each) for each in found],
            next_page_token=token,
        )

    async def delete_subscription(self, request: Any, _context: Any) -> Any:
        """Nothing."""
        self._broker.delete_subscription(names.check_subscription(request.subscription))
        await self._committer.durable()
        return empty_pb2.Empty()

    async def pull(self, request: Any, context: Any) -> Any:
        """Messages, at least one unless the wait for it was declined or in vain."""
        name = names.check_subscription(request.subscription)
        if request.max_messages <= 0:
            raise invalid(
                "You have passed an invalid argument to the service (argument=max_messages): "
                f"{request.max_messages} was given, at least 1 is expected."
            )
        limit = min(request.max_messages, MAX_PULL)
        deliveries = self._broker.pull(name, limit)
        if not deliveries and not request.return_immediately:
            deliveries = await self._wait_for_messages(name, limit, context.time_remaining())
        self._committer.soon()
        return wire.PullResponse(received_messages=map(received_pb, deliveries))

    async def acknowledge(self, request: Any, _context: Any) -> Any:
        """Nothing; from then on the messages do not come back, not even after a crash."""
        name = names.check_subscription(request.subscription)
        self._broker.acknowledge(name, _given(request.ack_ids))
        await self._committer.durable()
        return empty_pb2.Empty()

    async def modify_ack_deadline(self, request: Any, _context: Any) -> Any:
        """Nothing."""
        name = names.check_subscription(request.subscription)
        seconds = check_ack_deadline(request.ack_deadline_seconds)
        self._broker.modify_ack_deadline(
            name, [(ack_id, seconds) for ack_id in _given(request.ack_ids)]
        )
        await self._committer.durable()
        return empty_pb2.Empty()

    async def seek(self, request: Any, _context: Any) -> Any:
        """Nothing. To a time only: there are no snapshots here."""
        name = names.check_subscription(request.subscription)
        if request.HasField("snapshot"):
            raise unimplemented("Seek to a snapshot")
        if not request.HasField("time"):
            raise invalid(
                "No target was specified in the SeekRequest. Must specify either a time or a "
                "snapshot."
            )
        self._broker.seek(name, request.time.ToNanoseconds())
        await self._committer.durable()
        return wire.SeekResponse()

    async def streaming_pull(self, _requests: Any, context: Any) -> None:
        """Serve one stream until the client ends it, something is wrong, or the server stops."""
        stream = Stream(self._broker, self._committer, self._wakeups, self._stopping)
        await stream.serve(context)

    async def _wait_for_messages(
        self, name: str, limit: int, remaining_s: float | None
    ) -> list[Delivery]:
        loop = asyncio.get_running_loop()
        wait_s = LONGEST_PULL_S
        if remaining_s is not None:
            margin_s = min(_DEADLINE_MARGIN_S, 0.2 * remaining_s)
            wait_s = min(wait_s, remaining_s - margin_s)
        end = loop.time() + wait_s
        with self._wakeups.sleeper(name) as wake:
            while not self._stopping.is_set():
                try:
                    await asyncio.wait_for(wake.wait(), end - loop.time())
                except TimeoutError:
                    break
                wake.clear()
                deliveries = self._broker.pull(name, limit)
                if deliveries:
                    return deliveries
        return []


def _given(ack_ids: Any) -> list[str]:
    if not ack_ids:
        raise invalid("You have not specified an ack ID in the request.")
    return list(ack_ids)
