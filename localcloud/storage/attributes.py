"""The fields of an object that clients can set, and how changes are applied to them."""

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
# https://cloud.google.com/storage/quotas#objects and `ServiceConstants` of google.storage.v2: of an
# object's custom metadata, of a name, of a value, and of all of them together.
MAX_NAME_BYTES, MAX_VALUE_BYTES, MAX_METADATA_BYTES = 1024, 4096, 8192


def accepted(resource: object) -> dict[str, Any]:
    """Return the writable fields of an object resource; drop those that the service sets itself.

    Raises:
        StorageError: 400; the resource is not a JSON object, or a field has a wrong type.
    """
    if not isinstance(resource, Mapping):
        raise errors.invalid(f"Expected a JSON object as the resource, got {resource!r:.100}")
    fields = {key: value for key, value in resource.items() if key in _WRITABLE}
    for key in _HEADER_FIELDS:
        value = fields.get(key)
        # These become headers of downloads: a line break would let an object forge headers.
        if value is not None and not (isinstance(value, str) and value.isprintable()):
            raise errors.invalid(
                f"Invalid value for {key}: {value!r:.100}, expected a line of text"
            )
    metadata = fields.get("metadata")
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise errors.invalid("Invalid value for metadata: expected an object of strings")
        texts = {key: _text(value) for key, value in metadata.items()}
        sizes = [(len(name.encode()), len((text or "").encode())) for name, text in texts.items()]
        if sum(map(sum, sizes)) > MAX_METADATA_BYTES:
            raise errors.invalid(f"The metadata is larger than {MAX_METADATA_BYTES} bytes")
        if any(name > MAX_NAME_BYTES or value > MAX_VALUE_BYTES for name, value in sizes):
            raise errors.invalid(
                f"The metadata has a name of over {MAX_NAME_BYTES} bytes, or a value of over "
                f"{MAX_VALUE_BYTES}"
            )
        fields["metadata"] = texts
    return fields


def fresh(resource: object) -> dict[str, Any]:
    """Return the writable fields of a new object, in which null means absent.

    Raises:
        StorageError: 400; the resource is not a JSON object, or a field has a wrong type.
    """
    return patched({}, accepted(resource))


def patched(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `current` after a PATCH: null removes a field, metadata and labels are merged."""
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
    """Convert a value of custom metadata to a string, as the API does with JSON scalars."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise errors.invalid(f"Invalid value in metadata: {value!r:.100}, expected a string")
