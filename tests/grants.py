"""What `composer.tf` grants on the objects of the deployment's bucket, as Cloud Storage checks it.

The stand-in for Cloud Storage refuses nothing to anybody. This says what the real one would refuse:
which permission each request needs, on which object, and who has it.
`tests/terraform/test_rights.py` holds what is read here against what Terraform plans.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from tests.conftest import ROOT

TERRAFORM = (ROOT / "composer.tf").read_text(encoding="utf-8")
# https://cloud.google.com/storage/docs/access-control/iam-roles, as far as requests here need them.
_OF_ROLE = {
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
    "roles/storage.objectCreator": {"storage.objects.create"},
    "roles/storage.objectUser": {
        f"storage.objects.{what}" for what in ("create", "delete", "get", "list", "update")
    },
}
_GRANT = re.compile(
    r"(\w+) += \{ member = local\.(\w+), role = \"([\w./]+)\", below = \"([\w./-]+)\""
    r"(?:, ending = \"([\w.]+)\")? \}"
)
_READERS = re.compile(r"setproduct\(\[([^\]]+)\], var\.prompt_folders\)")
_FOLDERS = re.compile(r"variable \"prompt_folders\" \{.*?default += \[([^\]]+)\]", re.DOTALL)


@dataclasses.dataclass(frozen=True, order=True)
class Grant:
    """A role on the objects whose names begin with `below`, and on lists of them.

    With `ending`, only on objects whose names also end so, and on no lists.
    """

    who: str
    role: str
    below: str
    ending: str = ""


@functools.cache
def grants() -> list[Grant]:
    """Return the grants on objects in `composer.tf`, with the default of `prompt_folders`."""
    section = TERRAFORM.partition("  on_objects = merge({")[2].partition("\n  })")[0]
    found = [Grant(*fields) for _, *fields in _GRANT.findall(section)]
    readers, folders = _READERS.search(section), _FOLDERS.search(TERRAFORM)
    assert readers, "composer.tf says differently who reads prompt files"
    assert folders
    for who in re.findall(r"\w+", readers[1]):
        below = re.findall(r"\"([^\"]+)\"", folders[1])
        found += [Grant(who, "roles/storage.objectViewer", folder) for folder in below]
    return sorted(found)


@dataclasses.dataclass(frozen=True)
class Needed:
    """A permission that a request needs. `name` is the object's, or the prefix of a list."""

    permission: str
    name: str = ""


def is_granted(who: str, needed: Needed) -> bool:
    """Return whether a service account, `composer` or `worker`, has a permission."""
    if needed.permission == "storage.buckets.get":
        return f"{who}_sees_it" in TERRAFORM
    return any(
        grant.who == who
        and needed.permission in _OF_ROLE[grant.role]
        and needed.name.startswith(grant.below)
        and needed.name.endswith(grant.ending)
        for grant in grants()
    )


def needs(
    method: str, path: Sequence[str], query: Mapping[str, str], body: bytes
) -> Iterator[Needed]:
    """Yield the permissions that a request to Cloud Storage's JSON API needs.

    An upload that may replace an object needs the permission to delete it, even if there is none.

    Args:
        method: the HTTP method.
        path: the decoded segments of the path, from the bucket's `b` on.
        query: the query parameters.
        body: of the request; multipart uploads name the object in it.

    Raises:
        LookupError: no such request is known here.
    """
    match method, list(path):
        case "GET", ["storage", "v1", "b", _]:
            yield Needed("storage.buckets.get")
        case "GET", ["storage", "v1", "b", _, "o"]:
            yield Needed("storage.objects.list", query.get("prefix", ""))
        case "GET" | "HEAD", ["storage" | "download", *_, "o", name]:
            yield Needed("storage.objects.get", name)
        case "DELETE", ["storage", "v1", "b", _, "o", name]:
            yield Needed("storage.objects.delete", name)
        case "PATCH" | "PUT", ["storage", "v1", "b", _, "o", name]:
            yield Needed("storage.objects.update", name)
        case "POST", ["upload", "storage", "v1", "b", _, "o"]:
            name = query.get("name") or _name_in(body)
            yield Needed("storage.objects.create", name)
            if query.get("ifGenerationMatch") != "0":
                yield Needed("storage.objects.delete", name)
        case "PUT" | "DELETE", ["upload", "storage", "v1", "b", _, "o"]:
            pass  # a session, whose start was allowed
        case _:
            raise LookupError(f"{method} /{'/'.join(path)}")


def _name_in(body: bytes) -> str:
    """Return the name in an upload's metadata, which is its body or the first part of it."""
    found = re.search(rb"\{.*?\}(?=\s|$)", body, re.DOTALL)
    assert found, body[:200]
    name: str = json.loads(found[0])["name"]
    return name
