"""Filters of lists of batch jobs."""

import pytest

from localcloud.rest import ApiError, parse_time
from localcloud.vertex.batch.filters import parse_filter
from localcloud.vertex.batch.job import Job, Order, State


def job(name="night-1", state=State.SUCCEEDED, **labels):
    order = Order(name, "gemini-3-pro-image", "gs://b/in.jsonl", "gs://b/out", labels)
    created = parse_time("", "2026-11-30T01:00:00Z")
    return Job("projects/p/locations/global", "1", order, created, created, state)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('display_name="night-1"', True),
        ('display_name!="night-1"', False),
        ('display_name:"night-*"', True),
        ('display_name:"night"', False),
        ('display_name:"n.*"', False),
        ("state=JOB_STATE_SUCCEEDED", True),
        ('state!="JOB_STATE_FAILED" AND display_name:"night*"', True),
        ('state="JOB_STATE_FAILED" OR display_name="night-1"', True),
        ('NOT display_name="night-1"', False),
        ('create_time>"2026-11-30T00:00:00Z"', True),
        ('create_time<="2026-11-30T00:00:00Z"', False),
        ("labels.run=r7", True),
        ("labels.run!=r7", False),
        ("labels.run:*", True),
        ("labels.other:*", False),
        ('model_display_name="gemini-3-pro-image"', True),
    ],
)
def test_a_filter_has_the_comparisons_of_the_reference(text, expected):
    assert parse_filter(text)(job(run="r7")) is expected


def test_or_binds_tighter_than_and():
    text = "state=JOB_STATE_FAILED AND display_name=x OR display_name=night-1"
    assert not parse_filter(text)(job())
    assert parse_filter(f"({text.replace(' OR', ') OR')}")(job())


@pytest.mark.parametrize(
    "text",
    ["colour=red", "state", "state=", "AND", "state=A AND", "(state=A", "state=A state=B", "NOT"],
)
def test_a_malformed_filter_is_refused(text):
    with pytest.raises(ApiError) as error:
        parse_filter(text)
    assert error.value.code == 400


@pytest.mark.parametrize("text", ['state>"A"', 'create_time>"yesterday"', 'labels.a>"b"'])
def test_a_comparison_that_a_field_does_not_have_is_refused(text):
    with pytest.raises(ApiError):
        parse_filter(text)
