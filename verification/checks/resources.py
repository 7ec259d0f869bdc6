"""What jobs are launched from: templates in the bucket, and images in the registry."""

import json
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as api_exceptions

from verification.access import TIMEOUT_S
from verification.check import Check, DiffersError, Seen
from verification.visit import Visit

_TEMPLATES = ("stream", "backfill", "prefetch_import")


def _image_of(template: str) -> str:
    return f"imagen-{template.replace('_', '-')}"


def _templates(visit: Visit) -> Seen:
    where = visit.deployment
    bucket = visit.access.storage().bucket(where.bucket)
    problems = []
    for template in _TEMPLATES:
        name = f"templates/{template}.json"
        try:
            text = bucket.blob(name).download_as_bytes(timeout=TIMEOUT_S, retry=None)
            specification: dict[str, Any] = json.loads(text)
        except api_exceptions.NotFound:
            problems.append(f"{name} does not exist; run terraform apply")
            continue
        except ValueError:
            problems.append(f"{name} is no JSON; run terraform apply")
            continue
        expected = f"{where.repository}/{_image_of(template)}:{where.image_tag}"
        found = specification.get("image")
        workers = specification.get("defaultEnvironment", {}).get("sdkContainerImage")
        if found != expected:
            problems.append(
                f"{name} names {found}, not {expected}; run terraform apply with this tag"
            )
        if workers != found:
            problems.append(f"{name}: workers would run {workers}, and the launcher {found}")
    if problems:
        raise DiffersError("; ".join(problems))
    return Seen(f"{len(_TEMPLATES)} templates of {where.image_tag}")


def _images(visit: Visit) -> Seen:
    where = visit.deployment
    host, project, repository = where.repository.split("/")
    location = host.removesuffix("-docker.pkg.dev")
    missing = []
    for template in _TEMPLATES:
        path = (
            f"/v1/projects/{project}/locations/{location}/repositories/{repository}/packages/"
            f"{_image_of(template)}/tags/{where.image_tag}"
        )
        try:
            visit.access.call("artifactregistry", "GET", path)
        except api_exceptions.NotFound:
            missing.append(_image_of(template))
    if missing:
        raise DiffersError(
            f"{', '.join(missing)} isn't built with the tag {where.image_tag}; run "
            "scripts/build_image.sh"
        )
    return Seen(f"{len(_TEMPLATES)} images have the tag {where.image_tag}")


def checks() -> Iterator[Check]:
    """Yield them."""
    yield Check(
        name="templates",
        believed="The templates are in the bucket, and name this version's images.",
        where="composer.tf",
        expected="three templates, launched and run in the same image",
        ask=_templates,
    )
    yield Check(
        name="images",
        believed="The images are built: Cloud Build's account can do what its config asks for.",
        where="beam_jobs/cloudbuild.yaml",
        expected="each image has the tag",
        ask=_images,
    )
