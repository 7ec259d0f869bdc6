"""The backfill DAG: every night it generates the images of the prompt files of the day before."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, TriggerRule

from imagen_ops.alerts.deadlines import due
from imagen_ops.backfill.approval import ApprovalMode
from imagen_ops.backfill.approve import ApproveBackfill
from imagen_ops.backfill.operators import CheckBudget, PlanBackfill, ReconcileBackfill
from imagen_ops.backfill.prefetch_operators import PreparePrefetch
from imagen_ops.backfill.prefetch_sensors import (
    ImportBatchesSensor,
    SubmitBatchesSensor,
    WaitForBatchesSensor,
)
from imagen_ops.backfill.sensors import BackfillJobSensor, LaunchBackfillSensor
from imagen_ops.dag.defaults import DAG_DEFAULTS, TAG
from imagen_ops.jobs.params import JOB_FIELDS, field, set_to
from imagen_ops.settings import (
    DEFAULT_BACKFILL_DUE_HOURS,
    DEFAULT_BACKFILL_SCHEDULE,
    MAX_APPROVAL_HOURS,
    MAX_PREFETCH_HOURS,
    value_of,
)

# Other DAGs can schedule on this Asset: it gets an event when new images are stored.
IMAGES = Asset("imagen_images")
_POOL = value_of("IMAGEN_BACKFILL_POOL", "default_pool")

_FORM = {
    "day": field(
        None,
        "string",
        "Day",
        "The day (UTC) whose files to use, prompts/ds=YYYY-MM-DD/\\*, as YYYY-MM-DD: up to today. "
        "Fill in this or *Prompt files*. **Empty**: the day of a scheduled run, which is its "
        "logical date.",
        format="date",
        pattern=r"^\d{4}-\d\d-\d\d$",
    ),
    "prompts": field(
        None,
        "string",
        "Prompt files",
        "A path or a glob in the deployment's bucket, such as gs://BUCKET/prompts/mine/\\*.csv. "
        f"Other buckets that can be used: {set_to('IMAGEN_ALLOWED_BUCKETS', 'none')}. Leave *Day* "
        "empty then. **Empty**: the files of the day. To name a file with a wildcard character in "
        "its name, put that character in brackets, such as \\[?\\].",
        pattern=r"^gs://[a-z0-9][a-z0-9._-]*/\S.*$",
        maxLength=1024,
    ),
    "dry_run": field(
        False,
        "boolean",
        "Dry run",
        "Only plan the run: count files, prompts and images, and estimate the cost, which the "
        "tasks plan and check say. Nothing is launched or paid for.",
    ),
    "max_images": field(
        None,
        "integer",
        "Maximum images",
        "If the run would generate more images than this, nothing starts unless somebody approves "
        "it, and its jobs never pay for more, with all tries of the run together. Images that are "
        "already stored don't count. "
        f"**Empty**: {set_to('IMAGEN_BACKFILL_MAX_IMAGES')}.",
        minimum=1,
    ),
    "max_cost_usd": field(
        None,
        "number",
        "Maximum cost (USD)",
        "If the run is estimated to cost more than this, nothing starts unless somebody approves "
        "it, and its jobs stop paying once their model's answers add up to it, with all tries of "
        "the run together. Only for models with a known price. **Empty**: "
        f"{set_to('IMAGEN_BACKFILL_MAX_COST_USD')}, for models with a known price.",
        exclusiveMinimum=0,
    ),
    "approval": field(
        ApprovalMode.OVER_BUDGET.value,
        "string",
        "Approval",
        "When a person has to approve the plan before anything is paid for. **over_budget**: if it "
        "is over the maximum images or cost. **always**: whenever there is something to pay for. "
        "**never**: a plan over them fails the run. Without an answer within "
        f"{set_to('IMAGEN_APPROVAL_TIMEOUT_HOURS')} hours, the run fails.",
        enum=[mode.value for mode in ApprovalMode],
    ),
    "prefetch": field(
        value_of("IMAGEN_PREFETCH", "none"),
        "string",
        "Prefetch",
        "**batch**: images of 1K are first ordered from Vertex AI's batch inference, at half the "
        "price and hours later; the job makes what is missing, and publishes everything. **auto**: "
        f"only if that saves at least {set_to('IMAGEN_PREFETCH_MIN_SAVING_USD')} USD by the plan. "
        "**none**: the job makes everything.",
        enum=["none", "batch", "auto"],
    ),
    "prefetch_deadline_hours": field(
        None,
        "number",
        "Prefetch deadline (hours)",
        "How long the batch jobs have. Then they are cancelled, what they have made is stored, and "
        f"the job makes the rest. **Empty**: {set_to('IMAGEN_PREFETCH_DEADLINE_HOURS')}.",
        exclusiveMinimum=0,
        maximum=MAX_PREFETCH_HOURS,
    ),
    **JOB_FIELDS,
}

with DAG(
    "imagen_backfill",
    # A run covers the day that has just ended.
    schedule=CronDataIntervalTimetable(
        value_of("IMAGEN_BACKFILL_SCHEDULE", DEFAULT_BACKFILL_SCHEDULE), timezone="UTC"
    ),
    # IMAGEN_BACKFILLS_AT_ONCE limits the jobs. A run that waits to launch holds no slot.
    max_active_runs=16,
    description="Generate the images of a day's prompt files",
    tags=[TAG, "backfill"],
    # More than its tasks can take together: a run must not end before its job is reconciled.
    dagrun_timeout=timedelta(hours=94 + MAX_APPROVAL_HOURS + 2 * MAX_PREFETCH_HOURS),
    # From the end of the day that a night is about.
    deadline=due(
        "backfill_due_hours",
        DEFAULT_BACKFILL_DUE_HOURS,
        timedelta(hours=1),
        after=timedelta(days=1),
    ),
    params=_FORM,
    doc_md="""
### Backfill: images for files of prompts

Every midnight (UTC), this DAG generates the images of the prompt files of the day that just ended:
`prompts/ds=YYYY-MM-DD/*` in the deployment's bucket. Files end in `.txt`, `.jsonl`, `.json` or
`.csv`, plain or gzipped. Predictions go to the same topic as the stream's, with
`source = backfill:<run>`.

**To run it by hand**, trigger it and fill in *Day* or *Prompt files*. **For a range of past days**,
run `airflow backfill create --dag-id imagen_backfill --from-date … --to-date …`. You can run the
same files twice: images that are already stored aren't paid for again.

Trigger it without a logical date. A run with one works on the files of that date, if it is a
midnight (UTC), and holds the date: a later backfill of it takes over that run.

**When not to use it.** For a few prompts, publish them to the topic instead. Don't run it while the
model is down: every prompt would become a dead letter.

| task | what it does | if it fails |
|---|---|---|
| `plan` | counts prompts, images and what is already stored; estimates the cost; notes which \
files the job reads, in which generations | Cloud Storage refused a request, there are too many \
rows (IMAGEN_BACKFILL_MAX_ROWS), or a setting doesn't allow what the form asks for; the error says \
so |
| `check` | checks the form, and that the model answers | says what contradicts itself, or by how \
much the plan is over a budget that nobody is asked about (*Approval* = **never**) |
| `approve` | asks a person, if the plan is over the budget or *Approval* is **always**; what they \
approve is the run's budget | nobody has answered in time: clear it to ask again |
| `prepare` | with *Prefetch*: writes the requests of images that batch inference can make, and \
that are not stored, below `prefetch/` | Cloud Storage refused a request |
| `submit` | creates a batch job for each file of requests, once | what the run's tasks know of \
them, `prefetch.json`, cannot be read |
| `wait_for_batch` | waits for the batch jobs, and cancels them at the deadline | the same |
| `import` | has a Dataflow job store what they made; a retry launches it again | somebody \
cancelled that job |
| `launch` | launches the job when a slot is free | the error names the request that was refused, \
or the new plan's excess over the budget |
| `wait` | waits until the job is DONE; a retry launches it again | shows the job's errors |
| `reconcile` | checks that prompts = predictions + failures, and images paid ≤ budget | says what \
is missing, or how much was paid |

If the files have no row at all, the run ends after `plan`; a dry run ends before `launch`, and so
does a run that somebody rejects: the other tasks are skipped, and the run is green. If files change
before `launch`, it plans them again and checks the budget, or what was approved, again. A file that
changes after that is not read: it becomes a dead letter that says so.

A prefetch only fills the store ahead. If batch inference refuses, fails, is cancelled or is late,
the record says so (`prefetch`), and the job makes the rest within the same budget: its ledgers
count what the batch jobs cost. Without *Prefetch*, these four tasks are skipped. Of two runs over
the same files at once, only the first one orders; the other launches when its images are stored.

An invalid row becomes a dead letter that names the file and the line. It doesn't fail the run.
The run leaves a record under `records/backfills` in the bucket: by `reconcile`, by `plan` if there
is no row, and by `approve` while it asks.
If every prompt is accounted for, the run also creates an event of the Asset `imagen_images`.
""",
    **DAG_DEFAULTS,
):
    plan = PlanBackfill(task_id="plan", execution_timeout=timedelta(hours=1))
    check = CheckBudget(task_id="check", plan=plan.output)
    approve = ApproveBackfill(task_id="approve", plan=plan.output)
    prepare = PreparePrefetch(
        task_id="prepare", plan=plan.output, execution_timeout=timedelta(hours=1)
    )
    submit = SubmitBatchesSensor(task_id="submit", timeout=timedelta(hours=2))
    wait_for_batch = WaitForBatchesSensor(
        task_id="wait_for_batch", timeout=timedelta(hours=MAX_PREFETCH_HOURS + 3)
    )
    import_ = ImportBatchesSensor(task_id="import", timeout=timedelta(hours=24))
    launch = LaunchBackfillSensor(
        task_id="launch",
        # In words, not `plan.output`: what is upstream decides whether it runs.
        plan="{{ ti.xcom_pull(task_ids='plan') | tojson }}",
        pool=_POOL,
        # Of these, it may wait for what another run has ordered.
        timeout=timedelta(hours=24 + MAX_PREFETCH_HOURS + 3),
        # Without a prefetch, its tasks are skipped. If `approve` is skipped too, so is this one.
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    wait = BackfillJobSensor(
        task_id="wait",
        job_id=launch.output,
        plan=plan.output,
        pool=_POOL,
        timeout=timedelta(hours=24),
    )
    reconcile = ReconcileBackfill(
        task_id="reconcile", plan=plan.output, job_id=wait.output, images=IMAGES
    )
    plan >> check >> approve >> prepare >> submit >> wait_for_batch >> import_
    [approve, import_] >> launch >> wait >> reconcile
