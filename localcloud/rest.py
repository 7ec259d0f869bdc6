"""What Google's REST APIs have in common: errors, times, pages, enums, and faults on demand.

It knows nothing of any one API.
"""

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
    """An answer that is an error: HTTP `code`, a message for the reader, a google.rpc status."""

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
        """Return the JSON body of Google's APIs."""
        error: dict[str, Any] = {"code": self.code, "message": str(self), "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}


def failed_precondition(message: str) -> ApiError:
    """400: the request is well-formed, and what it is about is in no state for it."""
    return ApiError(400, message, status="FAILED_PRECONDITION")


class FaultSettings(Protocol):
    """The settings that `Faults` heeds."""

    error_rate: float
    error_status: int
    latency_s: float


class Faults:
    """Counts calls by method, and lets some of them fail or wait, as the settings say."""

    def __init__(self, settings: FaultSettings, *, seed: int | None = None) -> None:
        self._settings = settings
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)  # noqa: S311 - chance, not a secret

    async def strike(self, method: str) -> None:
        """Count a call; wait and fail as it is due."""
        self.counts[method] += 1
        await asyncio.sleep(self._settings.latency_s)
        if self._chance.random() < self._settings.error_rate:
            raise ApiError(self._settings.error_status, "The service is currently unavailable.")

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Return `handler` as a method of the API: authenticated, counted, at times failing."""

        async def call(request: web.Request) -> web.StreamResponse:
            if not request.headers.get("Authorization", "").startswith("Bearer "):
                raise ApiError(401, "Request is missing required authentication credential.")
            await self.strike(method)
            return await handler(request)

        return call


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is raised in the format of Google's errors."""
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body(), status=error.code)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        unknown = ApiError(404, f"No such method: {request.method} {request.path}")
        return web.json_response(unknown.body(), status=404)


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the request's body, a JSON object; 400 for anything else."""
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received. Expected an object.")
    return body


def now() -> float:
    """Return the time in whole microseconds: what `rfc3339` shows, `time_of` gives back."""
    return round(time.time(), 6)


def rfc3339(seconds: float) -> str:
    """Return a time, seconds since 1970, as JSON has it."""
    when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"


def time_of(name: str, text: str) -> float:
    """Return an RFC 3339 time as seconds since 1970; 400 if it is none."""
    try:
        # In a query string a "+" that nobody has escaped arrives as a space.
        when = dt.datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        when = dt.datetime.min
    if when.tzinfo is None:
        raise ApiError(400, f"Invalid value at '{name}' (google.protobuf.Timestamp), \"{text}\"")
    return when.timestamp()


def one_of(name: str, value: str | None, names: Sequence[str]) -> str:
    """Return an enum's value, given by name or by number; its first when not given; else 400."""
    if value is None or value == "":
        return names[0]
    if value in names:
        return value
    if value.isdigit() and int(value) < len(names):
        return names[int(value)]
    raise ApiError(400, f"Invalid value at '{name}' (TYPE_ENUM), \"{value}\"; one of {names}")


def page_of(
    items: Sequence[_Item], query: Mapping[str, str], *, largest: int
) -> tuple[Sequence[_Item], str | None]:
    """Return the page that `pageSize` and `pageToken` ask for, and the next page's token."""
    try:
        size = int(query.get("pageSize") or 0) or largest
        start = int(query.get("pageToken") or 0)
    except ValueError:
        raise ApiError(400, "pageSize or pageToken is invalid: expected what we gave.") from None
    if size < 0 or start < 0:
        raise ApiError(400, "pageSize or pageToken is invalid: out of range.")
    end = start + min(size, largest)
    return items[start:end], str(end) if end < len(items) else None
