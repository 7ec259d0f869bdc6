"""Google's APIs from a task: credentials from the connection, errors with advice.

The connection's extra may say where an API is, as in `{"api_endpoints": {"dataflow": "https://…"}}`:
a private endpoint in production, another server on a laptop.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
from google.api_core import exceptions as api_exceptions
from google.api_core.client_options import ClientOptions
from google.auth.exceptions import GoogleAuthError
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from httplib2.error import HttpLib2Error

from imagen_ops.errors import NO_ANSWER, ApiError


class RestHook(GoogleBaseHook):
    """One of Google's discovery-based APIs. Retries, with backoff, are googleapiclient's.

    The number of retries is the connection's `num_retries` (5 unless it is set): for 429, 5xx and
    connections that break.
    """

    api: str
    version: str

    def get_client_options(self, api_endpoint_override: str | None = None) -> Any:
        """Return options that lead to the endpoint that the connection names, if it names one."""
        endpoint = self._endpoints().get(self.api)
        if endpoint:
            return ClientOptions(api_endpoint=endpoint)
        return super().get_client_options(api_endpoint_override)

    def call(self, what: str, request: Callable[[Any], Any]) -> dict[str, Any]:
        """Make one request of the service and return its answer.

        Args:
            what: the request in words, for the error.
            request: makes it, given the service's resource.

        Raises:
            ApiError: refused, or no answer after all retries.
        """
        try:
            answer = request(self._service).execute(num_retries=self.num_retries)
        except HttpError as error:
            raise ApiError(what, int(error.status_code), _reason(error)) from error
        except (OSError, HttpLib2Error, GoogleAuthError) as error:
            raise ApiError(what, NO_ANSWER, f"{type(error).__name__}: {error}") from error
        return dict(answer)

    def pages(self, what: str, request: Callable[[Any, str | None], Any]) -> Iterator[Any]:
        """Yield the answers of a listing, page by page; `request` is given the page's token."""
        token: str | None = None
        while True:
            answer = self.call(what, functools.partial(_one_page, request, token))
            yield answer
            token = answer.get("nextPageToken")
            if not token:
                return

    @functools.cached_property
    def _service(self) -> Any:
        return build(
            self.api,
            self.version,
            http=self._authorize(),
            cache_discovery=False,
            client_options=self.get_client_options(),
        )

    def _endpoints(self) -> dict[str, str]:
        given = self._get_field("api_endpoints", default=None) or {}
        return dict(json.loads(given) if isinstance(given, str) else given)


def _one_page(request: Callable[[Any, str | None], Any], token: str | None, service: Any) -> Any:
    return request(service, token)


def _reason(error: HttpError) -> str:
    try:
        return str(json.loads(error.content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason or "no reason given")


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what Google's other clients raise into `ApiError`; `what` was asked, for people."""
    try:
        yield
    except api_exceptions.GoogleAPICallError as error:
        raise ApiError(what, int(error.code or NO_ANSWER), error.message) from error
    # What requests raises is an OSError too, and so is a time-out.
    except (api_exceptions.GoogleAPIError, GoogleAuthError, OSError) as error:
        raise ApiError(what, NO_ANSWER, f"{type(error).__name__}: {error}") from error
