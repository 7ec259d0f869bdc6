import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagen_ops.backfill.globs import PromptGlob


def test_a_glob_is_a_bucket_and_what_comes_before_its_first_wildcard() -> None:
    glob = PromptGlob.parse(" gs://my-bucket/prompts/ds=2026-11-0?/*.txt ")
    assert (glob.bucket, glob.prefix) == ("my-bucket", "prompts/ds=2026-11-0")
    assert glob.url == "gs://my-bucket/prompts/ds=2026-11-0?/*.txt"
    assert not glob.one_name
    assert PromptGlob.parse("gs://my-bucket/p.txt").one_name


def test_a_folder_means_what_lies_in_it() -> None:
    glob = PromptGlob.parse("gs://my-bucket/prompts/")
    assert glob.matches("prompts/p.txt")
    assert not glob.matches("prompts/below/p.txt")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "does not begin with gs://"),
        ("/prompts/*", "does not begin with gs://"),
        ("s3://my-bucket/prompts/*", "does not begin with gs://"),
        ("gs://", "no bucket"),
        ("gs:///prompts/*", "no bucket"),
        ("gs://my*bucket/prompts/*", "no bucket"),
        ("gs://my-bucket", "the whole bucket"),
        ("gs://my-bucket/", "the whole bucket"),
        ("gs://my-bucket/**", "the whole bucket"),
        ("gs://my-bucket/prompts/../images/*", "without . and .."),
        ("gs://my-bucket/prompts/\n*", "control character"),
        ("gs://my-bucket/prompts/\x00", "control character"),
        ("gs://my-bucket/prompts/[b-a]", "a bracket in it"),
    ],
)
def test_what_is_no_glob_is_refused_with_what_was_expected(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)) as refused:
        PromptGlob.parse(url)
    assert "expected files in a folder of a bucket, such as gs://" in str(refused.value)
    assert ascii(url.strip()) in str(refused.value)


@pytest.mark.slow
@settings(deadline=None)  # the first one imports Beam
@given(pattern=st.text("ab*?[]!^-/\\{},.", max_size=8), name=st.text("ab[]!^-/\\{},.", max_size=6))
@example(pattern="**/a", name="b/b/a")
@example(pattern="[!a]?", name="b/")
@example(pattern="{a,b}", name="a")
@example(pattern="[]a]", name="]")
@example(pattern="[]", name="[]")
def test_a_name_matches_as_it_does_for_the_job(pattern: str, name: str) -> None:
    from apache_beam.io.filesystem import FileSystem

    try:
        beam = re.compile(FileSystem.translate_pattern(f"gs://bkt/p{pattern}"))
    except re.error:
        with pytest.raises(ValueError, match="bracket"):
            PromptGlob.parse(f"gs://bkt/p{pattern}")
        return
    try:
        glob = PromptGlob.parse(f"gs://bkt/p{pattern}")
    except ValueError as error:
        assert "without . and .." in str(error)  # noqa: PT017 - the only other refusal
        return
    if not pattern.endswith("/"):
        assert glob.matches(f"p{name}") == bool(beam.match(f"gs://bkt/p{name}"))


@pytest.mark.parametrize(
    ("pattern", "passed_on"),
    [
        ("p/*", True),
        ("p/*/x-*.txt", True),
        ("p/a.txt", False),
        ("p/**", False),
        ("p/?.txt", False),
        ("p/[ab]*", False),
        ("p/{a,b}*", False),
        ("p/\\*", False),
    ],
)
def test_storage_narrows_a_listing_only_where_it_reads_the_pattern_alike(
    pattern: str, passed_on: bool
) -> None:
    assert PromptGlob("bkt", pattern).for_storage == (pattern if passed_on else None)
