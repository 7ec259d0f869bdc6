"""How quotas are split, and the object that says so."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from beam_jobs.fleet.report import Report, Usage
from beam_jobs.fleet.split import Split, settle

AT = datetime(2026, 11, 1, tzinfo=UTC)


def report(usage, seconds=0.0):
    return Report(usage, AT + timedelta(seconds=seconds))


def test_a_set_rate_is_split_among_those_who_use_it():
    busy = [report({"job": Usage(math.inf)}, number) for number in range(4)]
    split = settle(Split(), busy, {"job": 20.0}, "me")
    assert split.quotas["job"].share(math.inf) == pytest.approx(5, rel=0.01)
    assert (split.workers, split.by, split.heard_until) == (4, "me", AT + timedelta(seconds=3))


def test_a_quota_that_nobody_was_refused_for_is_not_split():
    assert (
        settle(Split(), [report({"model": Usage(math.inf, 0, 4, 100, 0)})], {}, "me").quotas == {}
    )


def test_two_quotas_are_split_each_for_itself():
    first = report({"us": Usage(math.inf, 0, 4, 40, 4), "eu": Usage(math.inf, 0, 4, 8, 4)})
    second = report({"us": Usage(math.inf, 0, 4, 40, 0)})
    quotas = settle(Split(), [first, second], {}, "me").quotas
    assert (quotas["us"].per_second, quotas["eu"].per_second) == (19, 1)
    assert quotas["us"].share(math.inf) == pytest.approx(19 / 2, rel=0.01)
    assert quotas["eu"].share(math.inf) is None, "whoever is alone learns faster alone"
    assert quotas["eu"].share(None) < 0.1, "and whoever comes has not been heard"


def test_a_report_is_new_once():
    new = {"model": Usage(math.inf, 0, 4, 40, 4)}
    before = settle(Split(), [report(new), report(new, 1)], {}, "me")
    assert before.quotas["model"].per_second == 18
    again = settle(before, [report(new), report(new, 1)], {}, "me")
    assert again.quotas["model"].per_second == 18
    more = settle(before, [report(new), report(new, 1), report(new, 2)], {}, "me")
    assert more.quotas["model"].per_second == 27


def test_a_split_comes_back_as_it_was_written():
    new = {"model": Usage(math.inf, 0, 4, 40, 4), "job": Usage(3.0)}
    split = settle(Split(), [report(new), report(new, 1)], {"job": 20.0}, "me")
    assert Split.from_json(split.to_json()) == split
    assert Split.from_json(Split().to_json()) == Split()


def test_it_is_as_large_for_a_thousand_workers_as_for_two():
    reports = [report({"job": Usage(number)}, number) for number in range(1000)]
    assert len(settle(Split(), reports, {"job": 20.0}, "me").to_json()) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema": "imagen.fleet/2"}',
        b'{"schema": "imagen.fleet/1", "quotas": {"m": 1}, "workers": 1, "heard_until": ""}',
        Split().to_json().replace(b"1970", b"nineteen"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_split_is_refused(content):
    with pytest.raises(ValueError, match=r"\w"):
        Split.from_json(content)
