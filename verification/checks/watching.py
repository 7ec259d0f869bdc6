"""Metrics and how late they are, alert policies, and the lines that raise alerts."""

import functools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from verification.check import Check, DiffersError, Seen
from verification.metrics import newest_points
from verification.visit import Visit

_LAG = "dataflow.googleapis.com/job/system_lag"
_WATERMARK = "dataflow.googleapis.com/job/data_watermark_age"
_UNDELIVERED = "pubsub.googleapis.com/subscription/num_undelivered_messages"
_OLDEST = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
# What the health check believes: a point a minute, at most four minutes late.
_LATE_S = 300.0
# The beginning of what policies look for in lines: `imagen_ops.alerts.alert`.
_LINE = "imagen.alert/1:"
# What must be in a condition of some policy that is on.
_WATCHED = (
    "dataflow.googleapis.com/job/is_failed",
    _LAG,
    _WATERMARK,
    _OLDEST,
    "composer.googleapis.com/workflow/run_count",
    "topic_message_sizes_count",
    f"{_LINE}stream_crash_loop",
    f"{_LINE}backfill_unaccounted",
    f"{_LINE}backfill_approval",
    f"{_LINE}run_late",
)
_BACKFILL = "imagen_backfill"
_FAILED_RUN = "failed run"


def _metrics(visit: Visit) -> Seen:
    """Wait for each metric, and look how old its newest point is."""
    where = visit.deployment
    of_job = {"resource.labels.job_name": where.stream_job}
    of_prompts = {"resource.labels.subscription_id": where.prompts_subscription}
    wanted = {_LAG: of_job, _WATERMARK: of_job, _UNDELIVERED: of_prompts, _OLDEST: of_prompts}
    began, ages, waited = time.monotonic(), {}, {}
    for metric, labels in wanted.items():
        points = visit.wait_for(functools.partial(newest_points, visit, metric, labels))
        if not points:
            raise DiffersError(
                f"{metric} has no point within {time.monotonic() - began:.0f} s of the look"
            )
        ages[metric] = (datetime.now(UTC) - max(points)[0]).total_seconds()
        waited[metric] = round(time.monotonic() - began, 1)
    if late := {metric: age for metric, age in ages.items() if age > _LATE_S}:
        raise DiffersError(f"older than {_LATE_S:.0f} s: {json.dumps(late)}")
    return Seen(
        f"{len(wanted)} metrics; the newest points are {min(ages.values()):.0f} to "
        f"{max(ages.values()):.0f} s old",
        facts={"age_s": {metric: round(age) for metric, age in ages.items()}, "waited_s": waited},
    )


def _policies(visit: Visit) -> Seen:
    path = f"/v3/projects/{visit.deployment.project}/alertPolicies"
    found = visit.access.call("monitoring", "GET", path, params={"pageSize": 500})
    policies: list[dict[str, Any]] = found.get("alertPolicies", [])
    on = [policy for policy in policies if policy.get("enabled", True) is not False]
    # As the API writes them, quotes in filters are escaped; these words have none.
    conditions = [json.dumps(policy.get("conditions", [])) for policy in on]
    if missing := [each for each in _WATCHED if not any(each in text for text in conditions)]:
        # Whatever is shown must not look like an alert.
        names = ", ".join(each.removeprefix(_LINE) for each in missing)
        raise DiffersError(f"no policy that is on watches {names}")
    told = {channel for policy in on for channel in policy.get("notificationChannels", [])}
    return Seen(
        f"{len(on)} policies are on; they tell {len(told)} channels"
        + ("" if told else ": nobody gets a mail, see the variable notification_emails"),
        facts={"policies": [policy.get("displayName") for policy in on]},
    )


def _fail_a_run(visit: Visit) -> None:
    """Fill in a form of the backfill that its first task refuses. Nothing is paid."""
    form = {
        "day": datetime.now(UTC).date().isoformat(),
        "prompts": f"gs://{visit.deployment.bucket}/prompts/{visit.mark}/none/*",
    }
    visit.known[_FAILED_RUN] = (visit.airflow.trigger(_BACKFILL, form), datetime.now(UTC))


def _run_fails(visit: Visit) -> Seen:
    run, _ = visit.known[_FAILED_RUN]
    state = visit.airflow.wait(_BACKFILL, run, until=visit.until)
    if state != "failed":
        raise DiffersError(f"the run {run} ended as {state}")
    return Seen(f"{visit.airflow.failed(_BACKFILL, run)}, as it should")


def _line(visit: Visit) -> Seen:
    """Look for the line that the failed run wrote, where alert policies look."""
    run, at = visit.known[_FAILED_RUN]
    wanted = (
        'resource.type = "cloud_composer_environment" AND '
        f'resource.labels.environment_name = "{visit.deployment.environment}" AND '
        f'"{_LINE}run_failed" AND timestamp >= "{at.isoformat()}"'
    )
    body = {
        "resourceNames": [f"projects/{visit.deployment.project}"],
        "filter": wanted,
        "pageSize": 10,
    }

    def look() -> list[dict[str, Any]]:
        answer = visit.access.call("logging", "POST", "/v2/entries:list", json=body)
        return [each for each in answer.get("entries", []) if run in json.dumps(each)]

    entries = visit.wait_for(look)
    if not entries:
        raise DiffersError(
            f"no line says that {run} failed; without the option logging-dag_processor_log_target, "
            "lines of callbacks are in no log"
        )
    written = datetime.fromisoformat(entries[0]["timestamp"])
    return Seen(f"{entries[0].get('logName')}, {(written - at).total_seconds():.0f} s later")


def _run_count(visit: Visit) -> Seen:
    metric, labels = "composer.googleapis.com/workflow/run_count", {"metric.labels.state": "failed"}
    points = visit.wait_for(lambda: newest_points(visit, metric, labels))
    if not points:
        raise DiffersError("no failed run is counted, so the alert 'a DAG run failed' never fires")
    return Seen(f"{len(points)} series of failed runs; the alert's mail is the test notification")


def checks() -> Iterator[Check]:
    """Yield them."""
    yield Check(
        name="metrics",
        believed="Metrics of jobs and subscriptions are there, and at most some minutes late.",
        where="plugins/imagen_ops/health/assessment/thresholds.py",
        expected=f"a point of each, at most {_LATE_S:.0f} s old",
        ask=_metrics,
        needs=("stream start",),
        limit_s=6 * 60.0,
    )
    yield Check(
        name="alert policies",
        believed="Cloud Monitoring took all alert policies, PromQL and log filters among them.",
        where="composer.tf",
        expected=f"policies that are on, for {len(_WATCHED)} conditions",
        ask=_policies,
    )
    yield Check(
        name="run fails",
        believed="A form that contradicts itself fails its run, before anything is paid.",
        where="dags/imagen_backfill.py",
        expected="a failed run",
        begin=_fail_a_run,
        ask=_run_fails,
        limit_s=3 * 60.0,
    )
    yield Check(
        name="alert line",
        believed="The line of a failed run is in Cloud Logging, where policies look for lines.",
        where="plugins/imagen_ops/alerts/alert.py",
        expected="a line that names the run",
        ask=_line,
        needs=("run fails",),
        limit_s=4 * 60.0,
    )
    yield Check(
        name="failed runs counted",
        believed="Composer counts failed runs under Airflow 3, which an alert watches.",
        where="composer.tf",
        expected="a point of run_count with the state failed",
        ask=_run_count,
        needs=("run fails",),
        limit_s=5 * 60.0,
    )
