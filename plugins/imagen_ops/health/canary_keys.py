"""The keys of canaries: the private one in an Airflow Variable, the public ones in the bucket.

Workers see only public keys. A key is replaced by replacing or deleting the Variable: the next
canary's task publishes the new public key, and those before it count for another day.
"""

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.sdk import Variable
from airflow.sdk.log import mask_secret
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from beam_jobs.prompts.canary import CanaryKey, keys_from_json, keys_to_json, with_current
from imagen_ops.records.patience import RETRY_SECONDS, storage_patience
from imagen_ops.settings import SettingsError

if TYPE_CHECKING:
    from google.cloud.storage import Client

# Airflow masks what has "private_key" in its name, in its UI and in logs. A secrets backend is
# asked first.
PRIVATE_KEY_VARIABLE = "imagen_canary_private_key"
_DESCRIPTION = "Signs the canaries of health checks. Delete it to have a new one made."
_KEY_BYTES = 32


def private_key() -> Ed25519PrivateKey:
    """Return the key that canaries are signed with. If there is none, make one and store it.

    Raises:
        SettingsError: the Variable holds no key.
    """
    text = Variable.get(PRIVATE_KEY_VARIABLE, default=None)
    if not text:
        new = base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
        mask_secret(new, PRIVATE_KEY_VARIABLE)
        Variable.set(PRIVATE_KEY_VARIABLE, new, description=_DESCRIPTION)
        # Another task may have stored one meanwhile. If each signs with its own, both are public.
        text = Variable.get(PRIVATE_KEY_VARIABLE, default=None) or new
    try:
        raw = base64.b64decode(str(text).strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise SettingsError(
            f"the Airflow Variable {PRIVATE_KEY_VARIABLE} holds no key: expected {_KEY_BYTES} "
            f"bytes in base64, as `openssl rand -base64 {_KEY_BYTES}` prints them, got "
            f"{len(str(text))} characters. Replace it, or delete it to have a new one made"
        )
    return Ed25519PrivateKey.from_private_bytes(raw)


def publish(client: "Client", path: str, public_key: bytes) -> datetime:
    """Make a public key the current one, unless it is already; return since when it is public.

    Of several tasks at once, each keeps the keys that the others have published.

    Args:
        client: must be allowed to read and write the object.
        path: of the object with the public keys, as gs://BUCKET/NAME.
        public_key: its 32 bytes.

    Raises:
        ApiError: Cloud Storage refuses, or does not answer.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed
    from google.api_core.retry import Retry, if_exception_type

    from imagen_ops.google.rest import explained

    bucket, _, name = path.removeprefix("gs://").partition("/")

    def once() -> datetime:
        blob, generation = client.bucket(bucket).blob(name), 0
        keys: list[CanaryKey] = []
        try:
            content = blob.download_as_bytes(**storage_patience())
            generation = int(blob.generation)
            keys = _readable(content)
        except NotFound:
            pass
        now = datetime.now(UTC)
        wanted = with_current(keys, public_key, now)
        if wanted != keys:
            blob.upload_from_string(
                keys_to_json(wanted),
                content_type="application/json",
                if_generation_match=generation,
                **storage_patience(),
            )
        return wanted[0].since

    overtaken = if_exception_type(PreconditionFailed)
    with explained(f"publishing the public key of canaries in {path}"):
        retry = Retry(predicate=overtaken, initial=0.1, maximum=1.0, timeout=RETRY_SECONDS)
        since: datetime = retry(once)()
        return since


def _readable(content: bytes) -> list[CanaryKey]:
    """Return the keys in the object; none if something else has been written there."""
    try:
        return keys_from_json(content)
    except ValueError:
        return []
