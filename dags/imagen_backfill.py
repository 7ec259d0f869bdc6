"""Prompt files, night by night: planned, held to a budget, run, and accounted for."""

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param

from imagen_ops.backfill.operators import CheckBudget, PlanBackfill, ReconcileBackfill
from imagen_ops.backfill.sensors import BackfillDoneSensor, LaunchBackfillSensor
from imagen_ops.dag.defaults import DAG_DEFAULTS, TAG
from imagen_ops.jobs.params import JOB_FIELDS
from imagen_ops.settings import DEFAULT_BACKFILL_SCHEDULE

# Whoever schedules on new images names this Asset.
IMAGES = Asset("imagen_images")
_POOL = os.environ.get("IMAGEN_BACKFILL_POOL") or "default_pool"

_FORM = {
    "prompts": Param(
        None,
        type=["null", "string"],
        pattern=r"^gs://[a-z0-9][a-z0-9._-]*/\S.*$",
        title="Prompt files",
        description_md=(
            "A path, or a glob as gs://BUCKET/prompts/mine/*.csv, in the deployment's bucket. "
            "**Empty**: those of the run's day, prompts/ds=YYYY-MM-DD/*."
        ),
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description_md="Plan, and stop there: files, prompts, images, cost. Nothing is paid.",
    ),
    "max_images": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Most images to pay",
        description_md="Above that nothing starts. **Empty**: IMAGEN_BACKFILL_MAX_IMAGES.",
    ),
    "max_cost_usd": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="Most it may cost (USD, estimated)",
        description_md=(
            "Above that nothing starts. Counted at the price of 1K images. **Empty**: "
            "IMAGEN_BACKFILL_MAX_COST_USD."
        ),
    ),
    **JOB_FIELDS,
}

with DAG(
    "imagen_backfill",
    # The day that has ended.
    schedule=CronDataIntervalTimetable(
        os.environ.get("IMAGEN_BACKFILL_SCHEDULE") or DEFAULT_BACKFILL_SCHEDULE, timezone="UTC"
    ),
    # Jobs take turns as IMAGEN_BACKFILLS_AT_ONCE says; runs that wait for theirs hold no slot.
    max_active_runs=16,
    description="Make the images of a night's prompt files",
    tags=[TAG, "backfill"],
    # As long as its tasks may take, one after the other: a job that runs has to be accounted for.
    dagrun_timeout=timedelta(hours=50),
    params=_FORM,
    doc_md="""
### Backfill: images for files of prompts

Every midnight (UTC) over `prompts/ds=YYYY-MM-DD/*` of the day that ended, in the bucket. Files are
`.txt`, `.jsonl` or `.csv`, plain or `.gz`. Predictions go where the stream's go, with
`source = backfill:<run>`.

**By hand**: for other files fill in *Prompt files*. **For past days**: `airflow backfill create
--dag-id imagen_backfill --from-date … --to-date …`. Run twice it pays for nothing the second time:
what is made already is found.

**When not to use it.** For a few prompts: publish them to the topic. While the model is down: it
would only make dead letters.

| task | what it does | if it fails |
|---|---|---|
| `plan` | files, prompts, images, what is made already, cost; no prompts: skipped | storage |
| `check` | stops what is over its budget | says by how much, and where to raise it |
| `launch` | starts the job in its turn; changed files are planned anew | its message says why |
| `wait` | until the job is DONE; a retry launches it again | shows what the job said |
| `reconcile` | prompts = predictions + failures, or the run is red; keeps a record | unaccounted |

A bad row is a dead letter that names file and line, and no reason for a red run. Each run leaves a
record under `records/backfills` in the bucket, and an event of the Asset `imagen_images`.
""",
    **DAG_DEFAULTS,
):
    plan = PlanBackfill(task_id="plan", execution_timeout=timedelta(hours=1))
    check = CheckBudget(task_id="check", plan=plan.output)
    launch = LaunchBackfillSensor(
        task_id="launch", plan=plan.output, pool=_POOL, timeout=timedelta(hours=24)
    )
    wait = BackfillDoneSensor(
        task_id="wait",
        job_id=launch.output,
        plan=plan.output,
        pool=_POOL,
        timeout=timedelta(hours=24),
    )
    reconcile = ReconcileBackfill(
        task_id="reconcile", plan=plan.output, job_id=wait.output, images=IMAGES
    )
    plan >> check >> launch >> wait >> reconcile
