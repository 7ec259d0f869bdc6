"""Planning a run from its files as they are now, and checking the plan against its budget."""

import tempfile
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.launch_request import plan_path
from imagen_ops.jobs.limits import with_limits
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from beam_jobs.prompts.defaults import PromptDefaults
    from imagen_ops.backfill.plan import Plan
    from imagen_ops.google.clients import Clients

# The lines of a plan of some 10,000 files; a longer one goes to the disk.
_MAX_BYTES_IN_MEMORY = 1 << 20


def plan_run(run: BackfillRun, settings: Settings, clients: "Clients") -> "Plan":
    """Return what a run would do and cost, from its files as they are now.

    Leaves the names and generations of these files where the run's job reads them: it reads no
    others.

    Args:
        run: names the files, the model, what serves it, and the request tier.
        settings: of the deployment; say where images are stored, what prompts may ask for, and how
            much a plan may read.
        clients: to reach Cloud Storage.

    Raises:
        ApiError: Cloud Storage refuses, or does not answer.
        AirflowFailException: the glob does not mean what it seems to, or the files are more than
            the settings allow.
    """
    from beam_jobs.prompts.globs import GlobError
    from beam_jobs.prompts.plan_file import line_of
    from imagen_ops.backfill.plan_limits import PlanLimitError, PlanLimits
    from imagen_ops.backfill.planning import plan_backfill
    from imagen_ops.google.rest import explained

    limits = PlanLimits(
        max_rows=settings.backfill_max_rows,
        max_unpacked_bytes=settings.backfill_max_unpacked_bytes,
        max_seconds=settings.backfill_max_plan_seconds,
    )
    with tempfile.SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY) as file:
        try:
            with explained(f"planning {run.prompts}"):
                plan = plan_backfill(
                    clients.storage.client(),
                    run.prompts,
                    defaults=defaults_of(run, settings, source="backfill:plan"),
                    images_location=settings.images_location,
                    request_tier=run.form.request_tier,
                    preprocess=settings.preprocess or "",
                    model_location=run.form.model_location,
                    limits=limits,
                    note_file=lambda planned: file.write(line_of(planned)),
                )
        except GlobError as error:
            raise AirflowFailException(f"prompts: {run.prompts}: {error}") from None
        except PlanLimitError as error:
            raise AirflowFailException(f"over the limits of a plan: {error}") from None
        clients.storage.write(plan_path(settings, run.label), file, "application/x-ndjson")
    return plan


def defaults_of(run: BackfillRun, settings: Settings, *, source: str) -> "PromptDefaults":
    """Return what the options of a run's job set for its prompts.

    Args:
        run: has the form.
        settings: of the deployment; say what prompts may ask for.
        source: what the job is called in its outcomes.
    """
    from beam_jobs.prompts.defaults import prompt_defaults

    form = with_limits(settings, run.form)
    return prompt_defaults(
        model=form.model,
        model_endpoint=form.model_endpoint,
        allowed_models=form.allowed_models,
        allowed_image_sizes=form.allowed_image_sizes,
        max_images_per_prompt=form.max_images_per_prompt,
        prompt_template=form.prompt_template,
        bucket=settings.bucket,
        reference_buckets=",".join(settings.reference_buckets),
        source=source,
        changed=bool(settings.preprocess or settings.postprocess),
    )


def check_budget(run: BackfillRun, plan: "Plan", *, prefix: str = "") -> None:
    """Check that a plan is within its run's budget, or no larger than what was approved.

    Args:
        run: has the budget.
        plan: what the run would do and cost.
        prefix: text to begin the error message with.

    Raises:
        AirflowFailException: the plan is over the budget; says by how much, and where to raise it.
    """
    from imagen_ops.backfill.plan_text import over_budget

    if run.approval and run.approval.covers(plan):
        return
    if refusal := over_budget(plan, run.max_images, run.max_cost_usd):
        raise AirflowFailException(f"{prefix}{refusal}")
