"""The digest of a prompt, which covers everything that decides its images and nothing else.

The digest names the images in storage. If it changes, every prompt counts as new, and all images
are paid for again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# These fields are in the digest even without a value. A field that was added later is in it only
# with a value, so that prompts that do not use it keep their digest.
_ALWAYS = frozenset(
    {"prompt", "model", "images", "aspect_ratio", "image_size", "seed", "negative_prompt"}
)
# What the digest, the record and the index call the endpoint that serves a prompt's model. It is no
# field: the job's options name it. The same model name may stand for another model on another one.
ENDPOINT_PART = "model_endpoint"


def digest_of(deciding: Mapping[str, Any], *, fresh: str | None = None) -> str:
    """Return 32 hex digits that name everything that decides the image.

    Args:
        deciding: the values of the deciding fields, and of `ENDPOINT_PART`, by name; None for one
            without a value.
        fresh: for a prompt with `"reuse": false` only: what identifies this delivery. The digest
            then belongs to the delivery, so that a redelivery finds the images it has paid for.
    """
    parts = {
        name: value for name, value in deciding.items() if value is not None or name in _ALWAYS
    }
    if fresh is not None:
        parts["fresh"] = fresh
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]
