"""One call of the JSON API, apart from how it came: over HTTP by itself, or in a batch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from localcloud.storage import errors


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `path` is decoded, segment by segment, so that names may hold slashes.

    `base_url` is how the client reached us (`http://host:port`), for the links in answers.
    """

    method: str
    path: Sequence[str]
    query: Mapping[str, str]
    base_url: str
    body: bytes = b""

    def resource(self) -> dict[str, Any]:
        """The JSON object in the body, empty when there is no body. StorageError (400)."""
        return json_object(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` is JSON to be, or None for none."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def payload(self) -> bytes:
        """The body as bytes."""
        return b"" if self.body is None else json.dumps(self.body).encode()


def refusal(error: errors.StorageError) -> Reply:
    """The answer for an error. 304 has no body."""
    return Reply(error.status, None if error.status == 304 else error.body())


def decode_path(raw_path: str) -> list[str]:
    """The decoded segments of a path, without the first slash. StorageError (400) if not UTF-8."""
    segments = raw_path.removeprefix("/").split("/")
    if "%" not in raw_path:
        return segments
    try:
        return [unquote(segment, errors="strict") for segment in segments]
    except UnicodeDecodeError:
        raise errors.invalid(f"The path is not percent-encoded UTF-8: {raw_path:.200}") from None


def decode_query(raw_query: str) -> dict[str, str]:
    """The query's parameters; of a repeated one the last. StorageError (400) if not UTF-8."""
    if not raw_query:
        return {}
    try:
        return dict(parse_qsl(raw_query, keep_blank_values=True, errors="strict"))
    except ValueError:
        raise errors.invalid(f"The query is malformed: {raw_query:.200}") from None


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, empty when there is no body. StorageError (400)."""
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        raise errors.StorageError(400, "parseError", "Parse Error: the body is no JSON") from None
    if not isinstance(value, dict):
        raise errors.StorageError(400, "parseError", "Parse Error: the body is no JSON object")
    return value
