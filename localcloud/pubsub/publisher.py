"""google.pubsub.v1.Publisher: from protobuf to the broker and back."""

from collections.abc import Callable
from typing import Any

from google.protobuf import empty_pb2

from localcloud.pubsub import names, resources, wire
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.limits import parse_publish
from localcloud.pubsub.paging import page


class Publisher:
    """Its methods return what gRPC answers, once it is on disk, and raise `PubSubError`."""

    def __init__(self, broker: Broker, committer: Committer) -> None:
        self._broker = broker
        self._committer = committer

    def unary(self) -> dict[str, tuple[Callable[..., Any], Any]]:
        """By name: each method, and the class of its request."""
        return {
            "CreateTopic": (self.create_topic, wire.Topic),
            "GetTopic": (self.get_topic, wire.GetTopicRequest),
            "ListTopics": (self.list_topics, wire.ListTopicsRequest),
            "ListTopicSubscriptions": (
                self.list_topic_subscriptions,
                wire.ListTopicSubscriptionsRequest,
            ),
            "UpdateTopic": (self.update_topic, wire.UpdateTopicRequest),
            "DeleteTopic": (self.delete_topic, wire.DeleteTopicRequest),
            "Publish": (self.publish, wire.PublishRequest),
        }

    async def create_topic(self, request: Any, _context: Any) -> Any:
        """A `Topic`, created."""
        topic = self._broker.create_topic(resources.parse_topic(request))
        await self._committer.durable()
        return resources.topic_pb(topic)

    async def get_topic(self, request: Any, _context: Any) -> Any:
        """A `Topic`."""
        return resources.topic_pb(self._broker.topic(names.check_topic(request.topic)))

    async def list_topics(self, request: Any, _context: Any) -> Any:
        """A page of a project's topics."""
        topics = self._broker.topics(names.check_project(request.project))
        found, token = page(topics, lambda each: each.name, request.page_size, request.page_token)
        return wire.ListTopicsResponse(
            topics=[resources.topic_pb(topic) for topic in found], next_page_token=token
        )

    async def list_topic_subscriptions(self, request: Any, _context: Any) -> Any:
        """A page of the names of a topic's subscriptions."""
        attached = self._broker.subscriptions_of(names.check_topic(request.topic))
        found, token = page(attached, str, request.page_size, request.page_token)
        return wire.ListTopicSubscriptionsResponse(subscriptions=found, next_page_token=token)

    async def update_topic(self, request: Any, _context: Any) -> Any:
        """The `Topic` as it is after the update."""
        paths = list(request.update_mask.paths)
        topic = self._broker.update_topic(
            names.check_topic(request.topic.name),
            lambda old: resources.updated_topic(old, request.topic, paths),
        )
        await self._committer.durable()
        return resources.topic_pb(topic)

    async def delete_topic(self, request: Any, _context: Any) -> Any:
        """Nothing."""
        self._broker.delete_topic(names.check_topic(request.topic))
        await self._committer.durable()
        return empty_pb2.Empty()

    async def publish(self, request: Any, _context: Any) -> Any:
        """The ids of the messages, which by then survive a crash of the server."""
        drafts = parse_publish(request)
        ids = self._broker.publish(names.check_topic(request.topic), drafts)
        await self._committer.durable()
        return wire.PublishResponse(message_ids=map(str, ids))
