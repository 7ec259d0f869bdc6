"""Checks that take longer or cost more than others leave: only for those who name them.

And Airflow's command line on Composer, which the runbook uses.
"""

import json
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as api_exceptions

from beam_jobs.catalog import CATALOG
from beam_jobs.cli.publish import publish
from verification import dataflow
from verification.check import Check, DiffersError, Seen
from verification.deployment import Deployment
from verification.outcomes import Outcomes
from verification.visit import Visit

_START = "imagen_stream_start"
_JOB = "stream job"
_PROMPTS = 20
_COMMAND = {
    "command": "backfill",
    "subcommand": "create",
    "parameters": [
        *("--dag-id", "imagen_backfill", "--dry-run"),
        *("--from-date", "2026-01-01", "--to-date", "2026-01-02"),
    ],
}


def _cancel(visit: Visit) -> Seen:
    """Cancel the stream with prompts in flight, start it again, and count what comes back."""
    where, mark, old = visit.deployment, f"{visit.mark}-cancel", visit.known[_JOB]
    outcomes = Outcomes.of(visit)
    bodies = [f"A comet above a harbour ({mark} {n:02d})".encode() for n in range(_PROMPTS)]
    publish(where.topic(where.prompts_topic), bodies, {})
    # One is back, so others are in flight.
    visit.wait_for(lambda: outcomes.marked(mark))
    dataflow.cancel(visit, old)
    gone = visit.wait_for(lambda: dataflow.state_of(dataflow.get(visit, old)) == "CANCELLED")
    if not gone:
        raise DiffersError(f"job {old} is {dataflow.state_of(dataflow.get(visit, old))}")
    run = visit.airflow.trigger(_START, {"on_active": "keep"})
    if visit.airflow.wait(_START, run, until=visit.until) != "success":
        raise DiffersError(visit.airflow.failed(_START, run))
    visit.known[_JOB] = str(visit.airflow.returned(_START, run, "launch"))
    visit.wait_for(lambda: len(outcomes.marked(mark)) >= _PROMPTS)
    came = outcomes.marked(mark)
    usd = sum(each.get("cost_usd") or 0.0 for each in came)
    if len(came) != _PROMPTS:
        raise DiffersError(f"{len(came)} of {_PROMPTS} prompts came back", usd=usd)
    again = sum(bool(each.get("reused")) for each in came)
    return Seen(f"all {_PROMPTS} came back, {again} of them with images that were there", usd)


def _update_nothing(visit: Visit) -> Seen:
    """Launch an update of a job that there is not: what the service does, nobody knows."""
    where, name = visit.deployment, f"imagen-{visit.mark}"
    body = {
        "launchParameter": {
            "jobName": name,
            "containerSpecGcsPath": f"gs://{where.bucket}/templates/stream.json",
            "update": True,
            "parameters": {
                "messages_subscription": where.subscription(where.canary_subscription),
                "responses_topic": where.topic(where.predictions_topic),
                "dead_letter_topic": where.topic(where.dead_letters_topic),
                "images_output_location": f"gs://{where.bucket}/images",
            },
            "environment": {
                "serviceAccountEmail": where.worker_account,
                "machineType": where.worker_machine_type,
                "tempLocation": f"gs://{where.bucket}/temp",
                "stagingLocation": f"gs://{where.bucket}/staging",
                "maxWorkers": 1,
            },
        }
    }
    path = f"/v1b3/projects/{where.project}/locations/{where.region}/flexTemplates:launch"
    try:
        answer = visit.access.call("dataflow", "POST", path, json=body)
    except api_exceptions.GoogleAPICallError as error:
        return Seen(f"refused at once: HTTP {error.code}")
    job = str(answer["job"]["id"])
    visit.at_the_end(f"cancel job {job}", lambda: dataflow.cancel(visit, job))

    def settled() -> str:
        state = dataflow.state_of(dataflow.get(visit, job))
        return "" if state in ("QUEUED", "PENDING", "CANCELLING") else state

    state = visit.wait_for(settled) or dataflow.state_of(dataflow.get(visit, job))
    if state != "FAILED":
        raise DiffersError(f"job {job}, which updates nothing, is {state}")
    return Seen(f"job {job} FAILED")


def _airflow_command(visit: Visit) -> Seen:
    """Run `airflow backfill create --dry-run` as `gcloud composer environments run` does."""
    where = visit.deployment
    path = f"/v1/projects/{where.project}/locations/{where.region}/environments/{where.environment}"
    run = visit.access.call("composer", "POST", f"{path}:executeAirflowCommand", json=_COMMAND)
    asked = {name: run[name] for name in ("executionId", "pod", "podNamespace")}

    def ended() -> dict[str, Any]:
        answer = visit.access.call(
            "composer",
            "POST",
            f"{path}:pollAirflowCommand",
            json={**asked, "nextLineNumber": 1},
        )
        return answer if answer.get("outputEnd") else {}

    answer = visit.wait_for(ended)
    if not answer:
        raise DiffersError(f"the command {json.dumps(asked)} has not ended")
    lines = [str(line.get("content", "")) for line in answer.get("output", [])]
    exit_code = answer.get("exitInfo", {}).get("exitCode", 0)
    if exit_code:
        raise DiffersError(f"exit code {exit_code}: {' '.join(lines[-3:])}")
    return Seen(f"{len(lines)} lines, exit code 0")


def checks(deployment: Deployment) -> Iterator[Check]:
    """Yield them."""
    row = CATALOG.get(deployment.model)
    usd = 1.2 * ((row.usd_per_image(None) if row else None) or 0.25)
    yield Check(
        name="airflow command",
        believed="Airflow's command line can be used through Composer's API.",
        where="docs/runbook.md",
        expected="exit code 0 of `backfill create --dry-run`",
        ask=_airflow_command,
        limit_s=2 * 60.0,
    )
    yield Check(
        name="update nothing",
        believed="An update of a job that there is not ends in an error, and in no second stream.",
        where="plugins/imagen_ops/stream/launcher.py",
        expected="a refusal, or a job that FAILED",
        ask=_update_nothing,
        limit_s=12 * 60.0,
        by_name_only=True,
    )
    yield Check(
        name="cancel",
        believed="A cancelled stream loses no prompt: Pub/Sub delivers them to the next one.",
        where="dags/imagen_stream.py",
        expected=f"all {_PROMPTS} prompts back",
        ask=_cancel,
        needs=("stream start",),
        usd=_PROMPTS * usd,
        limit_s=15 * 60.0,
        by_name_only=True,
    )
