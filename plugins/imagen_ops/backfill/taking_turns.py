"""Which other runs are at work on a run's files, so that no image is paid for twice."""

from typing import TYPE_CHECKING, Any

from beam_jobs.prompts.globs import PromptGlob
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.launch_request import plan_path
from imagen_ops.prefetch.turns import Turn, Turns
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.google.clients import Clients

# The task that stores what batch inference has made.
IMPORT_TASK = "import"
_UNDER_WAY = ["queued", "running"]
_ENDED = ["success", "failed", "skipped", "upstream_failed", "removed"]


def run_at_work(
    context: Any, run: BackfillRun, settings: Settings, clients: "Clients", *, orders: bool
) -> str | None:
    """Return a run that was ahead of this one and is at work on any of its files; None: none is.

    Of a run that is about to launch its job, only those count whose batch jobs may still make
    images: two jobs that call the model see each other's claims.

    Args:
        context: the Airflow context of the task.
        run: the run, whose files are planned.
        settings: of the deployment.
        clients: to reach Cloud Storage.
        orders: whether the run is about to order from batch inference; else, to launch its job.

    Raises:
        ApiError: Cloud Storage refuses or does not answer.
    """
    if not settings.prefetch_template:
        return None  # no run of this deployment orders anything
    dag_run, ti = context["dag_run"], context["ti"]
    mine = Turn(
        run_id=run.run_id,
        run_label=run.label,
        bucket=PromptGlob.parse(run.prompts).bucket,
        orders=orders,
        began=dag_run.start_date,
    )
    for other in Turns(settings, clients).ahead_of(mine):
        if not orders and not other.orders:
            continue
        dag_id, run_ids = dag_run.dag_id, [other.run_id]
        if not ti.get_dr_count(dag_id=dag_id, run_ids=run_ids, states=_UNDER_WAY):
            continue
        if not orders and ti.get_ti_count(
            dag_id=dag_id, task_ids=[IMPORT_TASK], run_ids=run_ids, states=_ENDED
        ):
            continue
        if other.bucket == mine.bucket and _share_a_file(settings, clients, mine, other):
            return other.run_id
    return None


def _share_a_file(settings: Settings, clients: "Clients", mine: Turn, other: Turn) -> bool:
    """Whether two runs have planned the same file, in whatever generations."""
    from beam_jobs.prompts.plan_file import planned_files

    ours, theirs = (
        {
            file.name
            for file in planned_files(
                (clients.storage.read(plan_path(settings, run.run_label)) or b"").splitlines()
            )
        }
        for run in (mine, other)
    )
    return not ours.isdisjoint(theirs)
