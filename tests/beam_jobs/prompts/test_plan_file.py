"""The plan of a backfill as a file, and how it differs from what is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.listing import ListedFile
from beam_jobs.prompts.plan_file import as_planned, line_of, planned_files

GENERATIONS = st.dictionaries(st.text("ab\u2028ü", min_size=1), st.integers(1, 3), max_size=8)


def files(generations):
    return [ListedFile(name, 1, number) for name, number in sorted(generations.items())]


@given(GENERATIONS)
def test_a_plan_is_read_as_it_was_written(generations):
    lines = b"".join(map(line_of, files(generations))).splitlines(keepends=True)
    assert list(planned_files(lines)) == files(generations)


@given(GENERATIONS, GENERATIONS)
def test_only_what_is_as_planned_is_read_and_each_other_file_is_one_failure(plan, now):
    outcome = list(as_planned(files(plan), files(now), bucket="b", source="backfill:1"))
    read = [item.name for item in outcome if isinstance(item, ListedFile)]
    assert read == sorted(name for name in plan if now.get(name) == plan[name])
    failures = [item for item in outcome if isinstance(item, Failure)]
    assert len(failures) == len((plan | now).keys()) - len(read)
    for failure in failures:
        assert failure.detail.isprintable(), "the name is escaped"
        assert not failure.retryable


@pytest.mark.parametrize(
    "lines",
    [
        [b"not JSON\n"],
        [b"{}\n"],
        [b"[]\n"],
        [None],
        [b'{"name": "a", "generation": "x", "size": 1}\n'],
        [b'{"name": "a", "generation": "1"}\n'],
        [line_of(ListedFile("b", 1, 1)), line_of(ListedFile("a", 1, 1))],
        [line_of(ListedFile("a", 1, 1)), line_of(ListedFile("a", 1, 2))],
    ],
)
def test_what_is_no_plan_is_refused(lines):
    with pytest.raises(ValueError, match=r"line \d is not .*run the backfill again"):
        list(planned_files(lines))
