"""Names match as they do for Beam, in a time that no pattern can make long."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_jobs.prompts.matching import Matcher


@pytest.mark.slow
@settings(deadline=None, max_examples=1000)  # the first example imports Beam
@given(
    pattern=st.text("ab*?[]!^-/\\{},.\n", max_size=12), name=st.text("ab[]!^-/\\{.\n", max_size=8)
)
@example(pattern="**/a", name="b/b/a")
@example(pattern="***", name="/")
@example(pattern="[!a]?", name="b/")
@example(pattern="[^a]", name="^")
@example(pattern="[]a]", name="]")
@example(pattern="[!]a]", name="b")
@example(pattern="[]", name="[]")
@example(pattern="[[a]", name="[")
def test_a_name_matches_as_it_does_for_beam(pattern: str, name: str) -> None:
    from apache_beam.io.filesystem import FileSystem

    try:
        beam = re.compile(FileSystem.translate_pattern(pattern))
    except re.error:
        with pytest.raises(re.error):
            Matcher(pattern)
        return
    assert Matcher(pattern).matches(name) == bool(beam.match(name))


@pytest.mark.parametrize(
    "pattern", ["*a*a*a*a*a*a*a*ab", "**a" * 100 + "b", "*" * 1024, "?" * 1024]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    matcher = Matcher(pattern)
    began = time.process_time()
    for _ in range(10):
        matcher.matches("a" * 1024)
    assert time.process_time() - began < 1.0
