"""Finds out which host takes the predictions of an endpoint."""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from beam_jobs.models.answer_json import decode
from beam_jobs.models.base import CallError, Retry
from beam_jobs.outcomes import Reason

_log = logging.getLogger(__name__)

# The hosts that Google gives endpoints of their own. A dedicated one, by the field's reference
# (`google.cloud.aiplatform_v1.types.Endpoint`): ENDPOINT.REGION-UID.prediction.vertexai.goog. With
# Private Service Connect: ENDPOINT-REGION-PROJECT_NUMBER.prediction.p.vertexai.goog, see
# https://cloud.google.com/vertex-ai/docs/predictions/private-service-connect. The reference has the
# scheme before the name, and the service's answers don't.
_GOOGLES = re.compile(
    r"(?:https://)?([a-z0-9-]+\.[a-z0-9-]+\.prediction\.vertexai\.goog"
    r"|[a-z0-9-]+\.prediction\.p\.vertexai\.goog)",
    re.IGNORECASE,
)
_MAX_HOST_CHARS = 100


class EndpointHost:
    """The host of one endpoint: the shared one, or one of its own.

    Most models that are deployed from Model Garden are on dedicated endpoints. Only an endpoint's
    `dedicatedEndpointDns` tells its host, and the shared host refuses its predictions: see
    `google.cloud.aiplatform_v1.types.Endpoint`. Use it from one event loop only.

    Args:
        shared_url: the URL of the shared host, without a slash at its end.
        resource: the endpoint; a publisher model always has the shared host.
    """

    def __init__(self, shared_url: str, resource: str) -> None:
        self._shared_url = shared_url
        self._resource = resource
        self._url = None if "/endpoints/" in resource else shared_url
        self._asking: asyncio.Future[str] | None = None

    async def url(self, get: Callable[[str], Awaitable[bytes]]) -> str:
        """Return the URL of the host. Asks for it once, however many calls wait for it.

        Args:
            get: returns the body that a URL answers, or raises a `CallError`.

        Raises:
            CallError: the endpoint could not be asked now, or it names a host that isn't Google's.
        """
        if self._url is not None:
            return self._url
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask(get))
        self._url = await asyncio.shield(self._asking)
        return self._url

    def forget(self) -> None:
        """Ask again before the next call, because a host of the endpoint's own is not there.

        The host changes until the deployment of the endpoint's first model is complete.
        """
        if self._url != self._shared_url:
            self._url = None

    async def _ask(self, get: Callable[[str], Awaitable[bytes]]) -> str:
        try:
            endpoint = decode(await get(f"{self._shared_url}/v1/{self._resource}"))
        except CallError as error:
            if error.reason is not Reason.MODEL_ERROR:
                raise
            # The shared host works for most endpoints, and says what is wrong with the others.
            _log.warning(
                "cannot ask %s for its host, so predictions go to the shared one; if the endpoint "
                "is a dedicated one, grant aiplatform.endpoints.get: %s",
                self._resource,
                error.detail,
            )
            return self._shared_url
        except ValueError:  # not JSON
            endpoint = None
        dns = endpoint.get("dedicatedEndpointDns") if isinstance(endpoint, Mapping) else None
        return self._url_of(str(dns)) if dns else self._shared_url

    def _url_of(self, dns: str) -> str:
        """Return the URL of a host that the endpoint names, which gets prompts and a token.

        Raises:
            CallError: it is neither Google's nor, where the shared host is this machine (a
                stand-in), this machine under another name.
        """
        scheme = self._shared_url.partition("://")[0]
        if match := _GOOGLES.fullmatch(dns):
            return f"{scheme}://{match[1]}"
        if _is_this_machine(self._shared_url) and _is_this_machine(f"{scheme}://{dns}"):
            return f"{scheme}://{dns}"
        raise CallError(
            Reason.MODEL_ERROR,
            f"{self._resource} names the host {dns[:_MAX_HOST_CHARS]!r} (dedicatedEndpointDns), "
            "which isn't Google's: expected ENDPOINT.REGION-NUMBER.prediction.vertexai.goog or "
            "ENDPOINT-REGION-NUMBER.prediction.p.vertexai.goog. Nothing was sent there. See what "
            "answers for Vertex AI (GOOGLE_VERTEX_BASE_URL), then replay this prompt",
            retry=Retry.NEVER,
            retryable=True,
        )


def _is_this_machine(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Nothing but a host and a port: the path is ours, and a user's name may look like a host.
        if parts.netloc != url.partition("://")[2] or "@" in parts.netloc:
            return False
        host = parts.hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
