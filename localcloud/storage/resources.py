"""The JSON resources of buckets and objects, as the API returns them."""

from typing import Any
from urllib.parse import quote

from localcloud.storage.attributes import DEFAULT_CONTENT_TYPE
from localcloud.storage.records import Bucket, StoredObject


def object_resource(stored: StoredObject, base_url: str) -> dict[str, Any]:
    """Return an object's resource; `base_url` is how the client reached the server."""
    content = stored.content
    generation = str(stored.generation)
    path = f"{stored.bucket}/o/{quote(stored.name, safe='')}"
    resource = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{generation}",
        "selfLink": f"{base_url}/storage/v1/b/{path}",
        "mediaLink": (f"{base_url}/download/storage/v1/b/{path}?generation={generation}&alt=media"),
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": generation,
        "metageneration": str(stored.metageneration),
        "contentType": DEFAULT_CONTENT_TYPE,
        "storageClass": "STANDARD",
        "size": str(content.size),
        "crc32c": content.crc32c,
        "etag": stored.etag,
        "timeCreated": stored.created,
        "updated": stored.updated,
        "timeStorageClassUpdated": stored.created,
        "timeFinalized": stored.created,
        **stored.attributes,
    }
    if content.md5 is not None:
        resource["md5Hash"] = content.md5
    if content.components is not None:
        resource["componentCount"] = content.components
    return resource


def bucket_resource(bucket: Bucket, base_url: str) -> dict[str, Any]:
    """Return a bucket's resource.

    It has no projectNumber, because Beam would look that up at the Resource Manager API.
    """
    return {
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "inherited",
        },
        **bucket.fields,
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": f"{base_url}/storage/v1/b/{bucket.name}",
        "name": bucket.name,
        "metageneration": str(bucket.metageneration),
        "etag": bucket.etag,
        "timeCreated": bucket.created,
        "updated": bucket.updated,
    }
