"""The streaming job, operated: start it, look after it, drain it."""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from imagen_ops.dag.defaults import DAG_DEFAULTS, TAG
from imagen_ops.health.canary import CanarySensor, SendCanary, SendHealthCanary
from imagen_ops.health.operators import AssessStream, FailWhenDown, RestartStream
from imagen_ops.jobs.params import JOB_FIELDS
from imagen_ops.settings import DEFAULT_HEALTH_SCHEDULE
from imagen_ops.stream.operators import CancelStream, DrainStream, LaunchStream, ReportDrained
from imagen_ops.stream.prerequisites import CheckPrerequisites
from imagen_ops.stream.sensors import JobEndedSensor, JobRunningSensor, MakeWaySensor

START = "imagen_stream_start"

# Each of them is about the one stream there is: two at a time would only get in each other's way.
_ONE_STREAM: dict[str, Any] = {**DAG_DEFAULTS, "max_active_runs": 1}

_START_FORM = {
    "on_active": Param(
        "keep",
        type="string",
        enum=["keep", "update", "replace"],
        title="If a stream is active already",
        description_md=(
            "**keep** it as it is, with what it was started with. **update** it in place: a new "
            "job takes over its state; for a changed template or changed options. **replace** it: "
            "drain it, then start anew; the safe choice when an update is refused. Prompts wait "
            "meanwhile."
        ),
    ),
    **JOB_FIELDS,
}

with DAG(
    START,
    schedule=None,
    description="Start the stream, or change the one that runs",
    tags=[TAG, "stream"],
    dagrun_timeout=timedelta(hours=14),
    params=_START_FORM,
    doc_md="""
### Start the stream

Brings up the Dataflow job that turns prompts from the topic `prompts` into images, and shows with a
canary that it works. The stream is then *wanted*: `imagen_stream_health` starts it again should it
die, with what this form says, until `imagen_stream_drain` ends it.

**When not to use it.** To change nothing, do nothing: health restarts a stream that died. For files
of prompts there is the backfill.

| task | what it does | if it fails |
|---|---|---|
| `check_prerequisites` | form, topics, subscriptions, bucket, template | lists what is missing |
| `make_way` | waits until the job's name is free; **replace**: drains | the old job does not end |
| `launch` | launches, updates or keeps | its message says what Dataflow refused |
| `wait_until_running` | minutes: Dataflow starts its workers | shows what the job said |
| `send_canary`, `wait_for_canary` | a message through the stream, unpaid | look at the job's logs |

Clearing a task, marking it failed or running this DAG twice never starts a second job, and never
stops one. Links on the tasks lead to the job, its logs and its metrics.
""",
    **_ONE_STREAM,
):
    check = CheckPrerequisites(task_id="check_prerequisites")
    # A drain ends when its slowest prompt does; 12 hours is for a model that is down.
    make_way = MakeWaySensor(task_id="make_way", timeout=timedelta(hours=12))
    launch = LaunchStream(task_id="launch")
    # Launcher and workers take 5 to 10 minutes to come up.
    running = JobRunningSensor(
        task_id="wait_until_running", job_id=launch.output, timeout=timedelta(minutes=45)
    )
    send_canary = SendCanary(task_id="send_canary")
    canary = CanarySensor(
        task_id="wait_for_canary",
        canary=send_canary.output,
        required=True,
        timeout=timedelta(hours=1),
    )
    check >> make_way >> launch >> running >> send_canary >> canary


with DAG(
    "imagen_stream_health",
    schedule=os.environ.get("IMAGEN_HEALTH_SCHEDULE") or DEFAULT_HEALTH_SCHEDULE,
    description="Decide how the stream is, restart it if it died, fail if it is down",
    tags=[TAG, "stream"],
    dagrun_timeout=timedelta(minutes=30),
    doc_md="""
### Health of the stream

Every five minutes: gathers signals, decides, keeps a record under `records/health` in the bucket,
and writes an alert line when the verdict is another than before. **A red run means DOWN**, and its
error says why.

| verdict | meaning |
|---|---|
| HEALTHY | it runs and keeps up; or it was drained on purpose |
| DEGRADED | something is wrong: lag, backlog, failures, errors, a source that does not answer |
| DOWN | it should run and does not, or nothing gets through |

`send_canary` and `wait_for_canary` probe the way through the stream, unpaid; `assess` decides;
`restart` starts a stream that should run and has no job, as it was started last: at most
`IMAGEN_RESTARTS_PER_HOUR` times an hour. Beyond that it says so and leaves it to you. What somebody
drained stays drained. `conclude` is red when the stream is down.

**By hand** it does no harm: trigger it to know now. Pause it while you work on the job outside of
these DAGs.
""",
    **_ONE_STREAM,
):
    probe = SendHealthCanary(task_id="send_canary")
    returned = CanarySensor(
        task_id="wait_for_canary",
        canary=probe.output,
        required=False,
        timeout=timedelta(minutes=15),
    )
    # Whatever became of the canary: a verdict is due.
    assess = AssessStream(task_id="assess", canary=returned.output, trigger_rule="all_done")
    restart = RestartStream(task_id="restart", verdict=assess.output, start_dag_id=START)
    conclude = FailWhenDown(
        task_id="conclude", verdict=assess.output, trigger_rule="all_done", retries=0
    )
    probe >> returned >> assess >> restart >> conclude


with DAG(
    "imagen_stream_drain",
    schedule=None,
    description="End the stream without losing a prompt",
    tags=[TAG, "stream"],
    dagrun_timeout=timedelta(hours=26),
    params={
        "cancel_after_minutes": Param(
            0,
            type="integer",
            minimum=0,
            maximum=1440,
            title="Cancel after (minutes)",
            description_md=(
                "A job that is still draining after this long is cancelled. What it has under way "
                "is not lost: those prompts stay in the subscription. **0**: never cancel."
            ),
        ),
    },
    doc_md="""
### Drain the stream

The job takes no more prompts, finishes those that it has, and ends. From then on the stream is not
*wanted*: health leaves it alone until `imagen_stream_start`. Prompts that come meanwhile wait in
`prompts-sub`, for up to its retention.

**When not to use it.** To change the model or the options: `imagen_stream_start` with **update** or
**replace** does it with less of a gap.

| task | what it does |
|---|---|
| `drain` | remembers that the stream should not run, then asks the job to drain |
| `wait_until_drained` | minutes; as long as the slowest prompt, while the model is down longer |
| `cancel`, `wait_until_cancelled` | only if you asked for it in the form |
| `report` | how it ended, its counts, and how many prompts are left |

A drain cannot be taken back. Marking a task failed does not stop it either.
""",
    **_ONE_STREAM,
):
    drain = DrainStream(task_id="drain")
    drained = JobEndedSensor(
        task_id="wait_until_drained",
        job_id=drain.output,
        give_up_minutes="{{ params.cancel_after_minutes }}",
        timeout=timedelta(hours=25),
    )
    cancel = CancelStream(task_id="cancel", job_id=drain.output)
    cancelled = JobEndedSensor(
        task_id="wait_until_cancelled", job_id=drain.output, timeout=timedelta(hours=1)
    )
    report = ReportDrained(task_id="report", job_id=drain.output, trigger_rule="none_failed")
    drain >> drained >> cancel >> cancelled >> report
