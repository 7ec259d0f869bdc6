"""Pub/Sub as one service account sees it: what `composer.tf` does not grant is refused.

A proxy before the stand-in, which itself refuses nothing.
"""

import re
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.pubsub_v1 import types

from tests import grants

_GRANT = re.compile(
    r"\w+ += \{ member = local\.(\w+), role = \"(roles/pubsub\.\w+)\", on = \"([\w-]+)\" \}"
)
# https://cloud.google.com/pubsub/docs/access-control, as far as requests here need it: the method,
# its request's type and field with the resource, and the role.
_METHODS: dict[str, tuple[Any, str, str]] = {
    "Publish": (types.PublishRequest, "topic", "roles/pubsub.publisher"),
    "GetTopic": (types.GetTopicRequest, "topic", "roles/pubsub.viewer"),
    "GetSubscription": (types.GetSubscriptionRequest, "subscription", "roles/pubsub.viewer"),
    "Pull": (types.PullRequest, "subscription", "roles/pubsub.subscriber"),
    "Acknowledge": (types.AcknowledgeRequest, "subscription", "roles/pubsub.subscriber"),
    "ModifyAckDeadline": (
        types.ModifyAckDeadlineRequest,
        "subscription",
        "roles/pubsub.subscriber",
    ),
}


def is_granted(who: str, role: str, resource: str) -> bool:
    """Return whether an account has a role on a topic or subscription, by `composer.tf`."""
    return (who, role, resource) in _GRANT.findall(grants.TERRAFORM)


class _Guard(grpc.GenericRpcHandler):
    def __init__(self, who: str, upstream: grpc.Channel, prefix: str) -> None:
        self._who, self._upstream, self._prefix = who, upstream, prefix

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        forward = self._upstream.unary_unary(details.method)

        def answer(request: bytes, context: Any) -> Any:
            kind, field, role = _METHODS[method]
            name = getattr(kind.deserialize(request), field).rpartition("/")[2]
            resource = name.removeprefix(self._prefix)
            if not is_granted(self._who, role, resource):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{role} on {resource}")
            try:
                return forward(request, timeout=context.time_remaining())
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())  # type: ignore[attr-defined]

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def guarded_pubsub(who: str, upstream: str, *, prefix: str = "") -> Iterator[str]:
    """Yield the address of a proxy that refuses what `composer.tf` does not grant.

    Args:
        who: whose requests they are: `composer`, `worker`, or `build`.
        upstream: the stand-in's `HOST:PORT`.
        prefix: what a test's resources have before the names that `composer.tf` has for them.
    """
    with grpc.insecure_channel(upstream) as channel:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((_Guard(who, channel, prefix),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0.2).wait()
