"""What workers say of their calls."""

import math
from datetime import datetime

import pytest

from beam_jobs.fleet.report import MAX_BYTES, Report, Usage, from_text, to_text


def test_a_report_comes_back_as_it_was_written():
    usage = {"m/global/standard": Usage(math.inf, 7, 2.5, 10, 3), "calls": Usage(1.25)}
    assert from_text(to_text(usage)) == usage


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"m": 1}',
        '{"m": [1, 2]}',
        '{"m": ["x", 1, 1, 1, 1]}',
        '{"m": [-1, 1, 1, 1, 1]}',
        '{"m": [NaN, 1, 1, 1, 1]}',
        '{"m": [1, 1, Infinity, 1, 1]}',
        '{"m": [1, 1, 1, 1, 2]}',
        '{"m": [1, 1e999, 1, 1, 1]}',
        "[" * 5000,
        "{" + " " * MAX_BYTES + "}",
    ],
)
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        from_text(text)


def test_many_quotas_fit_into_the_metadata_of_an_object():
    usage = {
        f"projects-{number:02}-of-somebody/us-central1/standard": Usage(9.9, 999, 999.9, 9999, 999)
        for number in range(40)
    }
    assert len(to_text(usage)) < MAX_BYTES


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        Report({}, datetime(2026, 11, 1))
