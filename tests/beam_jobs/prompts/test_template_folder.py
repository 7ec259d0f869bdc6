"""Templates as they are read from a bucket: how often, how much, and what then is an error."""

import types
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, NotFound, ServiceUnavailable

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.pipeline.transforms import Parse
from beam_jobs.prompts import template_folder
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import Prompt
from beam_jobs.prompts.template_folder import (
    MAX_TEMPLATES,
    REFRESH_S,
    TRUSTED_S,
    TemplateFolder,
    templates_in,
)
from beam_jobs.prompts.templates import MAX_TEMPLATE_BYTES, TemplateError

DEFAULTS = PromptDefaults("gemini-3.1-flash-image", frozenset())


class Bucket:
    """A bucket that counts what it is asked."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.lists = self.reads = 0
        self.error: Exception | None = None
        self.now_s = 0.0
        self.folder = TemplateFolder(lambda: self, "b-1", clock=lambda: self.now_s)  # type: ignore[arg-type,return-value]

    def put(self, name: str, content: bytes, generation: int = 1) -> None:
        self.objects[f"templates/prompts/{name}"] = (generation, content)

    def list_blobs(self, bucket: str, *, prefix: str, max_results: int, **_: Any) -> list[Any]:
        self.lists += 1
        assert (bucket, prefix) == ("b-1", "templates/prompts/")
        if self.error:
            raise self.error
        return [
            types.SimpleNamespace(name=name, generation=generation, size=len(content))
            for name, (generation, content) in sorted(self.objects.items())
        ][:max_results]

    def bucket(self, name: str) -> "Bucket":
        return self

    def blob(self, name: str, generation: int) -> Any:
        def download_as_bytes(**_: Any) -> bytes:
            self.reads += 1
            if self.error:
                raise self.error
            if self.objects.get(name, (0,))[0] != generation:
                raise NotFound("gone")
            return self.objects[name][1]

        return types.SimpleNamespace(download_as_bytes=download_as_bytes)


@pytest.fixture
def bucket() -> Bucket:
    bucket = Bucket()
    bucket.put("studio.txt", b"a {x}")
    return bucket


def test_a_template_is_read_once_and_a_changed_one_within_ten_seconds(bucket):
    for _ in range(1_000):
        assert bucket.folder.find("studio").version == "studio@1"
    assert (bucket.lists, bucket.reads) == (1, 1)
    bucket.put("studio.txt", b"b {x}", generation=2)
    assert bucket.folder.find("studio").version == "studio@1"
    bucket.now_s += REFRESH_S
    found = bucket.folder.find("studio")
    assert (found.version, found.filled({"x": "y"})) == ("studio@2", "b y")
    bucket.now_s += REFRESH_S
    bucket.folder.find("studio")
    assert (bucket.lists, bucket.reads) == (3, 2)


def test_names_that_strangers_make_up_cost_one_listing_and_no_read(bucket):
    for number in range(1_000):
        with pytest.raises(TemplateError, match=r"no gs://b-1/templates/prompts/x\d+\.txt; put it"):
            bucket.folder.find(f"x{number}")
    assert (bucket.lists, bucket.reads) == (1, 0)


def test_what_is_no_template_is_said_and_read_once(bucket):
    bucket.put("broken.txt", b"{")
    bucket.put("large.txt", b"x" * (MAX_TEMPLATE_BYTES + 1))
    for _ in range(3):
        with pytest.raises(TemplateError, match="template broken@1, line 1"):
            bucket.folder.find("broken")
        with pytest.raises(TemplateError, match=r"has 32,001 bytes; the limit is 32,000"):
            bucket.folder.find("large")
    assert bucket.reads == 1


def test_one_that_is_replaced_between_listing_and_reading_is_found_by_the_next_listing(bucket):
    bucket.folder._list()
    bucket.put("studio.txt", b"b", generation=2)
    with pytest.raises(TemplateError, match="replaced or deleted just now"):
        bucket.folder.find("studio")
    bucket.now_s += REFRESH_S
    assert bucket.folder.find("studio").version == "studio@2"


def test_of_a_folder_with_too_many_the_first_count(bucket):
    for number in range(MAX_TEMPLATES):
        bucket.put(f"a{number}.txt", b"x")
    bucket.folder.find("a7")
    with pytest.raises(TemplateError, match="among the first 1,000 there"):
        bucket.folder.find("studio")


def test_while_storage_is_down_what_is_known_counts_for_an_hour(bucket):
    bucket.folder.find("studio")
    bucket.error = ServiceUnavailable("down")
    for _ in range(int(TRUSTED_S / 60)):
        bucket.now_s += 60
        assert bucket.folder.find("studio").version == "studio@1"
    bucket.now_s += 60
    with pytest.raises(ServiceUnavailable):
        bucket.folder.find("studio")


def test_without_storage_a_prompt_fails_at_once_and_can_be_replayed(bucket, monkeypatch):
    bucket.error = Forbidden("no permission")
    monkeypatch.setattr(template_folder, "TemplateFolder", lambda *_: bucket.folder)
    parse = Parse(DEFAULTS, None, "b-1")
    monkeypatch.setitem(template_folder._finders, "b-1", template_folder._finder("b-1"))
    for _ in range(100):
        (item,) = parse.process(RawPrompt(b'{"template": "studio"}', {}, "1"))
        assert isinstance(item, Failure)
        assert (item.reason, item.retryable) == (Reason.STORAGE_ERROR, True)
    assert "gs://b-1/templates/prompts/studio.txt cannot be read: Forbidden: 403" in item.detail
    assert bucket.lists == 1
    bucket.error = None
    bucket.now_s += REFRESH_S
    (item,) = parse.process(RawPrompt(b'{"template": "studio", "vars": {"x": 1}}', {}, "1"))
    assert isinstance(item, Prompt)
    assert item.text == "a 1"


def test_a_process_has_one_folder_for_each_bucket():
    assert templates_in("b-2") is templates_in("b-2") is not templates_in("b-3")
