"""One model call, in either protocol: latency, counts and shared faults."""

import asyncio

from aiohttp import web

from localcloud.vertex.behaviour import Behaviour, Fault

# How long a hanging call takes: longer than any time-out that a test would set.
_HANG_S = 3600.0
# How often a held call checks whether it can continue.
_POLL_S = 0.02
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
# What an organization answers that allows only some models.
_NOT_ENABLED = (
    "Organization Policy constraint `constraints/vertexai.allowedModels` violated for "
    "`projects/1234` attempting to use a disallowed Gen AI model."
)


class ApiError(Exception):
    """An error response.

    Args:
        status: the HTTP status.
        message: for the reader.
        retry_after_s: becomes the Retry-After header, unless it is 0.
        code: the name of a google.rpc.Code; derived from `status` by default.
    """

    def __init__(
        self, status: int, message: str, retry_after_s: float = 0.0, *, code: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.code = code or _CODES[status]


class GarbledError(Exception):
    """An error response that says it is JSON and is not; with its HTTP status."""


class Call:
    """One model call: applies its latency, and the faults that are the same in both protocols.

    Entering the context waits, raises such a fault, or returns any other fault.
    """

    def __init__(self, behaviour: Behaviour, prompt: str, location: str) -> None:
        self._behaviour = behaviour
        self._prompt = prompt
        self._location = location

    async def __aenter__(self) -> Fault | None:
        counts = self._behaviour.counts
        counts.calls += 1
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        try:
            fault = self._behaviour.fault(self._prompt, self._location)
            latency = self._behaviour.latency_s(fault)
            await asyncio.sleep(_HANG_S if fault is Fault.HANG else latency)
            while self._behaviour.settings.hold:  # noqa: ASYNC110 - a setting has no event
                await asyncio.sleep(_POLL_S)
            raise_fault(fault, retry_after_s=self._behaviour.settings.retry_after_s)
        except BaseException as error:
            counts.in_flight -= 1
            counts.unanswered += isinstance(error, (asyncio.CancelledError, ConnectionAbortedError))
            raise
        return fault

    async def __aexit__(self, *_: object) -> None:
        self._behaviour.counts.in_flight -= 1


def raise_fault(fault: Fault | None, *, retry_after_s: float = 0.0) -> None:
    """Raise what a fault is over HTTP; do nothing if it is one of an answer's content.

    Raises:
        ApiError, GarbledError, ConnectionAbortedError, web.HTTPOk: the fault.
    """
    if fault is Fault.QUOTA:
        raise ApiError(429, "Resource exhausted. Please try again later.", retry_after_s)
    if fault is Fault.UNAVAILABLE:
        raise ApiError(503, "The service is currently unavailable.")
    if fault is Fault.ERROR:
        raise ApiError(500, "Internal error encountered.")
    if fault is Fault.CANCELLED:
        raise ApiError(499, "The operation was cancelled.")
    if fault is Fault.ABORTED:
        raise ApiError(409, "The operation was aborted.")
    if fault is Fault.NOT_ENABLED:
        raise ApiError(400, _NOT_ENABLED, code="FAILED_PRECONDITION")
    if fault is Fault.QUOTA_GARBLED:
        raise GarbledError(429)
    if fault is Fault.INVALID:
        raise ApiError(400, "Request contains an invalid argument.")
    if fault is Fault.CUT:
        raise ConnectionAbortedError
    if fault is Fault.GARBAGE:
        raise web.HTTPOk(text="<html>not what you expected</html>")
