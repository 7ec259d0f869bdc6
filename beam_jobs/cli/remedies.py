"""What an error of Google's libraries says, and what to do about it, in one line.

Must not know what was asked for: the caller says what to do if that is missing or denied.
"""

import re

import aiohttp
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.genai import errors as genai_errors
from requests import exceptions as requests_exceptions

LOG_IN = "log in: gcloud auth application-default login"
_MAX_CHARS = 200
# api_core begins the text of an HTTP error with the request: its query can be longer than the rest.
_REQUEST = re.compile(r"\b[A-Z]+ https?://\S+: |(?<=Max retries exceeded )with url: \S+ ")
# And with a failed download ends it: how the client tells which answers it expects.
_EXPECTED = re.compile(r"\('Request failed with status code', (\d+), 'Expected one of', .*\)")
_UNREACHABLE = (
    api_exceptions.GatewayTimeout,  # DeadlineExceeded is one
    api_exceptions.ServiceUnavailable,
    auth_exceptions.TransportError,
    aiohttp.ClientError,
    requests_exceptions.RequestException,
    OSError,  # TimeoutError is one
)
# https://cloud.google.com/apis/design/errors#error_info; gRPC and REST say it in the message too.
_DISABLED = ("SERVICE_DISABLED", "has not been used in project", "is disabled")


def remedy(error: BaseException, *, at: str, missing: str, denied: str) -> str:
    """Return what is wrong, and what to do.

    Args:
        error: what a client raised.
        at: the address that was asked.
        missing: what to do if what was asked for does not exist.
        denied: what to do if the account may not ask for it.
    """
    if isinstance(error, genai_errors.APIError):
        error = api_exceptions.from_http_status(error.code, error.message or error.status or "")
    if isinstance(error, api_exceptions.RetryError) and error.cause:
        error = error.cause
    text = shortened(error)
    if isinstance(error, api_exceptions.NotFound):
        return f"does not exist ({text}); {missing}"
    if isinstance(error, auth_exceptions.DefaultCredentialsError):
        return f"no credentials ({text}); {LOG_IN}"
    if isinstance(error, auth_exceptions.RefreshError | api_exceptions.Unauthorized):
        return f"the credentials are refused ({text}); {LOG_IN}"
    if isinstance(error, api_exceptions.Forbidden):
        if any(sign in str(error) for sign in _DISABLED):
            return f"its API is not enabled ({text}); enable it with terraform apply"
        return f"access is denied ({text}); {denied}"
    if isinstance(error, api_exceptions.TooManyRequests):
        return f"over quota ({text}); try again in a minute"
    if isinstance(error, api_exceptions.ServerError) and not isinstance(error, _UNREACHABLE):
        return f"{at} fails ({text}); try again in a minute"
    if isinstance(error, _UNREACHABLE):
        return (
            f"{at} does not answer ({text}); check the address and the network, or start the "
            "stand-ins: make up"
        )
    return text


def shortened(error: BaseException) -> str:
    """Return an error's type and the beginning of its text, on one line."""
    message = _REQUEST.sub("", " ".join(str(error).split()))
    message = _EXPECTED.sub(r"status \1", message)[:_MAX_CHARS].rstrip(". ")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
