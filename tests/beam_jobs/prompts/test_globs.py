import re
import time
import warnings
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_jobs.prompts.globs import GlobError, PromptGlob, refuse_if_ambiguous, too_costly


def test_a_glob_has_a_bucket_and_a_prefix_up_to_its_first_wildcard() -> None:
    glob = PromptGlob.parse(" gs://my-bucket/prompts/ds=2026-11-0?/*.txt ")
    assert (glob.bucket, glob.prefix) == ("my-bucket", "prompts/ds=2026-11-0")
    assert glob.url == "gs://my-bucket/prompts/ds=2026-11-0?/*.txt"
    assert not glob.is_one_object
    assert PromptGlob.parse("gs://my-bucket/p.txt").is_one_object


def matching(*names: str) -> Callable[[str], list[str]]:
    """Return what finds files of these names, by Beam's rules."""
    return lambda glob: [name for name in names if PromptGlob("b", glob).matches(name)]


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("gs://b/p/x[1].txt", "gs://b/p/x[[]1].txt"),
        ("gs://b/p/[*].txt", "gs://b/p/[[][*]].txt"),
        ("/p/[x]?.txt", "/p/[[]x][?].txt"),
    ],
)
def test_a_glob_that_passes_over_the_file_of_its_own_name_is_refused(
    path: str, quoted: str
) -> None:
    refuse_if_ambiguous(path, matching())
    with pytest.raises(GlobError, match=re.escape(f"for that file, write {quoted}")):
        refuse_if_ambiguous(path, matching(path))
    assert PromptGlob("b", quoted).matches(path)


@pytest.mark.parametrize(
    ("glob", "name", "instead"),
    [
        ("gs://b/p/run[1]/*", "gs://b/p/run[1]/a.txt", "gs://b/p/run[[]1]/*"),
        ("gs://b/p/run[1]/", "gs://b/p/run[1]/a.txt", "gs://b/p/run[[]1]/*"),
        ("gs://b/p/q[1].c*", "gs://b/p/q[1].csv", "gs://b/p/q[[]1].c*"),
        ("gs://b/p/q[1]*.c?v", "gs://b/p/q[1]-0.csv", "gs://b/p/q[[]1]*.c?v"),
        ("gs://b/p/*/x[!1].txt", "gs://b/p/a/x[!1].txt", "gs://b/p/*/x[[]!1].txt"),
        ("gs://b/p/run[1]/x[ab].txt", "gs://b/p/run[1]/xa.txt", "gs://b/p/run[[]1]/x[ab].txt"),
        ("gs://b/p/a[[]1]/x[2]*", "gs://b/p/a[1]/x[2].txt", "gs://b/p/a[[]1]/x[[]2]*"),
        ("/p/run[1]/*", "/p/run[1]/a.txt", "/p/run[[]1]/*"),
    ],
)
def test_a_glob_that_passes_over_files_with_its_brackets_in_their_names_is_refused(
    glob: str, name: str, instead: str
) -> None:
    with pytest.raises(GlobError) as refused:
        refuse_if_ambiguous(glob, matching(name.replace("[", "").replace("]", ""), name))
    assert str(refused.value).endswith(f"for that file, write {instead}")
    assert ascii(name) in str(refused.value)
    assert PromptGlob("b", instead).matches(name)


def test_brackets_that_no_name_has_are_a_glob() -> None:
    others = ("gs://b/p/run1/a.txt", "gs://b/p/run[1].txt", "gs://b/p/run[2]/a.txt")
    refuse_if_ambiguous("gs://b/p/run[1]/*", matching(*others))
    refuse_if_ambiguous("gs://b/p/run[[]1]/*", matching("gs://b/p/run[1]/a.txt"))


def test_a_listing_is_narrowed_by_characters_in_brackets() -> None:
    glob = PromptGlob("b", "p/run[[]1]/[*]x[?]y[ab]*")
    assert glob.prefix == "p/run[1]/*x?y"
    assert not PromptGlob("b", "p/[[]1].txt").is_one_object


@pytest.mark.parametrize(
    "path", ["gs://b/p/*", "gs://b/p/x?.txt", "gs://b/p/a[b", "gs://b/[]", "p"]
)
def test_nothing_is_looked_up_for_a_glob_that_matches_its_own_name(path: str) -> None:
    refuse_if_ambiguous(path, nowhere)


def nowhere(glob: str) -> list[str]:
    raise AssertionError("was looked up")


def test_brackets_quote_a_wildcard() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        glob = PromptGlob.parse("gs://my-bucket/prompts/x[[]1][*][?].txt")
        assert glob.matches("prompts/x[1]*?.txt")
        assert not glob.matches("prompts/x1ab.txt")


def test_a_folder_means_the_files_in_it() -> None:
    glob = PromptGlob.parse("gs://my-bucket/prompts/")
    assert glob.matches("prompts/p.txt")
    assert not glob.matches("prompts/below/p.txt")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "does not begin with gs://"),
        ("/prompts/*", "does not begin with gs://"),
        ("s3://my-bucket/prompts/*", "does not begin with gs://"),
        ("gs://", "its bucket name is not valid"),
        ("gs:///prompts/*", "its bucket name is not valid"),
        ("gs://my*bucket/prompts/*", "its bucket name is not valid"),
        ("gs://my-bucket", "the whole bucket"),
        ("gs://my-bucket/", "the whole bucket"),
        ("gs://my-bucket/**", "the whole bucket"),
        ("gs://my-bucket/prompts/../images/*", "must not have . or .. as a folder"),
        ("gs://my-bucket/prompts/\n*", "control character"),
        ("gs://my-bucket/prompts/\x00", "control character"),
        ("gs://my-bucket/prompts/[b-a]", "its brackets are not valid"),
        ("gs://my-bucket/p/*/*/*/*/*", "it has 5 wildcards * and **, and the maximum is 4"),
        ("gs://my-bucket/p/**/x-*-*", "beside a ** there can be only one"),
        ("gs://my-bucket/p/***/*", "beside a ** there can be only one"),
        ("gs://my-bucket/p/*-*-*.txt", "there can be two in the name of one folder or file"),
        ("gs://my-bucket/p/*-*/*-*", "there can be two in the name of one folder or file"),
    ],
)
def test_an_invalid_glob_is_refused_with_what_was_expected(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as refused:
        PromptGlob.parse(url)
    assert "expected files in a folder of a bucket, such as gs://" in str(refused.value)
    assert ascii(url.strip()) in str(refused.value)


@pytest.mark.slow
@settings(deadline=None)  # the first example imports Beam
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
        with pytest.raises(ValueError, match="brackets"):
            PromptGlob.parse(f"gs://bkt/p{pattern}")
        return
    try:
        glob = PromptGlob.parse(f"gs://bkt/p{pattern}")
    except ValueError as error:
        refusals = ("must not have . or .. as a folder", "wildcards *")
        assert any(refusal in str(error) for refusal in refusals)  # noqa: PT017
        return
    if not pattern.endswith(("/", "\\")):
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
def test_storage_narrows_a_listing_only_if_it_reads_the_pattern_as_beam_does(
    pattern: str, passed_on: bool
) -> None:
    assert PromptGlob("bkt", pattern).storage_pattern == (pattern if passed_on else None)


@pytest.mark.parametrize(
    "path",
    [
        "gs://b/p/*/*/*/*.txt",
        "gs://b/p/ds=*/part-*-of-*.csv",
        "gs://b/p/**/x-*.txt",
        "gs://b/p/[*][*][*][*][*]*.txt",
        "/p/x?????[ab]*.txt",
    ],
)
def test_a_glob_with_a_few_wildcards_is_accepted(path: str) -> None:
    assert too_costly(path) is None


def test_a_glob_is_no_longer_than_the_name_of_an_object() -> None:
    assert too_costly("p" * 1024) is None
    assert too_costly("p" * 1025) == "it has 1,025 characters, and the maximum is 1,024"


@pytest.mark.parametrize(
    "pattern", ["*a*ab", "**a*ab", "**a**b", "*a/*a/*a*ab", "*?/*?/*?*?b", "*[!b]/*[!b]/*[!b]*b"]
)
@pytest.mark.parametrize("unit", ["a", "a/", "a//", "//", "aaaa/"])
def test_beam_matches_every_glob_that_is_accepted_in_milliseconds(pattern: str, unit: str) -> None:
    from apache_beam.io.filesystem import FileSystem

    assert too_costly(f"gs://b/p/{pattern}") is None
    match = re.compile(FileSystem.translate_pattern(pattern)).match
    name = (unit * 1024)[:1024]
    began = time.process_time()
    match(name)
    assert time.process_time() - began < 1.0
