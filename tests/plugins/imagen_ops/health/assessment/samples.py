"""Signals to start a test from: those of a healthy stream, and their parts."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.signals import Canary, Counts, Previous, Signals
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Status
from imagen_ops.jobs.job import Job, JobState

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
LIMITS = Thresholds(backlog_size=1000)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def job(state: JobState = JobState.RUNNING, *, age_s: float = 86_400) -> Job:
    return Job("id-1", "imagen-stream", state, state_since=ago(age_s), created=ago(age_s))


def reading(value: float, *, age_s: float = 60) -> Reading:
    return Reading(value, ago(age_s))


def canary(*, age_s: float = 130, back_after_s: float | None = None) -> Canary:
    sent = ago(age_s)
    back = None if back_after_s is None else sent + timedelta(seconds=back_after_s)
    return Canary(sent, back)


LOST = canary(age_s=121)
LOST_BEFORE = Previous(Status.DEGRADED, canary_lost=True)
WELL = Signals(
    at=NOW,
    wanted=True,
    wanted_by="imagen_stream_start manual (ada)",
    job=job(),
    system_lag=reading(2),
    watermark_age=reading(4),
    backlog_age=reading(3),
    backlog_size=reading(12),
    counts=Counts(230, 2, {"BLOCKED": 2}),
    canary=canary(back_after_s=4),
    previous=Previous(Status.HEALTHY, canary_lost=False),
)


def with_(base: Signals = WELL, **changes: Any) -> Signals:
    return dataclasses.replace(base, **changes)
