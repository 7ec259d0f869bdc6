"""Planning a run from its files as they are now, and checking the plan against its budget."""

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.limits import with_limits
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.backfill.plan import Plan
    from imagen_ops.google.clients import Clients


def plan_run(run: BackfillRun, settings: Settings, clients: "Clients") -> "Plan":
    """Return what a run would do and cost, from its files as they are now.

    Args:
        run: names the files, the model, what serves it, and the request tier.
        settings: of the deployment; say where images are stored, and what prompts may ask for.
        clients: to reach Cloud Storage.

    Raises:
        ApiError: Cloud Storage refuses, or does not answer.
        AirflowFailException: the glob does not mean what it seems to.
    """
    from beam_jobs.prompts.globs import GlobError
    from beam_jobs.prompts.limits import prompt_defaults
    from imagen_ops.backfill.planning import plan_backfill
    from imagen_ops.google.rest import explained

    form = with_limits(settings, run.form)

    try:
        with explained(f"planning {run.prompts}"):
            return plan_backfill(
                clients.storage.client(),
                run.prompts,
                defaults=prompt_defaults(
                    model=form.model,
                    model_endpoint=form.model_endpoint,
                    allowed_models=form.allowed_models,
                    allowed_image_sizes=form.allowed_image_sizes,
                    max_images_per_prompt=form.max_images_per_prompt,
                    source="backfill:plan",
                ),
                images_location=settings.images_location,
                request_tier=run.form.request_tier,
            )
    except GlobError as error:
        raise AirflowFailException(f"prompts: {run.prompts}: {error}") from None


def check_budget(run: BackfillRun, plan: "Plan", *, prefix: str = "") -> None:
    """Check that a plan is within its run's budget.

    Args:
        run: has the budget.
        plan: what the run would do and cost.
        prefix: text to begin the error message with.

    Raises:
        AirflowFailException: the plan is over the budget; says by how much, and where to raise it.
    """
    from imagen_ops.backfill.plan_text import over_budget

    if refusal := over_budget(plan, run.max_images, run.max_cost_usd):
        raise AirflowFailException(f"{prefix}{refusal}")
