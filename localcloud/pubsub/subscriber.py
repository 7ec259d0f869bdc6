"""The service google.pubsub.v1.Subscriber: converts between protobuf and the broker."""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf import empty_pb2

from localcloud.pubsub import names, protobuf, resources
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.errors import invalid, unimplemented
from localcloud.pubsub.message import Delivery
from localcloud.pubsub.paging import page
from localcloud.pubsub.received_message import received_pb
from localcloud.pubsub.streaming import Stream, check_ack_deadline
from localcloud.pubsub.wakeups import Wakeups

MAX_PULL = 1_000
"""Maximum messages in one response, regardless of the request."""

LONGEST_PULL_S = 60.0
"""How long a pull without a deadline waits for a message."""

_DEADLINE_MARGIN_S = 1.0
"""An empty pull returns this long before its client's deadline, as the service does."""


class Subscriber:
    """The methods return responses, and raise `PubSubError`.

    Once `stopping` is set and the sleepers have been woken, pulls return empty and streams end.
    """

    def __init__(
        self, broker: Broker, committer: Committer, wakeups: Wakeups, stopping: asyncio.Event
    ) -> None:
        self._broker = broker
        self._committer = committer
        self._wakeups = wakeups
        self._stopping = stopping

    def unary(self) -> dict[str, tuple[Callable[..., Any], Any]]:
        """Return all methods except the streaming one by name, each with its request's class."""
        return {
            "CreateSubscription": (self.create_subscription, protobuf.Subscription),
            "GetSubscription": (self.get_subscription, protobuf.GetSubscriptionRequest),
            "UpdateSubscription": (self.update_subscription, protobuf.UpdateSubscriptionRequest),
            "ListSubscriptions": (self.list_subscriptions, protobuf.ListSubscriptionsRequest),
            "DeleteSubscription": (self.delete_subscription, protobuf.DeleteSubscriptionRequest),
            "Pull": (self.pull, protobuf.PullRequest),
            "Acknowledge": (self.acknowledge, protobuf.AcknowledgeRequest),
            "ModifyAckDeadline": (self.modify_ack_deadline, protobuf.ModifyAckDeadlineRequest),
            "Seek": (self.seek, protobuf.SeekRequest),
        }

    async def create_subscription(self, request: Any, _context: Any) -> Any:
        """Create a subscription; return the `Subscription`."""
        settings = self._broker.create_subscription(resources.parse_subscription(request))
        await self._committer.durable()
        return resources.subscription_pb(settings)

    async def get_subscription(self, request: Any, _context: Any) -> Any:
        """Return a `Subscription`."""
        name = names.check_subscription(request.subscription)
        return resources.subscription_pb(self._broker.subscription(name))

    async def update_subscription(self, request: Any, _context: Any) -> Any:
        """Update a subscription; return the new `Subscription`."""
        paths = list(request.update_mask.paths)
        settings = self._broker.update_subscription(
            names.check_subscription(request.subscription.name),
            lambda old: resources.updated_subscription(old, request.subscription, paths),
        )
        await self._committer.durable()
        return resources.subscription_pb(settings)

    async def list_subscriptions(self, request: Any, _context: Any) -> Any:
        """Return a page of a project's subscriptions."""
        settings = self._broker.subscriptions(names.check_project(request.project))
        settings, token = page(
            settings, lambda each: each.name, request.page_size, request.page_token
        )
        return protobuf.ListSubscriptionsResponse(
            subscriptions=[resources.subscription_pb(each) for each in settings],
            next_page_token=token,
        )

    async def delete_subscription(self, request: Any, _context: Any) -> Any:
        """Delete a subscription; return an empty response."""
        self._broker.delete_subscription(names.check_subscription(request.subscription))
        await self._committer.durable()
        return empty_pb2.Empty()

    async def pull(self, request: Any, context: Any) -> Any:
        """Return messages; none if none arrived, or if the client did not want to wait."""
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
        return protobuf.PullResponse(received_messages=map(received_pb, deliveries))

    async def acknowledge(self, request: Any, _context: Any) -> Any:
        """Acknowledge messages. After the empty response not even a crash redelivers them."""
        name = names.check_subscription(request.subscription)
        self._broker.acknowledge(name, _required(request.ack_ids))
        await self._committer.durable()
        return empty_pb2.Empty()

    async def modify_ack_deadline(self, request: Any, _context: Any) -> Any:
        """Change when leases end; return an empty response."""
        name = names.check_subscription(request.subscription)
        seconds = check_ack_deadline(request.ack_deadline_seconds)
        self._broker.modify_ack_deadline(
            name, [(ack_id, seconds) for ack_id in _required(request.ack_ids)]
        )
        await self._committer.durable()
        return empty_pb2.Empty()

    async def seek(self, request: Any, _context: Any) -> Any:
        """Seek to a time; return an empty response. There are no snapshots here."""
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
        return protobuf.SeekResponse()

    async def streaming_pull(self, _requests: Any, context: Any) -> None:
        """Serve a stream until the client ends it, a request is invalid, or the server stops."""
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


def _required(ack_ids: Any) -> list[str]:
    if not ack_ids:
        raise invalid("You have not specified an ack ID in the request.")
    return list(ack_ids)
