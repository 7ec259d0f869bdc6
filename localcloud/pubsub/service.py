"""The gRPC handlers of both services, including errors and unknown methods."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from localcloud.pubsub import protobuf
from localcloud.pubsub.errors import PubSubError
from localcloud.pubsub.publisher import Publisher
from localcloud.pubsub.subscriber import Subscriber

_Handler = Callable[[Any, Any], Awaitable[Any]]


def handlers(publisher: Publisher, subscriber: Subscriber) -> tuple[Any, ...]:
    """Return the handlers for a `grpc.aio` server. The last one handles all other methods."""
    streaming = grpc.stream_stream_rpc_method_handler(
        _with_errors(subscriber.streaming_pull),
        request_deserializer=protobuf.StreamingPullRequest.FromString,
        response_serializer=protobuf.StreamingPullResponse.SerializeToString,
    )
    return (
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", _unary(publisher)),
        grpc.method_handlers_generic_handler(
            "google.pubsub.v1.Subscriber", {**_unary(subscriber), "StreamingPull": streaming}
        ),
        _Unimplemented(),
    )


def _unary(service: Publisher | Subscriber) -> dict[str, Any]:
    return {
        name: grpc.unary_unary_rpc_method_handler(
            _with_errors(method),
            request_deserializer=request.FromString,
            response_serializer=_serialize,
        )
        for name, (method, request) in service.unary().items()
    }


def _serialize(response: Any) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded


def _with_errors(method: _Handler) -> _Handler:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except PubSubError as error:
            await context.abort(grpc.StatusCode[error.status.value], error.message)
        except sqlite3.Error as error:
            # Clients treat UNAVAILABLE as temporary, and retry.
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"The state folder could not be written ({error}). Is the disk full?",
            )

    return answer


# grpc's base class has no types, so mypy sees a subclass of Any.
class _Unimplemented(grpc.GenericRpcHandler):
    """Answers every other method, of whatever kind, with UNIMPLEMENTED."""

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method

        async def refuse(_requests: Any, context: Any) -> None:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{method} is not available in localcloud's Pub/Sub, which has topics, "
                "subscriptions, publish, pull, streaming pull, ack and seek to a time.",
            )

        return grpc.stream_stream_rpc_method_handler(refuse)
