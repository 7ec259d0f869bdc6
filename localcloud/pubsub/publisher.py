"""The service google.pubsub.v1.Publisher: converts between protobuf and the broker."""

from collections.abc import Callable
from typing import Any

from google.protobuf import empty_pb2

from localcloud.pubsub import names, protobuf, resources
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.limits import parse_publish
from localcloud.pubsub.paging import page


class Publisher:
    """The methods return responses once changes are on disk, and raise `PubSubError`."""

    def __init__(self, broker: Broker, committer: Committer) -> None:
        self._broker = broker
        self._committer = committer

    def unary(self) -> dict[str, tuple[Callable[..., Any], Any]]:
        """Return the methods by name, each with the class of its request."""
        return {
            "CreateTopic": (self.create_topic, protobuf.Topic),
            "GetTopic": (self.get_topic, protobuf.GetTopicRequest),
            "ListTopics": (self.list_topics, protobuf.ListTopicsRequest),
            "ListTopicSubscriptions": (
                self.list_topic_subscriptions,
                protobuf.ListTopicSubscriptionsRequest,
            ),
            "UpdateTopic": (self.update_topic, protobuf.UpdateTopicRequest),
            "DeleteTopic": (self.delete_topic, protobuf.DeleteTopicRequest),
            "Publish": (self.publish, protobuf.PublishRequest),
        }

    async def create_topic(self, request: Any, _context: Any) -> Any:
        """Create a topic; return the `Topic`."""
        topic = self._broker.create_topic(resources.parse_topic(request))
        await self._committer.durable()
        return resources.topic_pb(topic)

    async def get_topic(self, request: Any, _context: Any) -> Any:
        """Return a `Topic`."""
        return resources.topic_pb(self._broker.topic(names.check_topic(request.topic)))

    async def list_topics(self, request: Any, _context: Any) -> Any:
        """Return a page of a project's topics."""
        topics = self._broker.topics(names.check_project(request.project))
        topics, token = page(topics, lambda each: each.name, request.page_size, request.page_token)
        return protobuf.ListTopicsResponse(
            topics=[resources.topic_pb(topic) for topic in topics], next_page_token=token
        )

    async def list_topic_subscriptions(self, request: Any, _context: Any) -> Any:
        """Return a page of the names of a topic's subscriptions."""
        attached = self._broker.subscriptions_of(names.check_topic(request.topic))
        names_page, token = page(attached, str, request.page_size, request.page_token)
        return protobuf.ListTopicSubscriptionsResponse(
            subscriptions=names_page, next_page_token=token
        )

    async def update_topic(self, request: Any, _context: Any) -> Any:
        """Update a topic; return the new `Topic`."""
        paths = list(request.update_mask.paths)
        topic = self._broker.update_topic(
            names.check_topic(request.topic.name),
            lambda old: resources.updated_topic(old, request.topic, paths),
        )
        await self._committer.durable()
        return resources.topic_pb(topic)

    async def delete_topic(self, request: Any, _context: Any) -> Any:
        """Delete a topic; return an empty response."""
        self._broker.delete_topic(names.check_topic(request.topic))
        await self._committer.durable()
        return empty_pb2.Empty()

    async def publish(self, request: Any, _context: Any) -> Any:
        """Publish messages; return their ids once they would survive a crash of the server."""
        drafts = parse_publish(request)
        ids = self._broker.publish(names.check_topic(request.topic), drafts)
        await self._committer.durable()
        return protobuf.PublishResponse(message_ids=map(str, ids))
