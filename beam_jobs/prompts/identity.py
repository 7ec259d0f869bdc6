"""What a prompt is told by: its digest, its id, and the key that consumers deduplicate on. Pure.

The digest covers everything that decides the images and nothing else. It names them in storage. If
it changes, every prompt counts as new, and all images are paid for again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from beam_jobs.outcomes import REPLAYS_ATTRIBUTE, forwarded_attributes

# These fields are in the digest even without a value. A field that was added later is in it only
# with a value, so that prompts that do not use it keep their digest.
_ALWAYS = frozenset(
    {"prompt", "model", "images", "aspect_ratio", "image_size", "seed", "negative_prompt"}
)
_MAX_NAME_CHARS = 199
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
# What the digest, the record and the index call the endpoint that serves a prompt's model. It is no
# field: the job's options name it. The same model name may stand for another model on another one.
ENDPOINT_PART = "model_endpoint"
# The same for the custom function that changes the images: another one, or another version of it,
# makes other images.
POSTPROCESS_PART = "postprocess"


def digest_of(deciding: Mapping[str, Any], *, fresh: str | None = None) -> str:
    """Return 32 hex digits that name everything that decides the image.

    Args:
        deciding: the values of the deciding fields, of `ENDPOINT_PART` and of `POSTPROCESS_PART`,
            by name; None for one without a value.
        fresh: for a prompt with `"reuse": false` only: what identifies this delivery. The digest
            then belongs to the delivery, so that a redelivery finds the images it has paid for.
    """
    parts = {
        name: value for name, value in deciding.items() if value is not None or name in _ALWAYS
    }
    if fresh is not None:
        parts["fresh"] = fresh
    return _sha256(parts)[:32]


def made_id(name: str) -> str:
    """Return an id that no sender can give: theirs begin with a letter or a digit.

    Otherwise anybody could compute the id of somebody else's prompt, and answer in its name.

    Args:
        name: the digest of a prompt; the message id, or `FILE:LINE`, of a body that is not a
            prompt; or `canary:NAME`.
    """
    # Of a long path and line, the end tells the rows apart.
    return f"~{name[-_MAX_NAME_CHARS:]}"


def deduplication_key_of(prompt_id: str, attributes: Mapping[str, str], *content: str) -> str:
    """Return 64 hex digits: the same for the same answer to the same sender, and for no others.

    Covers everything of an outcome that a consumer sees and a sender decides, so that nobody can
    take somebody else's key without sending the same, which has the same answer. Stays the same
    when a message is delivered again, and when it is replayed with the same content.

    Args:
        prompt_id: the id of the outcome.
        attributes: those of the message. How often it was replayed doesn't count.
        content: what decides the answer: the digest of a prompt, or the origin and body of what is
            none.
    """
    visible = forwarded_attributes(attributes)
    visible.pop(REPLAYS_ATTRIBUTE, None)
    # As JSON, so that no part can run over into the next one.
    return _sha256([prompt_id, content, visible])


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical.encode(value).encode("ascii")).hexdigest()
