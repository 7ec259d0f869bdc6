"""Collects the signals of a health check from Dataflow, Cloud Monitoring and the canary.

A source whose calls fail is a signal too: it is named, and the other sources are still read.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from beam_jobs.catalog import FLEX_CALL_TIMEOUT_S, Tier
from imagen_ops.errors import ApiError
from imagen_ops.google.clients import Clients
from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.failures import window
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
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Verdict
from imagen_ops.health.counting import Counted, counts_of, growth
from imagen_ops.health.holds import read_holds
from imagen_ops.records.actions import job_facts
from imagen_ops.settings import Settings, SettingsError
from imagen_ops.stream.wanted import WantedState

SCHEMA = "imagen.health/1"
# How far back the first health check reads error messages.
_FIRST_PERIOD = timedelta(minutes=15)

# The limits that the time of one call is part of.
_LONGER_IN_FLEX = (
    "system_lag_s",
    "watermark_age_s",
    "backlog_age_degraded_s",
    "backlog_age_down_s",
)

# By reading: the limit from which on the verdict is not HEALTHY.
_LIMITS = {
    "system_lag": "system_lag_s",
    "watermark_age": "watermark_age_s",
    "backlog_age": "backlog_age_degraded_s",
    "backlog_size": "backlog_size",
    "canary": "canary_s",
}

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class CollectedSignals:
    """The signals of one health check, and the counters that its counts come from.

    Attributes:
        signals: what the decision is based on.
        counted: the counters of a job since it started. The next health check subtracts them from
            its own.
        periods: what was done up to this check, as far as it may count in the next one.
        grown: how much each counter has grown since the last health check, over all jobs; None if
            that is not known.
        dead_letters: how many messages wait in their subscription.
    """

    signals: Signals
    counted: Counted
    periods: tuple[Period, ...] = ()
    grown: Mapping[str, int] | None = None
    dead_letters: Reading | None = None


def thresholds_of(settings: Settings, form: Mapping[str, Any] | None = None) -> Thresholds:
    """Return the limits: the defaults, except those that the settings override.

    Args:
        settings: of the deployment.
        form: of the stream's last start. In flex, a call may take half an hour, so prompts may be
            that much older, whatever the settings say.

    Raises:
        SettingsError: the settings make an invalid or contradictory limit.
    """
    max_age = settings.max_backlog_age_seconds
    overrides: dict[str, Any] = {
        "system_lag_s": settings.max_system_lag_seconds,
        "watermark_age_s": settings.max_watermark_age_seconds,
        "backlog_age_degraded_s": max_age,
        "backlog_age_down_s": max(max_age, Thresholds.backlog_age_down_s) if max_age else None,
        "backlog_size": settings.max_backlog_size,
        "failure_ratio_degraded": settings.max_failure_ratio,
        "canary_s": settings.canary_seconds,
        "startup_grace_s": settings.startup_seconds,
    }
    try:
        limits = Thresholds(
            **{name: value for name, value in overrides.items() if value is not None}
        )
        if (form or {}).get("request_tier") != Tier.FLEX:
            return limits
        return dataclasses.replace(
            limits,
            **{name: getattr(limits, name) + FLEX_CALL_TIMEOUT_S for name in _LONGER_IN_FLEX},
        )
    except ValueError as error:
        raise SettingsError(
            f"{error}\nThe settings IMAGEN_MAX_…, IMAGEN_CANARY_SECONDS and IMAGEN_STARTUP_SECONDS "
            "change these limits. Correct them, or leave them unset for the defaults."
        ) from error


def collect_signals(
    settings: Settings,
    clients: Clients,
    *,
    at: datetime,
    wanted_state: WantedState,
    canary: Mapping[str, Any] | None,
    previous: Mapping[str, Any] | None,
    starts: Starts | None = None,
) -> CollectedSignals:
    """Collect the signals of one health check.

    Args:
        settings: the settings of the deployment.
        clients: the clients of Google's APIs.
        at: the current time, with a zone.
        wanted_state: whether the stream should run.
        canary: what `CanarySensor` returned.
        previous: the record of the last health check (`health_record`), or None.
        starts: the start DAG's unfinished runs; None if unknown.
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
    last_check = PreviousCheck.of(previous)
    name = settings.stream_job_name
    job = ask(Source.DATAFLOW, lambda: clients.dataflow.active(name))
    last_job = None if job else ask(Source.DATAFLOW, lambda: clients.dataflow.last_ended(name))
    counted = last_check.counted
    grown: Mapping[str, int] | None = None
    if Source.DATAFLOW.value not in unreachable:

        def read(job_id: str) -> Mapping[str, int] | None:
            if job and job_id == job.id:
                return ask(Source.DATAFLOW, lambda: clients.dataflow.counters(job_id))
            with contextlib.suppress(ApiError):  # of a job that has ended, they may be gone
                return clients.dataflow.counters(job_id)
            return None

        grown, counted = growth(counted, job.id if job else "", read)
    counts = None if grown is None else counts_of(grown)
    errors: list[ErrorMessage] = []
    if newest_job := job or last_job:  # the last errors of a job that died say why
        since = last_check.at or at - _FIRST_PERIOD
        newest_id = newest_job.id
        messages = ask(Source.DATAFLOW, lambda: clients.dataflow.errors(newest_id, since=since))
        errors = [ErrorMessage(message.at, message.text) for message in messages or ()]

    def newest(metric: str, **labels: str) -> Reading | None:
        if Source.MONITORING.value in unreachable:
            return None  # one failure is enough, and each costs its retries
        return ask(Source.MONITORING, lambda: clients.monitoring.newest(metric, at=at, **labels))

    job_labels = {"metric__job_id": job.id} if job else {"resource__job_name": name}
    backlog_labels = {"resource__subscription_id": settings.prompts_subscription}
    signals = Signals(
        at=at,
        wanted=wanted_state.wanted,
        wanted_by=wanted_state.by,
        wanted_since=wanted_state.at,
        job=job,
        last_job=last_job,
        system_lag=newest("dataflow.googleapis.com/job/system_lag", **job_labels) if job else None,
        watermark_age=newest("dataflow.googleapis.com/job/data_watermark_age", **job_labels)
        if job
        else None,
        backlog_age=newest(
            "pubsub.googleapis.com/subscription/oldest_unacked_message_age", **backlog_labels
        ),
        backlog_size=newest(
            "pubsub.googleapis.com/subscription/num_undelivered_messages", **backlog_labels
        ),
        counts=counts,
        earlier=last_check.periods,
        errors=tuple(errors),
        canary=_canary(canary),
        unreachable=unreachable,
        previous=last_check.previous,
        starts=starts,
        model=str((wanted_state.form or {}).get("model") or settings.model),
        holds=ask(Source.STORAGE, lambda: read_holds(clients.storage, settings.bucket, at=at))
        or (),
    )
    periods = (*last_check.periods, *([Period(at, counts)] if counts else ()))
    return CollectedSignals(
        signals,
        counted,
        window(periods, at, thresholds_of(settings)),
        # Without an earlier check, a job's counters are from any time before.
        grown if last_check.at else None,
        newest(
            "pubsub.googleapis.com/subscription/num_undelivered_messages",
            resource__subscription_id=settings.dead_letters_subscription,
        ),
    )


def health_record(
    run_id: str,
    collected: CollectedSignals,
    verdict: Verdict,
    *,
    limits: Thresholds | None = None,
    form: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a health check: for the next one, for plots and for queries.

    Args:
        run_id: of the health check.
        collected: what it found.
        verdict: what it decided.
        limits: that it decided by.
        form: the form of the stream's last start; None if it was never started.
    """
    signals, counted = collected.signals, collected.counted
    counts_of_job = signals.job is not None and signals.job.id == counted.job_id
    canary, since = signals.canary, signals.wanted_since
    returned = canary.returned_at if canary else None
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "at": signals.at.isoformat(),
        "wanted": signals.wanted,
        "wanted_by": signals.wanted_by,
        # The epoch means that nobody has started it yet.
        "wanted_since": since.isoformat() if since and since.year > 1970 else None,
        "form": None if form is None else dict(form),
        "verdict": verdict.to_json(),
        "job": signals.job and job_facts(signals.job),
        "last_job": signals.last_job and job_facts(signals.last_job),
        "totals": dict(counted.totals) if counts_of_job else {},
        # Of a job that is not active, or not known to be: the next counts go on from there.
        "counted": None
        if counts_of_job
        else {"job_id": counted.job_id, "totals": dict(counted.totals)},
        "periods": [
            {"at": period.at.isoformat(), **dataclasses.asdict(period.counts)}
            for period in collected.periods
        ],
        "limits": limits and {name: getattr(limits, limit) for name, limit in _LIMITS.items()},
        **({} if collected.grown is None else {"grown": dict(collected.grown)}),
        "readings": {
            name: reading.value
            for name in ("system_lag", "watermark_age", "backlog_age", "backlog_size")
            if (reading := getattr(signals, name))
        }
        | ({"dead_letters": collected.dead_letters.value} if collected.dead_letters else {}),
        "canary_seconds": (returned - canary.sent_at).total_seconds()
        if canary and returned
        else None,
    }


@dataclasses.dataclass(frozen=True)
class PreviousCheck:
    """What the record of the last health check says. Empty if there is none or it is unreadable.

    Attributes:
        at: when the health check was made.
        previous: its verdict, as far as the next one needs it.
        counted: the counters that it has read last.
        periods: what was done up to it, as far as that may still count.
    """

    at: datetime | None = None
    previous: Previous | None = None
    counted: Counted = dataclasses.field(default_factory=Counted)
    periods: tuple[Period, ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "PreviousCheck":
        """Read a record that `health_record` returned, or that an earlier version wrote."""
        try:
            if record is None:
                return cls()
            counted = record.get("counted") or {
                "job_id": (record["job"] or {}).get("id", ""),
                "totals": record["totals"],
            }
            return cls(
                at=datetime.fromisoformat(record["at"]),
                previous=Previous.of(Verdict.from_json(record["verdict"])),
                counted=Counted(str(counted["job_id"]), dict(counted["totals"])),
                periods=tuple(
                    Period(
                        datetime.fromisoformat(period["at"]),
                        Counts(
                            int(period["prompts"]),
                            int(period["failures"]),
                            {str(name): int(n) for name, n in period["by_reason"].items()},
                        ),
                    )
                    for period in record.get("periods", ())
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls()


def _canary(result: Mapping[str, Any] | None) -> Canary | None:
    if not result or "sent_at" not in result:
        return None
    returned = result.get("returned_at")
    return Canary(
        datetime.fromisoformat(result["sent_at"]),
        datetime.fromisoformat(returned) if returned else None,
    )
