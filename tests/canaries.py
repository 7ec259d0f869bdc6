"""Canaries as Airflow signs them, and as others would like to."""

import uuid
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from beam_jobs.outcomes import CANARY_ATTRIBUTE
from beam_jobs.prompts.canary import SIGNATURE_ATTRIBUTE, CanaryKey, keys_to_json, sign

OURS = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
THEIRS = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)


def public(key: Ed25519PrivateKey = OURS, *, replaced_at: datetime | None = None) -> CanaryKey:
    raw = key.public_key().public_bytes_raw()
    return CanaryKey(raw, datetime(2026, 11, 1, tzinfo=UTC), replaced_at)


def keys_object(*keys: CanaryKey) -> bytes:
    """Return what is in `keys/canary.json`; by default, our public key."""
    return keys_to_json(keys or [public()])


def canary(name: str | None = None, key: Ed25519PrivateKey = OURS) -> dict[str, str]:
    """Return the attributes of a canary that this key has signed."""
    name = name or uuid.uuid4().hex
    return {CANARY_ATTRIBUTE: name, SIGNATURE_ATTRIBUTE: sign(name, key)}
