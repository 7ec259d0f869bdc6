"""The stream: launched, listed, updated in place, and drained, through its DAGs."""

import json
import time
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as api_exceptions

from beam_jobs.catalog import CATALOG
from beam_jobs.cli.publish import publish
from verification import dataflow
from verification.check import Check, DiffersError, Seen
from verification.deployment import Deployment
from verification.metrics import newest_points
from verification.outcomes import Outcomes
from verification.visit import Visit

_START, _DRAIN = "imagen_stream_start", "imagen_stream_drain"
_JOB, _LISTED = "stream job", "stream listed"
_UNDELIVERED = "pubsub.googleapis.com/subscription/num_undelivered_messages"
# A listing that is later than this makes a start believe that there is no job.
_LISTED_WITHIN_S = 120.0


def _nothing_runs(visit: Visit) -> Seen:
    where = visit.deployment
    if jobs := dataflow.listed(visit, where.stream_job):
        raise DiffersError(
            f"job {jobs[0]['id']} is {dataflow.state_of(jobs[0])}: it works, and checks would "
            f"update and drain it; drain it first ({_DRAIN}), or choose other checks with --only"
        )
    labels = {"resource.labels.subscription_id": where.prompts_subscription}
    waiting = [value for _, value in newest_points(visit, _UNDELIVERED, labels)]
    if waiting and max(waiting) > 0:
        raise DiffersError(
            f"{max(waiting):.0f} prompts wait in {where.prompts_subscription}: a stream would make "
            "and pay for them"
        )
    return Seen(f"no job is called {where.stream_job}, and no prompt is known to wait")


def _start(visit: Visit) -> Seen:
    """Start it, and watch in which states a listing shows its job, and since when."""
    name = visit.deployment.stream_job
    run = visit.airflow.trigger(_START, {"on_active": "keep"})
    visit.at_the_end(f"drain the stream, with {_DRAIN}", lambda: _stop(visit))
    began = time.monotonic()
    launched: float | None = None
    listed: dict[str, float] = {}
    while (state := visit.airflow.state(_START, run)) not in ("success", "failed"):
        if launched is None and visit.airflow.tasks(_START, run).get("launch") == "success":
            launched = time.monotonic() - began
        for each in dataflow.listed(visit, name):
            listed.setdefault(dataflow.state_of(each), round(time.monotonic() - began, 1))
        if time.monotonic() > visit.until:
            tasks = visit.airflow.tasks(_START, run)
            raise DiffersError(f"the run {run} is still {state}: {json.dumps(tasks)}")
        time.sleep(min(visit.poll_s, 2.0))
    visit.known[_LISTED] = (launched, listed)
    if state != "success":
        raise DiffersError(visit.airflow.failed(_START, run))
    job = str(visit.airflow.returned(_START, run, "launch"))
    visit.known[_JOB] = job
    # The canary's task ends only when it is back.
    if (job_state := dataflow.state_of(dataflow.get(visit, job))) != "RUNNING":
        raise DiffersError(f"job {job} is {job_state} after its canary came back")
    return Seen(
        f"job {job} is RUNNING, and its canary came back, {time.monotonic() - began:.0f} s after "
        "the trigger",
        facts={"job": job, "launched_after_s": launched, "listed_after_s": listed},
    )


def _listing(visit: Visit) -> Seen:
    launched, listed = visit.known[_LISTED]
    text = ", ".join(f"{state} after {seconds:.0f} s" for state, seconds in listed.items())
    if not listed:
        raise DiffersError("no listing showed the job while it started")
    first = min(listed.values())
    if launched is not None and first - launched > _LISTED_WITHIN_S:
        raise DiffersError(f"listed {first - launched:.0f} s after the launch: {text}")
    queued = "while QUEUED too" if "QUEUED" in listed else "never seen QUEUED"
    return Seen(f"{text}; {queued}", facts={"listed_after_s": listed})


def _as_asked(visit: Visit) -> Seen:
    """Look what the launcher made of the launch's environment."""
    where = visit.deployment
    environment = dataflow.get(visit, visit.known[_JOB]).get("environment", {})
    options = environment.get("sdkPipelineOptions", {}).get("options", {})
    pools = environment.get("workerPools") or [{}]

    def found(option: str, pool_field: str) -> Any:
        value = options.get(option)
        return pools[0].get(pool_field) if value is None else value

    private = options.get("use_public_ips") is False or (
        pools[0].get("ipConfiguration") == "WORKER_IP_PRIVATE"
    )
    problems = []
    account = environment.get("serviceAccountEmail") or options.get("service_account_email")
    if account != where.worker_account:
        problems.append(f"it runs as {account}, not as {where.worker_account}")
    if (machine := found("machine_type", "machineType")) != where.worker_machine_type:
        problems.append(f"its machines are {machine}, not {where.worker_machine_type}")
    if not private:
        problems.append("its workers have public addresses")
    if not options.get("max_num_workers"):
        problems.append("it isn't told the maximum number of workers, by which it shares its quota")
    if problems:
        raise DiffersError("; ".join(problems))
    billing = [each for each in environment.get("serviceOptions", []) if "billing" in each]
    return Seen(
        f"as {account}, on {machine}, without public addresses, at most "
        f"{options['max_num_workers']} workers; billing: {', '.join(billing) or 'the default'}",
        facts={"experiments": environment.get("experiments"), "service_options": billing},
    )


def _update(visit: Visit) -> Seen:
    """Update it with prompts in flight: all of them must have an outcome."""
    old, mark = visit.known[_JOB], f"{visit.mark}-update"
    _publish(visit, mark, 2)
    run = visit.airflow.trigger(_START, {"on_active": "update"})
    if visit.airflow.wait(_START, run, until=visit.until) != "success":
        raise DiffersError(visit.airflow.failed(_START, run))
    new = str(visit.airflow.returned(_START, run, "launch"))
    visit.known[_JOB] = new
    ended = visit.wait_for(
        lambda: (state := dataflow.state_of(dataflow.get(visit, old))) == "UPDATED" and state
    )
    if new == old or not ended:
        state = dataflow.state_of(dataflow.get(visit, old))
        raise DiffersError(f"the job was {old}, which is {state}, and is {new}")
    seconds, usd = _all_came_back(visit, mark, 2)
    return Seen(f"{new} took over from {old}; both prompts came back after {seconds:.0f} s", usd)


def _drain(visit: Visit) -> Seen:
    """Drain it with prompts in flight: each has an outcome, or still waits."""
    mark, job = f"{visit.mark}-drain", visit.known[_JOB]
    _publish(visit, mark, 3)
    run = visit.airflow.trigger(_DRAIN, {})
    if visit.airflow.wait(_DRAIN, run, until=visit.until) != "success":
        raise DiffersError(visit.airflow.failed(_DRAIN, run))
    state = dataflow.state_of(dataflow.get(visit, job))
    if state != "DRAINED":
        raise DiffersError(f"job {job} is {state}")
    outcomes, taken_back = Outcomes.of(visit), 0

    def all_there() -> bool:
        nonlocal taken_back
        taken_back += _take_back(visit, mark)
        return len(outcomes.marked(mark)) + taken_back >= 3

    visit.wait_for(all_there)
    came = outcomes.marked(mark)
    if len(came) + taken_back < 3:
        raise DiffersError(f"of 3 prompts, {len(came)} came back, and {taken_back} waited")
    usd = sum(each.get("cost_usd") or 0.0 for each in came)
    return Seen(f"DRAINED; of 3 prompts, {len(came)} came back, and {taken_back} waited", usd)


def _stop(visit: Visit) -> None:
    """End the stream if it is still there, and wait for that."""
    if not dataflow.listed(visit, visit.deployment.stream_job):
        return
    run = visit.airflow.trigger(_DRAIN, {"cancel_after_minutes": 5})
    if visit.airflow.wait(_DRAIN, run, until=visit.until) != "success":
        raise DiffersError(visit.airflow.failed(_DRAIN, run))


def _publish(visit: Visit, mark: str, count: int) -> None:
    Outcomes.of(visit)
    bodies = [f"A lighthouse at dusk ({mark} {number})".encode() for number in range(count)]
    publish(visit.deployment.topic(visit.deployment.prompts_topic), bodies, {})


def _all_came_back(visit: Visit, mark: str, count: int) -> tuple[float, float]:
    began = time.monotonic()
    outcomes = Outcomes.of(visit)
    found = visit.wait_for(lambda: len(came := outcomes.marked(mark)) >= count and came)
    if not found:
        raise DiffersError(f"{len(outcomes.marked(mark))} of {count} prompts came back")
    if failed := [each for each in found if "reason" in each]:
        raise DiffersError(f"{failed[0]['reason']}: {failed[0]['detail']}")
    return time.monotonic() - began, sum(each.get("cost_usd") or 0.0 for each in found)


def _take_back(visit: Visit, mark: str) -> int:
    """Take the prompts that still wait, so that no later stream pays for them; return how many.

    Others that are pulled with them go back at once.
    """
    where, client = visit.deployment, visit.access.subscriber()
    name = where.subscription(where.prompts_subscription)
    try:
        answer = client.pull(subscription=name, max_messages=100, timeout=visit.pull_s, retry=None)
    except api_exceptions.DeadlineExceeded:
        return 0
    ours: list[str] = []
    others: list[str] = []
    for each in answer.received_messages:
        (ours if mark.encode() in each.message.data else others).append(each.ack_id)
    if ours:
        client.acknowledge(subscription=name, ack_ids=ours)
    if others:
        client.modify_ack_deadline(subscription=name, ack_ids=others, ack_deadline_seconds=0)
    return len(ours)


def pre_check() -> Check:
    """Return the one before all others, which may leave messages if they are not refused."""
    return Check(
        name="nothing runs",
        believed="A new deployment has no stream, and no prompt waits.",
        where="dags/imagen_stream.py",
        expected="no active job, and an empty subscription",
        ask=_nothing_runs,
    )


def first_checks() -> Iterator[Check]:
    """Yield those with which the stream starts."""
    yield Check(
        name="stream start",
        believed="The DAG launches the flex template; the job runs; a canary comes back.",
        where="dags/imagen_stream.py",
        expected="a run that succeeds, and a job that is RUNNING",
        ask=_start,
        needs=("dags", "nothing runs"),
        limit_s=14 * 60.0,
    )
    yield Check(
        name="jobs listed",
        believed="Dataflow lists a job soon after its launch, while it is QUEUED too.",
        where="plugins/imagen_ops/google/dataflow.py",
        expected=f"listed within {_LISTED_WITHIN_S:.0f} s of the launch",
        ask=_listing,
        needs=("stream start",),
    )
    yield Check(
        name="launched as asked",
        believed="The launcher passes on account, machines, addresses, and the number of workers.",
        where="plugins/imagen_ops/jobs/launch_request.py",
        expected="what the launch asked for, in the job's environment",
        ask=_as_asked,
        needs=("stream start",),
    )


def last_checks(deployment: Deployment) -> Iterator[Check]:
    """Yield those after which it has ended."""
    row = CATALOG.get(deployment.model)
    usd = 1.2 * ((row.usd_per_image(None) if row else None) or 0.25)
    yield Check(
        name="update in place",
        believed="A launch with `update` replaces the job, and no prompt in flight is lost.",
        where="dags/imagen_stream.py",
        expected="the old job UPDATED, the new one RUNNING, and both prompts back",
        ask=_update,
        needs=("stream start", "prompts"),
        usd=2 * usd,
        limit_s=8 * 60.0,
    )
    yield Check(
        name="drain",
        believed="A drain finishes what it has taken, and loses nothing.",
        where="dags/imagen_stream.py",
        expected="DRAINED, and each prompt back or still waiting",
        ask=_drain,
        needs=("stream start",),
        usd=3 * usd,
        limit_s=6 * 60.0,
    )
