"""What makes two prompts the same: everything that decides the image, and nothing else.

The digest names the images for good. A change here makes every prompt a new one, to be paid again.
"""

import hashlib
import json
from typing import Any


def digest_of(
    *,
    text: str,
    model: str,
    images: int,
    aspect_ratio: str | None,
    image_size: str | None,
    seed: int | None,
    negative_prompt: str | None,
    fresh: str | None = None,
) -> str:
    """Return 32 hex digits that name everything that decides the image.

    `fresh` is given only where the sender asked not to reuse: it makes the identity one of this
    delivery, so that a redelivery still finds what it has paid for.
    """
    decisive: dict[str, Any] = {
        "prompt": text,
        "model": model,
        "images": images,
        "aspect_ratio": aspect_ratio,
        "image_size": image_size,
        "seed": seed,
        "negative_prompt": negative_prompt,
    }
    if fresh is not None:
        decisive["fresh"] = fresh
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]
