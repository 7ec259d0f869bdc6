"""The signals that health is decided on, collected from Dataflow, Monitoring and the canary.

A source that cannot be asked is a signal too: it is named, and the others are read all the same.
"""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from imagen_ops.errors import ApiError
from imagen_ops.google.clients import Clients
from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.signals import (
    Canary,
    Counts,
    ErrorMessage,
    Previous,
    Signals,
    Source,
)
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Verdict
from imagen_ops.settings import Settings, SettingsError
from imagen_ops.stream.wanted import WantedState

SCHEMA = "imagen.health/1"
# How far back error messages are read when there is no earlier look.
_FIRST_LOOK = timedelta(minutes=15)

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class CollectedSignals:
    """Signals, and the job's counters so far, which the next look subtracts from its own."""

    signals: Signals
    totals: Mapping[str, int]


def thresholds_of(settings: Settings) -> Thresholds:
    """Return the limits: health's own, but for those that the settings change.

    Raises:
        SettingsError: they contradict each other.
    """
    oldest = settings.max_backlog_age_seconds
    given: dict[str, Any] = {
        "system_lag_s": settings.max_system_lag_seconds,
        "watermark_age_s": settings.max_watermark_age_seconds,
        "backlog_age_degraded_s": oldest,
        "backlog_age_down_s": max(oldest, Thresholds.backlog_age_down_s) if oldest else None,
        "backlog_size": settings.max_backlog_size,
        "failure_ratio_degraded": settings.max_failure_ratio,
        "canary_s": settings.canary_seconds,
        "startup_grace_s": settings.startup_seconds,
    }
    try:
        return Thresholds(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise SettingsError(str(error)) from error


def collect_signals(
    settings: Settings,
    clients: Clients,
    *,
    at: datetime,
    wanted_state: WantedState,
    canary: Mapping[str, Any] | None,
    previous: Mapping[str, Any] | None,
) -> CollectedSignals:
    """Take one look.

    Args:
        settings: the deployment's.
        clients: to ask with.
        at: now; aware.
        wanted_state: whether the stream should run.
        canary: what `CanarySensor` returned.
        previous: the record that the last look left, or None.
    """
    unreachable: dict[str, str] = {}

    def ask(source: Source, question: Callable[[], _T]) -> _T | None:
        try:
            return question()
        except ApiError as error:
            unreachable[source.value] = str(error)
            return None

    if canary and "error" in canary:
        unreachable[Source.PUBSUB.value] = str(canary["error"])
    before = PreviousCheck.of(previous)
    name = settings.stream_job_name
    job = ask(Source.DATAFLOW, lambda: clients.dataflow.active(name))
    last_job = None if job else ask(Source.DATAFLOW, lambda: clients.dataflow.last_ended(name))
    totals: Mapping[str, int] = before.totals_of(job.id) if job else {}
    counts: Counts | None = None
    if job:
        job_id = job.id
        now = ask(Source.DATAFLOW, lambda: clients.dataflow.counters(job_id))
        if now is not None:
            counts, totals = _counts(totals, now), now
    errors: list[ErrorMessage] = []
    if about := job or last_job:  # of a job that has died, the last words
        since = before.at or at - _FIRST_LOOK
        about_id = about.id
        said = ask(Source.DATAFLOW, lambda: clients.dataflow.errors(about_id, since=since))
        errors = [ErrorMessage(message.at, message.text) for message in said or ()]

    def newest(metric: str, **labels: str) -> Reading | None:
        if Source.MONITORING.value in unreachable:
            return None  # one refusal is enough, and each costs its retries
        return ask(Source.MONITORING, lambda: clients.monitoring.newest(metric, at=at, **labels))

    of_job = {"metric__job_id": job.id} if job else {"resource__job_name": name}
    of_backlog = {"resource__subscription_id": settings.prompts_subscription}
    signals = Signals(
        at=at,
        wanted=wanted_state.wanted,
        wanted_by=wanted_state.by,
        wanted_since=wanted_state.at,
        job=job,
        last_job=last_job,
        system_lag=newest("dataflow.googleapis.com/job/system_lag", **of_job) if job else None,
        watermark_age=newest("dataflow.googleapis.com/job/data_watermark_age", **of_job)
        if job
        else None,
        backlog_age=newest(
            "pubsub.googleapis.com/subscription/oldest_unacked_message_age", **of_backlog
        ),
        backlog_size=newest(
            "pubsub.googleapis.com/subscription/num_undelivered_messages", **of_backlog
        ),
        counts=counts,
        errors=tuple(errors),
        canary=_canary(canary),
        unreachable=unreachable,
        previous=before.previous,
    )
    return CollectedSignals(signals, totals)


def health_record(run_id: str, collected: CollectedSignals, verdict: Verdict) -> dict[str, Any]:
    """Return what is kept of a look: for the next one, for plots, for queries."""
    signals = collected.signals
    canary = signals.canary
    returned = canary.returned_at if canary else None
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "at": signals.at.isoformat(),
        "wanted": signals.wanted,
        "verdict": verdict.to_json(),
        "job": {"id": signals.job.id, "state": signals.job.state.value} if signals.job else None,
        "totals": dict(collected.totals),
        "readings": {
            name: reading.value
            for name in ("system_lag", "watermark_age", "backlog_age", "backlog_size")
            if (reading := getattr(signals, name))
        },
        "canary_seconds": (returned - canary.sent_at).total_seconds()
        if canary and returned
        else None,
    }


@dataclasses.dataclass(frozen=True)
class PreviousCheck:
    """What the last look left; all empty if there was none, or its record cannot be read."""

    at: datetime | None = None
    previous: Previous | None = None
    job_id: str = ""
    totals: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "PreviousCheck":
        """Read a record that `health_record` has made."""
        try:
            if record is None:
                return cls()
            return cls(
                at=datetime.fromisoformat(record["at"]),
                previous=Previous.of(Verdict.from_json(record["verdict"])),
                job_id=(record["job"] or {}).get("id", ""),
                totals=dict(record["totals"]),
            )
        except (KeyError, TypeError, ValueError):
            return cls()

    def totals_of(self, job_id: str) -> Mapping[str, int]:
        """Return the counters of that job at the last look."""
        return self.totals if job_id == self.job_id else {}


def _counts(before: Mapping[str, int], now: Mapping[str, int]) -> Counts:
    """Return what came to pass since; a counter that went back has begun anew."""
    since = {
        name: value - before.get(name, 0) if value >= before.get(name, 0) else value
        for name, value in now.items()
    }
    failures = since.get("failures", 0)
    reasons = {
        name.removeprefix("failures_"): value
        for name, value in since.items()
        if name.startswith("failures_") and value
    }
    return Counts(since.get("predictions", 0) + failures, failures, reasons)


def _canary(result: Mapping[str, Any] | None) -> Canary | None:
    if not result or "sent_at" not in result:
        return None
    returned = result.get("returned_at")
    return Canary(
        datetime.fromisoformat(result["sent_at"]),
        datetime.fromisoformat(returned) if returned else None,
    )
