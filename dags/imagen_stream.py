"""The DAGs of the streaming job: start it, check its health, drain it."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from imagen_ops.alerts.deadlines import due
from imagen_ops.dag.defaults import DAG_DEFAULTS, TAG, TASK_DEFAULTS
from imagen_ops.health.canary import CanarySensor, SendCanary, SendHealthCanary
from imagen_ops.health.operators import AssessStream, FailWhenDown, RestartStream
from imagen_ops.jobs.params import JOB_FIELDS, STREAM_FIELDS, field
from imagen_ops.settings import DEFAULT_HEALTH_DUE_MINUTES, DEFAULT_HEALTH_SCHEDULE, value_of
from imagen_ops.stream.operators import CancelStream, DrainStream, LaunchStream, ReportDrained
from imagen_ops.stream.prerequisites import CheckPrerequisites
from imagen_ops.stream.sensors import (
    JobEndedSensor,
    JobRunningSensor,
    MakeWaySensor,
    StreamDrainedSensor,
)

START = "imagen_stream_start"

# A look that takes long holds up the next one, and with it a restart.
_QUICK: dict[str, Any] = {
    **TASK_DEFAULTS,
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "max_retry_delay": timedelta(seconds=30),
    "execution_timeout": timedelta(minutes=3),
}

# There is one stream. Two runs of the same DAG at a time would interfere with each other.
_ONE_STREAM: dict[str, Any] = {**DAG_DEFAULTS, "max_active_runs": 1}

_START_FORM = {
    "on_active": field(
        "keep",
        "string",
        "If a stream is active already",
        "**keep**: leave it running with the options it was started with; the fields below don't "
        "change it. **update**: a new job takes over from it in place; use this for a changed "
        "template or changed options. **replace**: drain it, then start a new job; use this if "
        "Dataflow refuses the update. During a replace, prompts wait until the new job is RUNNING.",
        enum=["keep", "update", "replace"],
    ),
    **JOB_FIELDS,
    **STREAM_FIELDS,
}

with DAG(
    START,
    schedule=None,
    description="Start the stream, or update or replace the running one",
    tags=[TAG, "stream"],
    dagrun_timeout=timedelta(hours=18),
    params=_START_FORM,
    doc_md="""
### Start the stream

Starts the Dataflow job that turns prompts from the topic `prompts` into images, and sends a canary
through it to show that it works. From then on the stream should run: if its job ends,
`imagen_stream_health` starts a new one with the values of this form. If **keep** found a job that
was active already, the values that job was started with apply instead. `imagen_stream_drain` ends
the stream.

**When not to use it.** If the stream's job has ended, do nothing: `imagen_stream_health` restarts
it. For files of prompts, use `imagen_backfill`.

| task | what it does | if it fails |
|---|---|---|
| `check_prerequisites` | checks the form against the settings' limits; topics, subscriptions, \
bucket, template | lists problems |
| `make_way` | waits while a job that has to end holds the job name; with **replace**, drains the \
old job first | the old job is still draining |
| `launch` | launches, updates or keeps the job | shows what Dataflow refused |
| `wait_until_running` | waits some minutes for the workers to start | shows the job's errors |
| `send_canary`, `wait_for_canary` | a test message, no model call | read the job's logs |

Whatever you clear, mark failed or trigger twice, there is only one stream, and marking a task
failed stops no job. But a run that you trigger or clear acts on the job that is active at that
time. A second run with **replace** drains the first one's job, and so does clearing `make_way` of
an older run with **replace**. Clearing `launch` of an older run with **update** updates the job to
that run's form. Links on the tasks lead to the job, its logs and its metrics.
""",
    **_ONE_STREAM,
):
    check = CheckPrerequisites(task_id="check_prerequisites")
    # A drain takes as long as its slowest prompt. 12 hours allows for a model that is down.
    make_way = MakeWaySensor(task_id="make_way", timeout=timedelta(hours=12))
    launch = LaunchStream(task_id="launch")
    # The launcher and the workers take 5 to 10 minutes to come up.
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
    schedule=value_of("IMAGEN_HEALTH_SCHEDULE", DEFAULT_HEALTH_SCHEDULE),
    description="Check the stream, restart it if its job has ended, fail if it is DOWN",
    tags=[TAG, "stream"],
    dagrun_timeout=timedelta(minutes=60),
    deadline=due("health_due_minutes", DEFAULT_HEALTH_DUE_MINUTES, timedelta(minutes=1)),
    doc_md="""
### Health of the stream

Every five minutes, this DAG collects signals, decides on a verdict, keeps a record under
`records/health` in the bucket, and writes an alert line if the verdict has changed. **A red run
means DOWN, or that there is no verdict.** The error of `conclude` says which, and why.

| verdict | meaning |
|---|---|
| HEALTHY | the stream runs and keeps up, or was drained on purpose |
| DEGRADED | something is wrong: lag, backlog, failures, errors, or a source that doesn't answer |
| DOWN | the stream should run and doesn't, or nothing gets through |

| task | what it does |
|---|---|
| `send_canary`, `wait_for_canary` | send a test message through the stream, without a model call |
| `assess` | collects the signals and decides |
| `restart` | if the stream should run, has no job and none is being launched, starts it with the \
form of its last start |
| `conclude` | fails the run if the stream is DOWN or there is no verdict |

`restart` acts at most `IMAGEN_RESTARTS_PER_HOUR` times within any hour. After that it fails until
the first of these restarts is an hour old, then it tries again. A stream that somebody drained
stays drained.

**Trigger it by hand** to get a verdict now; that does no harm. Pause it while you work on the job
outside these DAGs.
""",
    **{**_ONE_STREAM, "default_args": _QUICK},
):
    probe = SendHealthCanary(task_id="send_canary")
    returned = CanarySensor(
        task_id="wait_for_canary",
        canary=probe.output,
        required=False,
        timeout=timedelta(minutes=15),
    )
    # A verdict is due whatever happened to the canary.
    assess = AssessStream(
        task_id="assess", canary=returned.output, start_dag_id=START, trigger_rule="all_done"
    )
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
    dagrun_timeout=timedelta(hours=30),
    params={
        "cancel_after_minutes": field(
            0,
            "integer",
            "Cancel after (minutes)",
            "Cancels the job if it is still draining after this time. Its prompts in progress "
            "aren't lost: they stay in the subscription. **0**: never cancel.",
            minimum=0,
            maximum=1440,
        ),
    },
    doc_md="""
### Drain the stream

The job takes no more prompts, finishes those it has, and ends. From then on the stream should not
run: `imagen_stream_health` leaves it alone until you run `imagen_stream_start`. Meanwhile, new
prompts wait in `prompts-sub`, for at most its retention period.

**When not to use it.** To change the model or the options, run `imagen_stream_start` with
**update** or **replace**: the interruption is shorter.

| task | what it does |
|---|---|
| `drain` | records that the stream should not run, then asks the job to drain |
| `wait_until_drained` | waits for the slowest prompt: minutes, or longer while the model is down |
| `cancel`, `wait_until_cancelled` | cancel the job, if the form says after how many minutes |
| `report` | reports how the job ended, its counts, and the prompts that remain |

A drain can't be undone, and marking a task failed doesn't stop it. Clearing `drain` of an older run
drains the job that is active now.
""",
    **_ONE_STREAM,
):
    drain = DrainStream(task_id="drain")
    drained = StreamDrainedSensor(
        task_id="wait_until_drained",
        job_id=drain.output,
        give_up_minutes="{{ params.cancel_after_minutes }}",
        timeout=timedelta(hours=25),
    )
    cancel = CancelStream(task_id="cancel", job_id=drained.output)
    cancelled = JobEndedSensor(
        task_id="wait_until_cancelled", job_id=drained.output, timeout=timedelta(hours=1)
    )
    report = ReportDrained(task_id="report", job_id=drained.output, trigger_rule="none_failed")
    drain >> drained >> cancel >> cancelled >> report
