"""Google's REST APIs from a task: credentials from the Airflow connection, errors with advice.

The connection's extra can name the endpoint of an API: `{"api_endpoints": {"dataflow":
"https://…"}}`. That is a private endpoint in production, or a local server on a laptop.
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
from google.auth.transport.requests import Request
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from httplib2.error import HttpLib2Error
from typing_extensions import override

from imagen_ops.errors import NO_ANSWER, ApiError


class RestHook(GoogleBaseHook):
    """One of Google's discovery-based APIs. A subclass sets `api` and `version`.

    googleapiclient retries 429, 5xx and broken connections, with backoff. The connection's
    `num_retries` sets how often (default: 5). `get_client_options` uses the endpoint that the
    connection names, if it names one.
    """

    api: str
    version: str

    @override
    def get_client_options(self, api_endpoint_override: str | None = None) -> Any:
        endpoint = self._endpoints().get(self.api)
        if endpoint:
            return ClientOptions(api_endpoint=endpoint)
        return super().get_client_options(api_endpoint_override)

    def call(
        self, what: str, request: Callable[[Any], Any], *, num_retries: int | None = None
    ) -> dict[str, Any]:
        """Make one request and return the service's response.

        Args:
            what: the call in words, for the error, such as "reading job 1".
            request: builds the request from the service's client object.
            num_retries: how often it may be repeated; None: as often as the connection says. 0 for
                a request that must not be made twice.

        Raises:
            ApiError: the service refuses, or does not answer after all retries.
        """
        try:
            retries = self.num_retries if num_retries is None else num_retries
            response = request(self._service).execute(num_retries=retries)
        except HttpError as error:
            status, (message, code) = int(error.status_code), _message(error)
            raise ApiError(what, status, message, code) from error
        except (OSError, HttpLib2Error, GoogleAuthError) as error:
            raise ApiError(what, NO_ANSWER, f"{type(error).__name__}: {error}") from error
        return dict(response)

    def pages(self, what: str, request: Callable[[Any, str | None], Any]) -> Iterator[Any]:
        """Yield the pages of a listing.

        Args:
            what: the call in words, for the error.
            request: builds the request from the service's client object and the page token, which
                is None for the first page.

        Raises:
            ApiError: the service refuses, or does not answer after all retries.
        """
        token: str | None = None
        while True:
            page = self.call(what, functools.partial(_page_request, request, token))
            yield page
            token = page.get("nextPageToken")
            if not token:
                return

    @functools.cached_property
    def _service(self) -> Any:
        # With httplib2, google-auth warns at each refresh that a timeout is not supported
        # (`google_auth_httplib2.Request`). A token lasts longer than a task's try.
        credentials = self.get_credentials()
        if not credentials.valid:
            credentials.refresh(Request())
        return build(
            self.api,
            self.version,
            http=self._authorize(),
            cache_discovery=False,
            client_options=self.get_client_options(),
        )

    def _endpoints(self) -> dict[str, str]:
        # The connection form stores the value as text.
        value = self._get_field("api_endpoints", default=None) or {}
        return dict(json.loads(value) if isinstance(value, str) else value)


def _page_request(
    request: Callable[[Any, str | None], Any], token: str | None, service: Any
) -> Any:
    return request(service, token)


def _message(error: HttpError) -> tuple[str, str]:
    """Return the message of an error, and Google's word for it."""
    try:
        answer = json.loads(error.content)["error"]
        return str(answer["message"]), str(answer.get("status") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(error.reason or "no reason given"), ""


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the exceptions of Google's other client libraries into `ApiError`.

    Args:
        what: the call in words, for the error, such as "reading gs://bucket/name".

    Raises:
        ApiError: the service refuses, does not answer, or the credentials are not valid.
    """
    try:
        yield
    except api_exceptions.GoogleAPICallError as error:
        raise ApiError(what, int(error.code or NO_ANSWER), error.message) from error
    except api_exceptions.RetryError as error:
        # The library gave up repeating the call. What it repeated it for may well be an answer.
        if isinstance(error.cause, api_exceptions.GoogleAPICallError):
            last = error.cause
            raise ApiError(what, int(last.code or NO_ANSWER), last.message) from error
        raise ApiError(what, NO_ANSWER, f"{error.message}: {error.cause!r}") from error
    # The exceptions of requests are OSErrors too, and so is a timeout.
    except (api_exceptions.GoogleAPIError, GoogleAuthError, OSError) as error:
        raise ApiError(what, NO_ANSWER, f"{type(error).__name__}: {error}") from error
