"""Signs URLs by which anybody can read an image for some hours: Cloud Storage's V4 signatures.

A worker on Google Cloud has no key, so IAM signs, with one request for each URL
(https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob).
A project may make 60,000 a minute (https://cloud.google.com/iam/quotas), and a prompt needs none:
its prediction waits for them a few seconds at most, and otherwise goes out without.

A signed URL is a secret for as long as it is valid. It is in no log, record or index.
"""

import asyncio
import base64
import datetime
import logging
import os
import time
from collections.abc import Sequence

import aiohttp
from gcloud.aio.auth import Token
from gcloud.aio.auth.token import GCE_METADATA_BASE, GCE_METADATA_HEADERS
from google.auth.credentials import AnonymousCredentials, Signing
from google.cloud import storage
from typing_extensions import override

from beam_jobs.engine.backoff import backoff
from beam_jobs.models.base import describe_error, parse_retry_after

_log = logging.getLogger(__name__)

# gcloud's own name for its endpoints, as for Dataflow's.
ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"
ENDPOINT = "https://iamcredentials.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# From the moment a prediction asks. A request takes some 50 ms. The last retry begins in time to be
# answered, so that the log says what IAM did.
DEADLINE_S, RETRY_S = 5.0, 3.0
AT_ONCE = 32
# Equal rows of a file get the same URL for so long, so that they cost no quota.
REUSED_FOR_S = 300.0
MAX_KNOWN = 10_000
# After a failure nothing is signed for so long: what IAM refuses to one, it refuses to the next.
PAUSE_S = 30.0
WARN_EVERY_S = 60.0


class UnsignedError(Exception):
    """IAM does not sign. The message says why, and what to do."""


class _ToSign(Signing):
    """In place of a key: keeps what Google's library would have it sign, for IAM to sign."""

    def __init__(self, account: str) -> None:
        self._account = account
        self.message = b""

    @override
    def sign_bytes(self, message: bytes) -> bytes:
        self.message = message
        return b""

    @property
    @override
    def signer_email(self) -> str:
        return self._account

    @property
    @override
    def signer(self) -> None:
        return None


class UrlSigner:
    """Signs the URLs of this process's images. Use it from one event loop only.

    Args:
        session: sends the requests.
        hours: how long a URL is valid, at most `MAX_SIGNED_URL_HOURS`.
        account: the service account that signs, by its e-mail address; None: the process's own.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, hours: float, account: str | None = None
    ) -> None:
        self._session = session
        self._valid_for = datetime.timedelta(hours=hours)
        self._account = account
        self._root = os.environ.get(ENDPOINT_VARIABLE, ENDPOINT).rstrip("/")
        self._token = Token(session=session, scopes=[_SCOPE])
        # Sends nothing: it knows where Cloud Storage is.
        self._client = storage.Client(project="none", credentials=AnonymousCredentials())
        self._semaphore = asyncio.Semaphore(AT_ONCE)
        # By path: when it was signed, and what came or comes of it.
        self._known: dict[str, tuple[float, asyncio.Task[str]]] = {}
        self._paused_until = self._warned_at = float("-inf")
        self._unsigned = 0

    async def urls(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return a URL for each image, in their order; none if one can't be signed. Never raises.

        Args:
            paths: of the images, as `gs://BUCKET/NAME`.
        """
        if time.monotonic() < self._paused_until:
            self._unsigned += len(paths)
            return ()
        try:
            return tuple(await asyncio.gather(*map(self._url, paths)))
        except Exception as error:
            self._paused_until = time.monotonic() + PAUSE_S
            self._unsigned += len(paths)
            self._warn(error)
            return ()

    async def _url(self, path: str) -> str:
        now = time.monotonic()
        known = self._known.get(path)
        if known is None or now - known[0] > REUSED_FOR_S:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[path] = known = (now, asyncio.create_task(self._sign(path)))
        try:
            return await asyncio.shield(known[1])
        except Exception:
            if self._known.get(path) is known:
                del self._known[path]
            raise

    async def _sign(self, path: str) -> str:
        bucket, _, name = path.removeprefix("gs://").partition("/")
        until = time.monotonic() + RETRY_S
        async with asyncio.timeout(DEADLINE_S), self._semaphore:
            account = await self._signing_account()
            to_sign = _ToSign(account)
            unsigned: str = (
                self._client.bucket(bucket)
                .blob(name)
                .generate_signed_url(version="v4", expiration=self._valid_for, credentials=to_sign)
            )
            # It ends with the parameter X-Goog-Signature, which has no value yet.
            return unsigned + (await self._signature(account, to_sign.message, until)).hex()

    async def _signing_account(self) -> str:
        if self._account is None:
            self._account = self._token.service_data.get("client_email")
        if self._account is None:
            url = f"{GCE_METADATA_BASE}/instance/service-accounts/default/email"
            async with self._session.get(url, headers=GCE_METADATA_HEADERS) as response:
                if response.status != 200:
                    raise UnsignedError(
                        f"the metadata server answered {response.status} for the service account; "
                        "name one with --service_account_email"
                    )
                self._account = (await response.text()).strip()
        return self._account

    async def _signature(self, account: str, message: bytes, until: float) -> bytes:
        url = f"{self._root}/v1/projects/-/serviceAccounts/{account}:signBlob"
        body = {"payload": base64.b64encode(message).decode("ascii")}
        attempts = 0
        while True:
            headers = {"Authorization": f"Bearer {await self._token.get()}"}
            try:
                async with self._session.post(url, json=body, headers=headers) as response:
                    if response.status == 200:
                        return base64.b64decode((await response.json())["signedBlob"])
                    refusal = UnsignedError(_refusal(response.status, await response.text()))
                    asked_s = parse_retry_after(response.headers.get("Retry-After"))
                    passing = response.status == 429 or response.status >= 500
            except (aiohttp.ClientError, OSError) as error:
                refusal, asked_s, passing = UnsignedError(describe_error(error)), None, True
            pause = backoff(attempts, asked_s, until - time.monotonic()) if passing else None
            if pause is None:
                raise refusal
            attempts += 1
            await asyncio.sleep(pause)

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned_at < WARN_EVERY_S:
            return
        self._warned_at = now
        why = str(error) or f"no answer within {DEADLINE_S:g} s"
        _log.warning(
            "cannot sign URLs as %s; %d predictions' images went out without since the last such "
            "line, and prompts are not affected: %s",
            self._account or "the process's own account",
            self._unsigned,
            why[:300],
        )
        self._unsigned = 0


def _refusal(status: int, body: str) -> str:
    said = f"IAM answered {status}: {' '.join(body.split())[:200]}"
    if status == 403:
        return (
            f"{said}; grant the account roles/iam.serviceAccountTokenCreator on itself, or unset "
            "--signed_url_hours"
        )
    return said
