"""What an object says of a reference image: whether a model can be shown it, and its content. Pure.

The job and what prepares a prefetch look references up with different clients, and must come to
the same digest.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.identity import digest_of, made_id
from beam_jobs.prompts.parse import Prompt
from beam_jobs.prompts.references import content_of

# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding: the largest
# file from Cloud Storage, and the types.
MAX_BYTES = 30_000_000
TYPES = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif"))
# What uploads have that state none.
_NO_TYPES = frozenset({"", "application/octet-stream"})
# How many bytes of an object tell what it is.
FIRST_BYTES = 32
_TYPES_IN_WORDS = "a PNG, JPEG, WebP, HEIC or HEIF picture"
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# https://www.iana.org/assignments/media-types/image/heic and …/heif: the first brand of the file.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
}


class ResourceError(ValueError):
    """A description of an object is not one of Cloud Storage."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceFile:
    """What was found where a reference is.

    Attributes:
        content: what its bytes are told by.
        mime_type: what its first bytes say.
    """

    content: str
    mime_type: str


def content_in(path: str, resource: Mapping[str, Any]) -> str:
    """Return what the bytes of an object are told by.

    Args:
        path: its gs:// path.
        resource: what Cloud Storage's JSON API says of it.

    Raises:
        InvalidPromptError: it is no picture that a model takes, by what is said of it.
        ResourceError: nothing sound is said of it.
    """
    try:
        size, generation = int(resource["size"]), int(resource["generation"])
        md5, crc32c = resource.get("md5Hash"), resource["crc32c"]
    except (KeyError, TypeError, ValueError) as error:
        raise ResourceError(
            f"cannot read storage's answer for {path}: {type(error).__name__}"
        ) from error
    content_type = str(resource.get("contentType") or "").partition(";")[0].strip().lower()
    if content_type not in TYPES | _NO_TYPES:
        raise InvalidPromptError(
            f"reference {path} has the type {content_type[:80]!r}; expected {_TYPES_IN_WORDS}"
        )
    if resource.get("contentEncoding") not in (None, "", "identity"):
        raise InvalidPromptError(
            f"reference {path} is stored compressed; expected {_TYPES_IN_WORDS} itself"
        )
    if not 0 < size <= MAX_BYTES:
        raise InvalidPromptError(
            f"reference {path} has {size:,} bytes; expected 1 to {MAX_BYTES:,}"
        )
    return content_of(path, size=size, md5=md5, crc32c=crc32c, generation=generation)


def type_in(path: str, start: bytes) -> str:
    """Return the MIME type of a picture that a model can be shown.

    Args:
        path: its gs:// path.
        start: its first bytes, `FIRST_BYTES` if there are so many.

    Raises:
        InvalidPromptError: it is none.
    """
    mime_type = reference_type(start)
    if mime_type is None:
        raise InvalidPromptError(f"reference {path} does not begin as {_TYPES_IN_WORDS} does")
    return mime_type


def reference_type(start: bytes) -> str | None:
    """Return the MIME type of a picture that a model can be shown; None if it is none.

    Args:
        start: its first bytes, 12 at least.
    """
    if start.startswith(PNG):
        return "image/png"
    if start.startswith(JPEG):
        return "image/jpeg"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12])
    return None


def with_files(prompt: Prompt, found: Sequence[ReferenceFile]) -> Prompt:
    """Return `prompt` with what its references hold, and the digest that covers it.

    Args:
        prompt: the prompt as it was parsed.
        found: what is where its references are, in their order.
    """
    references = tuple(
        dataclasses.replace(each, content=file.content, mime_type=file.mime_type)
        for each, file in zip(prompt.references, found, strict=True)
    )
    other = dataclasses.replace(prompt, references=references)
    digest = digest_of(other.digested, fresh=prompt.fresh)
    given = prompt.prompt_id != made_id(prompt.digest)
    return dataclasses.replace(
        other, digest=digest, prompt_id=prompt.prompt_id if given else made_id(digest)
    )
