"""What a stored image's object says of the image: Cloud Storage's custom metadata. Pure.

It is sent with the image, in the same request. Values are ASCII, because they become the headers
`x-goog-meta-NAME` of a download (https://cloud.google.com/storage/docs/metadata#custom-metadata),
and so also of one by a signed URL.
"""

import string
import urllib.parse
from enum import StrEnum

from beam_jobs.prompts.parse import Prompt

# https://cloud.google.com/storage/quotas#objects: 8 KiB of names and values together, of which a
# value has at most 4 KiB (`ServiceConstants` of google.storage.v2). The others leave it that much.
MAX_TEXT_BYTES = 4096
MAX_OTHER_BYTES = 512

_AS_IT_IS = string.digits + string.ascii_letters + string.punctuation.replace("%", "") + " "
# Of one character: four bytes, of three characters each.
_LONGEST_ESCAPE = 12


class ImageMetadata(StrEnum):
    """What the objects of stored images say of them."""

    OFF = "off"
    # Where an image comes from, and what it cost.
    ON = "on"
    # The same, and the prompt's text.
    PROMPT = "prompt"


def metadata_of(
    prompt: Prompt, usd: float | None, kind: ImageMetadata = ImageMetadata.ON
) -> dict[str, str] | None:
    """Return the custom metadata of an image's object; None if it has none.

    Args:
        prompt: what the image was made for, by the model that made it.
        usd: what the image cost in US dollars; None if that is not known.
        kind: what the metadata says.
    """
    if kind is ImageMetadata.OFF:
        return None
    values = {
        "prompt-id": prompt.prompt_id,
        "digest": prompt.digest,
        "model": prompt.model,
        "template": prompt.template or "",
        "cost-usd": "" if usd is None else f"{usd:.6f}",
    }
    metadata = {name: escaped(value, MAX_OTHER_BYTES) for name, value in values.items() if value}
    if kind is ImageMetadata.PROMPT:
        metadata["prompt"] = escaped(prompt.text, MAX_TEXT_BYTES)
    return metadata


def escaped(text: str, max_bytes: int) -> str:
    """Return a text as printable ASCII, percent-encoded as in URLs, but for what is ASCII already.

    `urllib.parse.unquote` returns it. What is too long ends with a whole character.
    """
    kept = text[:max_bytes]
    while (over := len(coded := _quoted(kept)) - max_bytes) > 0:
        kept = kept[: -max(1, over // _LONGEST_ESCAPE)]
    return coded


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe=_AS_IT_IS, errors="replace")
