"""Templates and images: what is missing, or of another version, is found."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import BUCKET, Lane
from tests.verification.answers import Answers
from tests.verification.conftest import Verifying, differs, holds

TAGS = "/v1/projects/demo-project/locations/us-central1/repositories/imagen/packages"
IMAGES = ("imagen-stream", "imagen-backfill", "imagen-prefetch-import")


@pytest.fixture
def template(lane: Lane) -> Iterator[Any]:
    """The object of the stream's template, put back at the end."""
    blob = lane.storage.bucket(BUCKET).blob("templates/stream.json")
    content = blob.download_as_bytes()
    yield blob
    lane.storage.bucket(BUCKET).blob(blob.name).upload_from_string(content)


def test_the_templates_of_this_version_hold(verifying: Verifying) -> None:
    holds(verifying.ask("templates"))


def test_a_template_that_is_not_there_is_found(verifying: Verifying, template: Any) -> None:
    template.delete()
    differs(verifying.ask("templates"), "templates/stream.json does not exist")


def test_a_template_of_another_image_is_found(verifying: Verifying, template: Any) -> None:
    content = json.loads(template.download_as_bytes())
    content["image"] = content["image"].replace(":local", ":older")
    template.upload_from_string(json.dumps(content))
    result = differs(verifying.ask("templates"), "imagen-stream:older", "not us-central1")
    assert "workers would run" in result.seen


def test_images_that_are_built_hold(verifying: Verifying, answers: Answers) -> None:
    answers.at |= {f"{TAGS}/{image}/tags/local": (200, {"name": "a tag"}) for image in IMAGES}
    holds(verifying.ask("images"))


def test_an_image_that_is_not_built_is_found(verifying: Verifying, answers: Answers) -> None:
    answers.at |= {f"{TAGS}/{image}/tags/local": (200, {"name": "a tag"}) for image in IMAGES[:2]}
    result = differs(verifying.ask("images"), "imagen-prefetch-import isn't built")
    assert "scripts/build_image.sh" in result.seen
