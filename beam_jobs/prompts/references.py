"""Reference images: pictures in Cloud Storage that a prompt shows the model. Pure."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from beam_jobs.allowed import BUCKET_PATTERN
from beam_jobs.prompts.body import InvalidPromptError, quoted
from beam_jobs.prompts.field_values import text_of

# What the models that are known take at most. A model without a row may take fewer.
MAX_REFERENCES = 14
MAX_ROLE_CHARS = 200
# https://cloud.google.com/storage/docs/objects#naming
_MAX_NAME_BYTES = 1_024
_PATH = re.compile(rf"gs://({BUCKET_PATTERN})/(.+)", re.DOTALL)
# Wildcards of globs, what begins a generation or a query, and characters that no name should have.
_NOT_IN_A_NAME = re.compile(r"[*?\[\]#\x00-\x1f\x7f-\x9f]")
_BETWEEN_PATHS = re.compile(r"[\s|]+")
_EXPECTED = "expected gs://BUCKET/NAME of one picture"


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A picture that a prompt shows the model.

    Attributes:
        path: its gs:// path.
        role: what it is for, in words; None: nothing is said.
        content: what its bytes are told by; None until it was looked up.
        mime_type: what its first bytes say; None until it was looked up.
    """

    path: str
    role: str | None = None
    content: str | None = None
    mime_type: str | None = None

    @property
    def deciding(self) -> dict[str, str]:
        """What of it decides the image: its content, whatever its name, and its role."""
        told = {"content": self.content} if self.content else {"path": self.path}
        return {**told, "role": self.role} if self.role else told

    @property
    def recorded(self) -> dict[str, str]:
        """What the record keeps of it, in the form that a prompt has, and its content."""
        fields = {"uri": self.path, "role": self.role, "content": self.content}
        return {name: value for name, value in fields.items() if value}


def content_of(path: str, *, size: int, md5: str | None, crc32c: str, generation: int) -> str:
    """Return what the bytes of an object are told by.

    An object that was composed of others has no MD5. A CRC32C alone is easily met on purpose, so
    that one is told by its generation too, and under another name counts as another picture.

    Args:
        path: its gs:// path.
        size: in bytes.
        md5: base64 of its MD5; None if it has none.
        crc32c: base64 of its CRC32C.
        generation: of the object.
    """
    return f"md5:{md5}:{size}" if md5 else f"crc32c:{crc32c}:{size}:{path}#{generation}"


def recorded_references(value: Any) -> list[Reference]:
    """Return the references in a record, of whatever form; those without a path are left out."""
    found = []
    for each in value[:MAX_REFERENCES] if isinstance(value, list) else ():
        fields = each if isinstance(each, dict) else {}
        path, role, content = (
            text if isinstance(text := fields.get(name), str) else None
            for name in ("uri", "role", "content")
        )
        if path:
            found.append(Reference(path, role, content))
    return found


def references_of(
    fields: Mapping[str, Any], model: str, most: int | None, buckets: Collection[str] | None
) -> tuple[Reference, ...]:
    """Return the references of a prompt, before they are looked up.

    Args:
        fields: of the structured prompt.
        model: its model.
        most: how many the model takes; None if it is not known.
        buckets: where they may be; None: anywhere.

    Raises:
        InvalidPromptError: a reference is malformed or not allowed, or there are too many.
    """
    given = fields.get("references")
    if given is None:
        return ()
    if isinstance(given, str):  # a cell of a file
        given = [path for path in _BETWEEN_PATHS.split(given) if path]
    if not isinstance(given, list):
        raise InvalidPromptError(
            f"field 'references': expected a list of gs:// paths, got {quoted(given)}"
        )
    limit = MAX_REFERENCES if most is None else most
    if len(given) > limit:
        raise InvalidPromptError(
            f"field 'references': {model} takes at most {limit}, got {len(given)}"
        )
    return tuple(_reference(number, each, buckets) for number, each in enumerate(given, start=1))


def _reference(number: int, given: Any, buckets: Collection[str] | None) -> Reference:
    field = f"field 'references', number {number}"
    path, role = given, None
    if isinstance(given, dict):
        if unknown := sorted(set(given) - {"uri", "role"}):
            raise InvalidPromptError(
                f"{field}: unknown field {quoted(unknown[0])}; expected uri and role"
            )
        path, role = given.get("uri"), given.get("role")
    match = _PATH.fullmatch(path) if isinstance(path, str) else None
    if not match or not _is_name(match[2]):
        raise InvalidPromptError(f"{field}: {_EXPECTED}, got {quoted(path)}")
    if buckets is not None and match[1] not in buckets:
        raise InvalidPromptError(
            f"{field}: {quoted(path)} is in none of the buckets that the job may show to a model "
            "(--reference_buckets)"
        )
    if role is not None:
        role = text_of(role, "references")
        if len(role) > MAX_ROLE_CHARS:
            raise InvalidPromptError(
                f"{field}: the role has {len(role):,} characters; the limit is {MAX_ROLE_CHARS}"
            )
    return Reference(path=path, role=role)


def _is_name(name: str) -> bool:
    """Whether this names one object, and no folder or glob."""
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    parts = name.split("/")
    return (
        length <= _MAX_NAME_BYTES
        and not _NOT_IN_A_NAME.search(name)
        and not any(part in ("", ".", "..") for part in parts)
    )
