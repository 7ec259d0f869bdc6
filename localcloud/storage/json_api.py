"""The JSON API's calls on buckets and objects, except uploads and downloads.

Paths and parameters follow https://cloud.google.com/storage/docs/json_api/v1.
"""

from collections.abc import Mapping
from typing import Any

from localcloud.storage import errors, listing
from localcloud.storage.calls import Call, Reply
from localcloud.storage.preconditions import NONE, Preconditions, integer
from localcloud.storage.resources import bucket_resource, object_resource
from localcloud.storage.store import ObjectStore, Source

_READ_ONLY_BUCKET_FIELDS = frozenset(
    {"kind", "id", "selfLink", "name", "metageneration", "etag", "timeCreated", "updated"}
    | {"projectNumber", "generation"}
)
MAX_COMPONENTS = 32
"""Maximum number of objects in a compose, as in the service."""


def is_slow(call: Call) -> bool:
    """Whether a call must not run on the event loop: lists of objects, and compose."""
    path = call.path
    return (len(path) == 5 and call.method == "GET") or path[-1] == "compose"


def handle(store: ObjectStore, call: Call) -> Reply:
    """Answer a call whose path starts with `storage/v1/b`.

    Raises:
        StorageError: the call failed.
    """
    match call.method, call.path[3:]:
        case method, [bucket, "o", name] if bucket and name:
            return _object(store, call, method, bucket, name)
        case "GET", [bucket, "o"]:
            return _list_objects(store, call, bucket)
        case "POST", [bucket, "o", name, ("copyTo" | "rewriteTo") as how, "b", to, "o", new_name]:
            copied = _copy(store, call, Source(bucket, name), to, new_name)
            return Reply(body=copied if how == "copyTo" else _rewritten(copied))
        case "POST", [bucket, "o", name, "compose"]:
            return _compose(store, call, bucket, name)
        case method, [bucket] if bucket:
            return _bucket(store, call, method, bucket)
        case "POST", []:
            return _create_bucket(store, call)
        case "GET", []:
            return _list_buckets(store, call)
    raise errors.no_such_method(call.method, "/" + "/".join(call.path))


def _object(store: ObjectStore, call: Call, method: str, bucket: str, name: str) -> Reply:
    generation = integer(call.query, "generation")
    conditions = Preconditions.parse(call.query)
    match method:
        case "GET" | "HEAD":
            stored = store.get(bucket, name, generation, conditions)
        case "DELETE":
            store.delete(bucket, name, generation, conditions)
            return Reply(204)
        case "PATCH" | "PUT":
            merge = method == "PATCH"
            resource = call.resource()
            stored = store.update(bucket, name, resource, generation, conditions, merge=merge)
        case _:
            raise errors.no_such_method(method, "an object")
    return Reply(body=object_resource(stored, call.base_url), headers={"ETag": stored.etag})


def _list_objects(store: ObjectStore, call: Call, bucket: str) -> Reply:
    page = store.list_objects(bucket, listing.ListQuery.parse(call.query))
    body: dict[str, Any] = {"kind": "storage#objects"}
    if page.items:
        body["items"] = [object_resource(stored, call.base_url) for stored in page.items]
    if page.prefixes:
        body["prefixes"] = page.prefixes
    if page.token is not None:
        body["nextPageToken"] = page.token
    return Reply(body=body)


def _copy(store: ObjectStore, call: Call, source: Source, to: str, name: str) -> dict[str, Any]:
    source = Source(
        source.bucket,
        source.name,
        integer(call.query, "sourceGeneration"),
        Preconditions.parse(call.query, "ifSource"),
    )
    conditions = Preconditions.parse(call.query)
    stored = store.copy(source, to, name, call.resource(), conditions)
    return object_resource(stored, call.base_url)


def _rewritten(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rewrite's response. A local copy always ends in one call, without rewriteToken."""
    return {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": resource["size"],
        "objectSize": resource["size"],
        "done": True,
        "resource": resource,
    }


def _compose(store: ObjectStore, call: Call, bucket: str, name: str) -> Reply:
    request = call.resource()
    components = request.get("sourceObjects")
    if not isinstance(components, list) or not 1 <= len(components) <= MAX_COMPONENTS:
        raise errors.invalid(
            f"Expected 1 to {MAX_COMPONENTS} sourceObjects, each with a name; got "
            f"{components!r:.200}"
        )
    destination = request.get("destination") or {}
    sources = [_component(bucket, entry) for entry in components]
    conditions = Preconditions.parse(call.query)
    stored = store.compose(bucket, name, sources, destination, conditions)
    return Reply(body=object_resource(stored, call.base_url))


def _component(bucket: str, entry: Any) -> Source:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise errors.invalid(f"Expected a source object with a name, got {entry!r:.200}")
    conditions = NONE
    preconditions = entry.get("objectPreconditions")
    if isinstance(preconditions, Mapping):
        values = {key: str(value) for key, value in preconditions.items()}
        conditions = Preconditions.parse(values)
    generation = integer({k: str(v) for k, v in entry.items()}, "generation")
    return Source(bucket, entry["name"], generation, conditions)


def _bucket(store: ObjectStore, call: Call, method: str, name: str) -> Reply:
    conditions = Preconditions.parse(call.query)
    match method:
        case "GET" | "HEAD":
            bucket = store.bucket(name, conditions)
        case "PATCH" | "PUT":
            fields = _bucket_fields(call.resource())
            bucket = store.update_bucket(name, fields, conditions, merge=method == "PATCH")
        case "DELETE":
            store.delete_bucket(name, conditions)
            return Reply(204)
        case _:
            raise errors.no_such_method(method, "a bucket")
    return Reply(body=bucket_resource(bucket, call.base_url), headers={"ETag": bucket.etag})


def _create_bucket(store: ObjectStore, call: Call) -> Reply:
    if not call.query.get("project"):
        raise errors.required("project")
    resource = call.resource()
    if "name" not in resource:
        raise errors.required("name")
    bucket = store.create_bucket(resource["name"], _bucket_fields(resource))
    return Reply(body=bucket_resource(bucket, call.base_url))


def _list_buckets(store: ObjectStore, call: Call) -> Reply:
    """List all buckets: one machine has only one project."""
    token = call.query.get("pageToken")
    after = listing.decode_token(token) if token else ""
    limit = integer(call.query, "maxResults") or listing.MAX_PAGE
    buckets = store.buckets(call.query.get("prefix", ""), after)
    body: dict[str, Any] = {"kind": "storage#buckets"}
    if buckets:
        body["items"] = [bucket_resource(bucket, call.base_url) for bucket in buckets[:limit]]
    if len(buckets) > limit:
        body["nextPageToken"] = listing.encode_token(buckets[limit - 1].name)
    return Reply(body=body)


def _bucket_fields(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in resource.items() if k not in _READ_ONLY_BUCKET_FIELDS}
