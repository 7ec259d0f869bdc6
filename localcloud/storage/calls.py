"""One call of the JSON API and its reply, whether by itself or in a batch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from localcloud.storage import errors


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        method: the HTTP method.
        path: the decoded segments of the path; object names can contain slashes.
        query: the query parameters.
        base_url: how the client reached the server (`http://host:port`), for links in replies.
        body: the body, unless it is streamed.
    """

    method: str
    path: Sequence[str]
    query: Mapping[str, str]
    base_url: str
    body: bytes = b""

    def resource(self) -> dict[str, Any]:
        """Return the JSON object in the body, empty if there is no body.

        Raises:
            StorageError: 400; the body is not a JSON object.
        """
        return json_object(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. `body` is encoded as JSON; None means no body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def payload(self) -> bytes:
        """Return the encoded body."""
        return b"" if self.body is None else json.dumps(self.body).encode()


def refusal(error: errors.StorageError) -> Reply:
    """Return the response for an error. A 304 has no body."""
    return Reply(error.status, None if error.status == 304 else error.body())


def decode_path(raw_path: str) -> list[str]:
    """Return the decoded segments of a path.

    Raises:
        StorageError: 400; the path is not percent-encoded UTF-8.
    """
    segments = raw_path.removeprefix("/").split("/")
    if "%" not in raw_path:
        return segments
    try:
        return [unquote(segment, errors="strict") for segment in segments]
    except UnicodeDecodeError:
        raise errors.invalid(f"The path is not percent-encoded UTF-8: {raw_path:.200}") from None


def decode_query(raw_query: str) -> dict[str, str]:
    """Return the query's parameters; the last value of a repeated one.

    Raises:
        StorageError: 400; the query is not percent-encoded UTF-8.
    """
    if not raw_query:
        return {}
    try:
        return dict(parse_qsl(raw_query, keep_blank_values=True, errors="strict"))
    except ValueError:
        raise errors.invalid(f"The query is malformed: {raw_query:.200}") from None


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`, empty if there is no body.

    Raises:
        StorageError: 400; `body` is not a JSON object.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        raise errors.StorageError(400, "parseError", "Parse Error: the body is no JSON") from None
    if not isinstance(value, dict):
        raise errors.StorageError(400, "parseError", "Parse Error: the body is no JSON object")
    return value
