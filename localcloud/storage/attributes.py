"""The fields of an object that its writer decides, and how a change of them is applied."""

from collections.abc import Mapping
from typing import Any

from localcloud.storage import errors

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_HEADER_FIELDS = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
)
_WRITABLE = frozenset(
    {
        *_HEADER_FIELDS,
        "acl",
        "contexts",
        "customTime",
        "eventBasedHold",
        "metadata",
        "retention",
        "storageClass",
        "temporaryHold",
    }
)
MAX_METADATA_BYTES = 8192
"""All custom metadata of one object together, keys and values: the service's own limit."""


def accepted(resource: object) -> dict[str, Any]:
    """The writable fields of an object resource; what the service decides itself is dropped.

    Raises StorageError (400) for a resource that is no JSON object, or fields of a wrong type.
    """
    if not isinstance(resource, Mapping):
        raise errors.invalid(f"Expected a JSON object as the resource, got {resource!r:.100}")
    fields = {key: value for key, value in resource.items() if key in _WRITABLE}
    for key in _HEADER_FIELDS:
        value = fields.get(key)
        # These become headers of downloads: a line break would let one object forge others.
        if value is not None and not (isinstance(value, str) and value.isprintable()):
            raise errors.invalid(
                f"Invalid value for {key}: {value!r:.100}, expected a line of text"
            )
    metadata = fields.get("metadata")
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise errors.invalid("Invalid value for metadata: expected an object of strings")
        texts = {key: _text(value) for key, value in metadata.items()}
        if sum(len(k.encode()) + len((v or "").encode()) for k, v in texts.items()) > (
            MAX_METADATA_BYTES
        ):
            raise errors.invalid(f"The metadata is larger than {MAX_METADATA_BYTES} bytes")
        fields["metadata"] = texts
    return fields


def fresh(resource: object) -> dict[str, Any]:
    """The attributes of a new object: as `accepted`, where null is the same as absent."""
    return patched({}, accepted(resource))


def patched(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`current` after a PATCH: null removes a field, custom metadata is merged key by key."""
    result = dict(current)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and key in ("metadata", "labels"):
            merged = {**(result.get(key) or {}), **value}
            result[key] = {k: v for k, v in merged.items() if v is not None}
            if not result[key]:
                del result[key]
        else:
            result[key] = value
    return result


def _text(value: object) -> str | None:
    """Custom metadata are strings; the API turns JSON's other scalars into them."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise errors.invalid(f"Invalid value in metadata: {value!r:.100}, expected a string")
