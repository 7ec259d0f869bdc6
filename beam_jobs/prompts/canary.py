"""Signed canaries: how Airflow signs a health probe, and what a job accepts as one. Pure.

Whoever may publish prompts could also publish a canary, and so answer for the stream, or flood
`canary-sub`. So a canary counts only with a signature (Ed25519, RFC 8032). Airflow has the private
key. Workers read public keys from one object, a JSON list, which Airflow writes.
"""

import base64
import binascii
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from beam_jobs.outcomes import CANARY_ATTRIBUTE
from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.identity import deduplication_key_of, made_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE_ATTRIBUTE = "canary_signature"
# How long a worker waits between two reads of the public keys. Airflow waits that long between
# publishing a key and the first canary that is signed with it, so that no worker refuses it.
READ_EVERY_S = 10.0
# Canaries that were signed with a key before it was replaced may wait in a backlog.
ACCEPTED_AFTER_REPLACED = timedelta(hours=24)
_KEY_BYTES = 32
_NAME = re.compile(r"[0-9a-f]{32}")
# A key's id, and 64 bytes in URL-safe base64 without padding.
_SIGNATURE = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{86})")
_ADVICE = "only health checks use it; remove the attribute to send a prompt"

# Checks the name and the signature of a canary. Raises InvalidPromptError if it is none.
CheckCanary = Callable[[str, str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A health probe: passes through the job like a prompt, but no model is called for it."""

    name: str
    body: bytes = b""

    @property
    def prompt_id(self) -> str:
        """The id of its outcome."""
        return made_id(f"canary:{self.name}")

    @property
    def attributes(self) -> Mapping[str, str]:
        """What goes on to the prediction: nothing but the name."""
        return {CANARY_ATTRIBUTE: self.name}

    @property
    def deduplication_key(self) -> str:
        """What consumers deduplicate its outcomes on."""
        return deduplication_key_of(self.prompt_id, self.attributes)


@dataclasses.dataclass(frozen=True, slots=True)
class CanaryKey:
    """A public key.

    Args:
        raw: its 32 bytes.
        since: when it was published, in UTC.
        replaced_at: when another one took its place, in UTC; None for the current one.
    """

    raw: bytes
    since: datetime
    replaced_at: datetime | None = None

    @property
    def id(self) -> str:
        """What a signature names the key by: 16 hexadecimal digits."""
        return _key_id(self.raw)

    def accepted(self, at: datetime) -> bool:
        """Whether a signature of this key counts at this time."""
        return self.replaced_at is None or at - self.replaced_at < ACCEPTED_AFTER_REPLACED


def sign(name: str, private_key: "Ed25519PrivateKey") -> str:
    """Return the value of the attribute `canary_signature` for a canary of that name."""
    signature = base64.urlsafe_b64encode(private_key.sign(_signed(name))).rstrip(b"=").decode()
    return f"{_key_id(private_key.public_key().public_bytes_raw())}.{signature}"


def is_name(text: str) -> bool:
    """Whether a text has the form of a canary's name: 32 hexadecimal digits."""
    return bool(_NAME.fullmatch(text))


def check_signature(
    name: str, signature: str, *, find: Callable[[str], CanaryKey | None], at: datetime
) -> None:
    """Check a canary: first its form, then its key, and only then the signature.

    Args:
        name: the attribute `canary`.
        signature: the attribute `canary_signature`; empty if there is none.
        find: returns the key with an id, or None.
        at: the current time, in UTC.

    Raises:
        InvalidPromptError: it is no canary that Airflow has signed.
    """
    from cryptography.exceptions import InvalidSignature

    match = _SIGNATURE.fullmatch(signature)
    if not match or not is_name(name):
        raise refused("without a valid name and signature")
    key = find(match[1])
    if key is None or not key.accepted(at):
        raise refused("signed with a key that is not among the public keys")
    try:
        _loaded(key.raw).verify(base64.urlsafe_b64decode(match[2] + "=="), _signed(name))
    except InvalidSignature:
        raise refused("with a wrong signature") from None


def refuse_canary(name: str, signature: str) -> None:
    """Refuse every canary: for whoever has no public keys.

    Raises:
        InvalidPromptError: always.
    """
    raise refused("and this job has no --canary_keys to check it with")


def refused(why: str) -> InvalidPromptError:
    """Return the error for a message that has the attribute `canary` and isn't one."""
    return InvalidPromptError(f"attribute '{CANARY_ATTRIBUTE}' {why}: {_ADVICE}")


def keys_from_json(content: bytes) -> list[CanaryKey]:
    """Return the public keys of a keys object.

    Raises:
        ValueError: it is no list of keys.
    """
    try:
        return [_key(entry) for entry in json.loads(content)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"expected a JSON list of public keys, with id, public_key, since and replaced_at: "
            f"{type(error).__name__}"
        ) from None


def keys_to_json(keys: Iterable[CanaryKey]) -> bytes:
    """Return what `keys_from_json` reads."""
    return json.dumps(
        [
            {
                "id": key.id,
                "public_key": base64.b64encode(key.raw).decode(),
                "since": key.since.isoformat(),
                "replaced_at": key.replaced_at and key.replaced_at.isoformat(),
            }
            for key in keys
        ],
        indent=1,
    ).encode()


def with_current(keys: Iterable[CanaryKey], raw: bytes, at: datetime) -> list[CanaryKey]:
    """Return the keys with `raw` as the current one.

    The others count as replaced, and are left out once they are accepted no longer.
    """
    others = [
        dataclasses.replace(key, replaced_at=key.replaced_at or at)
        for key in keys
        if key.raw != raw and key.accepted(at)
    ]
    known = next((key for key in keys if key.raw == raw and key.accepted(at)), None)
    return [CanaryKey(raw, known.since if known else at), *others]


def _key(entry: dict[str, str | None]) -> CanaryKey:
    try:
        raw = base64.b64decode(str(entry["public_key"]), validate=True)
    except binascii.Error as error:
        raise ValueError("public_key is not base64") from error
    replaced_at = entry["replaced_at"]
    key = CanaryKey(
        raw, _moment(str(entry["since"])), _moment(replaced_at) if replaced_at else None
    )
    if len(raw) != _KEY_BYTES or entry["id"] != key.id:
        raise ValueError("the id is not that of the key")
    return key


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _key_id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _signed(name: str) -> bytes:
    """Return the bytes that are signed: never those of another protocol with the same key."""
    return f"imagen.canary/1\n{name}".encode()


@functools.lru_cache(maxsize=8)
def _loaded(raw: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)
