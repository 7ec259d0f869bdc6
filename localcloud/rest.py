"""What Google's REST APIs have in common: errors, times, pages, enums, and injected faults."""

import asyncio
import datetime as dt
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiohttp import web

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_Item = TypeVar("_Item")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """An error response.

    Args:
        code: the HTTP status.
        message: for the reader.
        status: the google.rpc status; derived from `code` by default.
        details: the `details` of a google.rpc.Status.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or STATUSES.get(code, "UNKNOWN")
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the JSON body in the format of Google's APIs."""
        error: dict[str, Any] = {"code": self.code, "message": str(self), "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}


def failed_precondition(message: str) -> ApiError:
    """Return a 400: the request is valid, but not in the resource's current state."""
    return ApiError(400, message, status="FAILED_PRECONDITION")


class FaultSettings(Protocol):
    """The settings that `Faults` reads."""

    error_rate: float
    error_status: int
    latency_s: float


class Faults:
    """Counts calls by method, and delays or fails some of them as configured.

    Args:
        settings: `latency_s` delays every call; the share `error_rate`, from 0 to 1, fails with
            the HTTP status `error_status`.
        seed: makes the faults repeatable.
    """

    def __init__(self, settings: FaultSettings, *, seed: int | None = None) -> None:
        self._settings = settings
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)  # noqa: S311 - chance, not a secret

    async def inject(self, method: str) -> None:
        """Count a call, delay it, and fail it if it is chosen.

        Raises:
            ApiError: the call was chosen to fail.
        """
        self.counts[method] += 1
        await asyncio.sleep(self._settings.latency_s)
        if self._chance.random() < self._settings.error_rate:
            raise ApiError(self._settings.error_status, "The service is currently unavailable.")

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Return `handler` as an API method: with authentication, counting and injected faults."""

        async def call(request: web.Request) -> web.StreamResponse:
            if not request.headers.get("Authorization", "").startswith("Bearer "):
                raise ApiError(401, "Request is missing required authentication credential.")
            await self.inject(method)
            return await handler(request)

        return call


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into responses in the format of Google's errors."""
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body(), status=error.code)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        unknown = ApiError(404, f"No such method: {request.method} {request.path}")
        return web.json_response(unknown.body(), status=404)


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the request's body, which must be a JSON object; empty if there is no body.

    Raises:
        ApiError: 400; the body is not a JSON object.
    """
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received. Expected an object.")
    return body


def now() -> float:
    """Return the seconds since 1970, rounded so that `parse_time(rfc3339(now()))` is the same."""
    return round(time.time(), 6)


def rfc3339(seconds: float) -> str:
    """Format seconds since 1970 as Google's JSON does."""
    when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"


def parse_time(name: str, text: str) -> float:
    """Parse an RFC 3339 time into seconds since 1970.

    Raises:
        ApiError: 400; `text` is not such a time. The message names the field `name`.
    """
    try:
        # In a query string, an unescaped "+" arrives as a space.
        when = dt.datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        when = dt.datetime.min
    if when.tzinfo is None:
        raise ApiError(400, f"Invalid value at '{name}' (google.protobuf.Timestamp), \"{text}\"")
    return when.timestamp()


def parse_enum(name: str, value: str | None, names: Sequence[str]) -> str:
    """Parse an enum's value, given by name or by number.

    Args:
        name: the field, for the error message.
        value: as the client sent it; None or empty means the first of `names`.
        names: the enum's values, in the order of their numbers.

    Raises:
        ApiError: 400; the value is not in `names`.
    """
    if value is None or value == "":
        return names[0]
    if value in names:
        return value
    if value.isdigit() and int(value) < len(names):
        return names[int(value)]
    raise ApiError(400, f"Invalid value at '{name}' (TYPE_ENUM), \"{value}\"; one of {names}")


def paginate(
    items: Sequence[_Item], query: Mapping[str, str], *, largest: int
) -> tuple[Sequence[_Item], str | None]:
    """Return the page that `pageSize` and `pageToken` request, and the next page's token.

    Args:
        items: all items.
        query: the request's query parameters.
        largest: the maximum and default page size.

    Raises:
        ApiError: 400; `pageSize` or `pageToken` is invalid.
    """
    try:
        size = int(query.get("pageSize") or 0) or largest
        start = int(query.get("pageToken") or 0)
    except ValueError:
        raise ApiError(
            400,
            "pageSize or pageToken is invalid: expected a number and a token from a previous page.",
        ) from None
    if size < 0 or start < 0:
        raise ApiError(400, "pageSize or pageToken is invalid: out of range.")
    end = start + min(size, largest)
    return items[start:end], str(end) if end < len(items) else None
