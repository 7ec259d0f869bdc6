"""The batch endpoint: many calls of the JSON API in one multipart/mixed request.

google-cloud-storage's `client.batch()` and Beam's renames and deletes use it. Each part is an HTTP
request, and the response has one part for each, in order. As in the service, a batch cannot upload
or download contents.
"""

import secrets
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from http import HTTPStatus
from urllib.parse import urlsplit

from localcloud.storage import errors
from localcloud.storage.calls import Call, Reply, decode_path, decode_query, refusal

MAX_CALLS = 1000
"""The client's limit. The service documents 100, but accepts what the client sends."""


def handle_batch(
    content_type: str, body: bytes, base_url: str, answer: Callable[[Call], Reply]
) -> tuple[str, bytes]:
    """Answer every call of a batch.

    Args:
        content_type: of the request.
        body: of the request.
        base_url: how the client reached the server (`http://host:port`).
        answer: answers one call, and raises StorageError.

    Returns:
        The content type and the body of the response. An invalid part gets an error of its own.

    Raises:
        StorageError: 400; the request is not a batch.
    """
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = message.get_payload()
    if not message.is_multipart() or not isinstance(parts, list):
        raise errors.invalid("Expected a multipart/mixed body with one HTTP request per part")
    if len(parts) > MAX_CALLS:
        raise errors.invalid(f"The batch has {len(parts)} calls, at most {MAX_CALLS} are allowed")
    boundary = f"batch_{secrets.token_hex(12)}"
    answers = [
        f"--{boundary}\r\nContent-Type: application/http\r\n{_reply_id(part)}\r\n".encode()
        + _serialize(_answer_part(part, base_url, answer))
        for part in parts
        if isinstance(part, Message)
    ]
    answers.append(f"--{boundary}--\r\n".encode())
    return f'multipart/mixed; boundary="{boundary}"', b"".join(answers)


def _answer_part(part: Message, base_url: str, answer: Callable[[Call], Reply]) -> Reply:
    try:
        return answer(_parse(part, base_url))
    except errors.StorageError as error:
        return refusal(error)


def _parse(part: Message, base_url: str) -> Call:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        raise errors.invalid("Expected an HTTP request in the part")
    head, _, body = payload.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
    request_line = head.split(b"\n", 1)[0].decode("latin-1").split()
    if len(request_line) < 2:
        raise errors.invalid(f"Expected an HTTP request in the part, got {head[:100]!r}")
    url = urlsplit(request_line[1])
    query = decode_query(url.query)
    return Call(request_line[0], decode_path(url.path), query, base_url, body)


def _reply_id(part: Message) -> str:
    part_id = str(part.get("Content-ID", "")).strip().strip("<>")
    return f"Content-ID: <response-{part_id}>\r\n" if part_id.isprintable() and part_id else ""


def _serialize(reply: Reply) -> bytes:
    payload = reply.payload()
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    if payload:
        lines.append("Content-Type: application/json; charset=UTF-8")
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines.append(f"Content-Length: {len(payload)}\r\n\r\n")
    return "\r\n".join(lines).encode() + payload + b"\r\n"
