"""The IAM Service Account Credentials API: `signBlob`, with which signed URLs are made, and
`generateAccessToken`, with which somebody acts as a service account.

https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob
and …/projects.serviceAccounts/generateAccessToken.
The real service has a key for each account and rotates it. Here all accounts share one, whose
certificate is published as Google publishes theirs:
https://www.googleapis.com/service_accounts/v1/metadata/x509/ACCOUNT.
"""

import base64
import binascii
import dataclasses
import datetime as dt
import functools
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from localcloud.rest import ApiError, Faults, errors, json_object
from localcloud.tunable_settings import add_settings_routes

# Whatever else is no account: https://cloud.google.com/iam/docs/service-account-overview. A
# workload identity, such as PROJECT.svc.id.goog, has no key to sign with.
_ACCOUNT = re.compile(r"[a-z0-9.-]+@[a-z0-9.-]+\.gserviceaccount\.com")
_KEY_BITS = 2048
# Without an organization policy: the reference, under `lifetime`.
_MAX_TOKEN_S = 3600


@dataclasses.dataclass
class Settings:
    """How the stand-in behaves. A setting is changed by a PATCH of `/localcloud`."""

    latency_s: float = 0.0
    """Seconds that each call takes."""

    error_rate: float = 0.0
    """The share of calls, from 0 to 1, that fail with `error_status`."""

    error_status: int = 503
    """The HTTP status of these."""

    denied: int = 0
    """1: the caller may neither sign nor act as an account."""


class SigningKey:
    """The key that signs for every account. It survives a restart, and so do the URLs.

    Args:
        path: the file that keeps it, created at the first signature.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @functools.cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        if not self._path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
            content = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(content)
        loaded = serialization.load_pem_private_key(self._path.read_bytes(), password=None)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        return loaded

    @functools.cached_property
    def id(self) -> str:
        """40 hex digits, as Google's."""
        numbers = self._key.public_key().public_numbers()
        return hashlib.sha1(str(numbers.n).encode(), usedforsecurity=False).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the RSA signature of SHA-256, as Google's keys make it."""
        return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def is_signed(self, message: bytes, signature: bytes) -> bool:
        """Return whether a signature is the key's, of this message."""
        try:
            self._key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def certificate(self, account: str) -> str:
        """Return a certificate of the public key for an account, in PEM."""
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, account[:64])])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(int(self.id[:16], 16))
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=16))
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode("ascii")


def iamcredentials_app(key: SigningKey, *, seed: int | None = None) -> web.Application:
    """Return an app that signs for every account of Google's form, and publishes its certificate.

    Args:
        key: signs.
        seed: makes injected faults repeatable.
    """
    service = _Service(key, seed)
    app = web.Application(middlewares=[errors])
    sign = service.faults.wrap("signBlob", service.sign_blob)
    app.router.add_post("/v1/projects/-/serviceAccounts/{account}:signBlob", sign)
    token = service.faults.wrap("generateAccessToken", service.generate_access_token)
    app.router.add_post("/v1/projects/-/serviceAccounts/{account}:generateAccessToken", token)
    app.router.add_get("/service_accounts/v1/metadata/x509/{account}", service.certificates)
    add_settings_routes(app, service.settings, lambda: dict(service.faults.counts))
    return app


class _Service:
    def __init__(self, key: SigningKey, seed: int | None) -> None:
        self._key = key
        self.settings = Settings()
        self.faults = Faults(self.settings, seed=seed)

    async def sign_blob(self, request: web.Request) -> web.Response:
        """Sign a payload."""
        account = request.match_info["account"]
        if self.settings.denied or not _ACCOUNT.fullmatch(account):
            raise _denied("signBlob")
        payload = (await json_object(request)).get("payload")
        try:
            message = base64.b64decode(str(payload or ""), altchars=b"-_", validate=True)
        except binascii.Error:
            raise ApiError(
                400,
                "Invalid value at 'payload' (TYPE_BYTES), Base64 decoding failed for "
                f'"{str(payload)[:100]}"',
            ) from None
        if not message:
            raise ApiError(400, "Payload is required.")
        signed = base64.b64encode(self._key.sign(message)).decode("ascii")
        return web.json_response({"keyId": self._key.id, "signedBlob": signed})

    async def generate_access_token(self, request: web.Request) -> web.Response:
        """Return a token of an account, for an hour at most. It names the account, not the key."""
        account = request.match_info["account"]
        if self.settings.denied or not _ACCOUNT.fullmatch(account):
            raise _denied("getAccessToken")
        body = await json_object(request)
        if not body.get("scope"):
            raise ApiError(400, "Scopes are required.")
        lifetime = re.fullmatch(r"(\d+)s", str(body.get("lifetime") or "3600s"))
        if not lifetime or not 0 < int(lifetime[1]) <= _MAX_TOKEN_S:
            raise ApiError(400, f"Invalid value at 'lifetime': at most {_MAX_TOKEN_S}s.")
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=int(lifetime[1]))
        return web.json_response(
            {
                "accessToken": f"ya29.local-{account}-{secrets.token_urlsafe(24)}",
                "expireTime": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
            }
        )

    async def certificates(self, request: web.Request) -> web.Response:
        """Return the certificates of an account's keys, by their ids. Anybody may read them."""
        account = request.match_info["account"]
        return web.json_response({self._key.id: self._key.certificate(account)})


def _denied(what: str) -> ApiError:
    """403, as in https://github.com/gronxb/hot-updater/issues/291; for what is no account too."""
    info: dict[str, Any] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": {"permission": f"iam.serviceAccounts.{what}"},
    }
    message = f"Permission 'iam.serviceAccounts.{what}' denied on resource (or it may not exist)."
    return ApiError(403, message, details=(info,))
