"""Signed URLs with V4 signatures, as the XML API checks them.

https://cloud.google.com/storage/docs/authentication/signatures and …/canonical-requests.
"""

import datetime as dt
import hashlib
import urllib.parse
from collections.abc import Callable, Mapping
from xml.sax.saxutils import escape

from aiohttp import web

from localcloud.storage import errors

Check = Callable[[bytes, bytes], bool]
"""Whether a message has this signature."""

_SIGNATURE = "x-goog-signature"
_MAX_SECONDS = 7 * 24 * 3600
_TIME = "%Y%m%dT%H%M%SZ"


class SignedUrlError(errors.StorageError):
    """A refused URL, with the code of https://cloud.google.com/storage/docs/xml-api/reference-status.

    Args:
        status: the HTTP status.
        code: the code in the answer's XML.
        message: the sentence of that code.
        details: what is wrong.
    """

    def __init__(self, status: int, code: str, message: str, details: str) -> None:
        super().__init__(status, code, message)
        self._details = details

    def response(self) -> web.Response:
        """Return the answer, which is XML."""
        text = (
            "<?xml version='1.0' encoding='UTF-8'?>"
            f"<Error><Code>{self.reason}</Code><Message>{self.message}</Message>"
            f"<Details>{escape(self._details)}</Details></Error>"
        )
        return web.Response(status=self.status, text=text, content_type="application/xml")


def check(request: web.Request, is_signed: Check) -> None:
    """Check the signature of a request, if its URL claims to have one.

    Raises:
        SignedUrlError: it is not valid: 400 if it is malformed or has expired, else 403. The
            codes are those of https://github.com/floci-io/floci-gcp/pull/33, tested there against
            Google's client, and of https://github.com/yoshidan/google-cloud-rust/issues/298.
    """
    pairs = urllib.parse.parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
    fields = {name.lower(): value for name, value in pairs if name.lower().startswith("x-goog-")}
    if _SIGNATURE not in fields:
        return
    expires = _expires(fields)
    if dt.datetime.now(dt.UTC) > expires:
        raise SignedUrlError(
            400,
            "ExpiredToken",
            "The provided token has expired.",
            f"Request signature expired at: {expires.isoformat()}",
        )
    try:
        signature = bytes.fromhex(fields[_SIGNATURE])
    except ValueError:
        signature = b""
    if not is_signed(_string_to_sign(request, pairs, fields), signature):
        raise SignedUrlError(
            403,
            "SignatureDoesNotMatch",
            "Access denied.",
            "The request signature we calculated does not match the signature you provided. Check "
            "your Google secret key and signing method.",
        )


def _expires(fields: Mapping[str, str]) -> dt.datetime:
    try:
        if fields["x-goog-algorithm"] != "GOOG4-RSA-SHA256":
            raise ValueError
        began = dt.datetime.strptime(fields["x-goog-date"], _TIME).replace(tzinfo=dt.UTC)
        seconds = int(fields["x-goog-expires"])
        if not 0 < seconds <= _MAX_SECONDS or not fields["x-goog-signedheaders"]:
            raise ValueError
        fields["x-goog-credential"].split("/", 1)[1]
    except (KeyError, ValueError, IndexError):
        raise SignedUrlError(
            400,
            "MalformedSecurityHeader",
            "Your request has a malformed header.",
            f"Expected X-Goog-Algorithm GOOG4-RSA-SHA256, X-Goog-Credential, X-Goog-Date, "
            f"X-Goog-SignedHeaders, and X-Goog-Expires from 1 to {_MAX_SECONDS}.",
        ) from None
    return began + dt.timedelta(seconds=seconds)


def _string_to_sign(
    request: web.Request, pairs: list[tuple[str, str]], fields: Mapping[str, str]
) -> bytes:
    names = fields["x-goog-signedheaders"].split(";")
    headers = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names)
    query = sorted(
        f"{_quoted(name)}={_quoted(value)}" for name, value in pairs if name.lower() != _SIGNATURE
    )
    canonical = "\n".join(
        [
            request.method,
            request.rel_url.raw_path,
            "&".join(query),
            headers,
            ";".join(names),
            request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    scope = fields["x-goog-credential"].split("/", 1)[1]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    parts = [fields["x-goog-algorithm"], fields["x-goog-date"], scope, digest]
    return "\n".join(parts).encode()


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="~")
