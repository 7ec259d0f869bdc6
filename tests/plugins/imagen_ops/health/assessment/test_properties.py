"""Properties of the health decision that hold for any signals."""

import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import (
    Canary,
    Counts,
    ErrorMessage,
    Period,
    Previous,
    Signals,
    Source,
    Starts,
)
from imagen_ops.health.assessment.verdict import Status, Verdict
from imagen_ops.jobs.job import Job, JobState
from tests.plugins.imagen_ops.health.assessment.samples import (
    LIMITS,
    LOST_BEFORE,
    NOW,
    ago,
    canary,
    with_,
)

pytestmark = pytest.mark.slow

# Times around NOW, so that both sides of each limit are met, and any other times.
moments = st.one_of(
    st.floats(-4000, 90_000).map(ago),
    st.datetimes(),
    st.datetimes(timezones=st.timezones() | st.just(UTC)),
)
readings = st.none() | st.builds(
    Reading, st.floats() | st.floats(0, 10_000), st.floats(-100, 700).map(ago) | moments
)
jobs = st.builds(
    Job,
    st.text(max_size=8),
    st.text(max_size=8),
    st.sampled_from(JobState) | st.just(JobState.RUNNING),
    st.none() | moments,
    st.none() | moments,
)
numbers = st.integers(0, 200) | st.integers()
all_counts = st.builds(Counts, numbers, numbers, st.dictionaries(st.text(max_size=5), numbers))
any_signals = st.builds(
    Signals,
    at=st.just(NOW) | moments,
    wanted=st.booleans() | st.just(True),
    wanted_by=st.text(max_size=20),
    wanted_since=st.none() | moments,
    job=st.none() | jobs,
    last_job=st.none() | jobs,
    system_lag=readings,
    watermark_age=readings,
    backlog_age=readings,
    backlog_size=readings,
    counts=st.none() | all_counts,
    earlier=st.lists(st.builds(Period, moments, all_counts), max_size=3).map(tuple),
    starts=st.none() | st.builds(Starts, st.integers(0, 2), st.booleans()),
    errors=st.lists(st.builds(ErrorMessage, moments, st.text()), max_size=3).map(tuple),
    canary=st.none()
    | st.builds(Canary, st.floats(-100, 900).map(ago) | moments, st.none() | moments),
    unreachable=st.dictionaries(
        st.sampled_from([source.value for source in Source]) | st.text(max_size=3),
        st.text(max_size=20),
        max_size=4,
    ),
    previous=st.none() | st.builds(Previous, st.sampled_from(Status), st.booleans()),
)


@settings(max_examples=400, deadline=None)
@given(signals=any_signals)
def test_no_signals_raise_and_the_worst_reason_decides(signals: Signals) -> None:
    verdict = assess(signals, LIMITS)
    severities = [reason.status.severity for reason in verdict.reasons]
    assert severities
    assert verdict.status.severity == max(severities)
    assert severities == sorted(severities, reverse=True)
    assert all(reason.text for reason in verdict.reasons)
    assert len(verdict.headline.splitlines()) == 1


@settings(max_examples=400, deadline=None)
@given(signals=any_signals)
def test_a_restart_needs_a_wanted_stream_without_a_job_and_an_answer_of_dataflow(
    signals: Signals,
) -> None:
    verdict = assess(signals, LIMITS)
    active = signals.job is not None and signals.job.state.active
    allowed = signals.wanted and not active and "dataflow" not in signals.unreachable
    # A run of the start DAG may be launching one.
    starts = signals.starts
    waits = starts is not None and starts.unfinished > 0 and not starts.paused
    assert verdict.restart is allowed or (allowed and waits and not verdict.restart)
    assert not verdict.restart or verdict.status is Status.DOWN


@settings(max_examples=200, deadline=None)
@given(signals=any_signals)
def test_a_verdict_survives_json(signals: Signals) -> None:
    verdict = assess(signals, LIMITS)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


BAD: dict[str, Any] = {
    "lag": {"system_lag": Reading(1e6, NOW)},
    "watermark": {"watermark_age": Reading(1e6, NOW)},
    "backlog-age": {"backlog_age": Reading(1e6, NOW)},
    "backlog-size": {"backlog_size": Reading(1e6, NOW)},
    "failures": {"counts": Counts(100, 100), "earlier": ()},
    "error": {"errors": (ErrorMessage(NOW, "boom"),)},
    "canary": {"canary": canary(age_s=1e5)},
    "canary-before": {"previous": LOST_BEFORE},
    "no-answer-monitoring": {"unreachable": {"monitoring": "503"}},
    "no-answer-pubsub": {"unreachable": {"pubsub": "503"}},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@settings(max_examples=100, deadline=None)
@given(signals=any_signals)
def test_one_more_bad_signal_never_improves_the_verdict(
    bad: dict[str, Any], signals: Signals
) -> None:
    signals = with_(signals, at=NOW)
    if "unreachable" in bad:
        bad = {"unreachable": {**signals.unreachable, **bad["unreachable"]}}
    before, after = assess(signals, LIMITS), assess(with_(signals, **bad), LIMITS)
    assert after.status.severity >= before.status.severity
    assert after.restart is before.restart
