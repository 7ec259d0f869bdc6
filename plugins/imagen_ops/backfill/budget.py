"""What a run would cost by now, and whether its budget lets it through."""

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.backfill.run import BackfillRun
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.backfill.plan import Plan
    from imagen_ops.google.clients import Clients


def plan_run(run: BackfillRun, settings: Settings, clients: "Clients") -> "Plan":
    """Return what a run would do and cost, as its files are now.

    Raises:
        ApiError: storage refuses, or does not answer.
    """
    from imagen_ops.backfill.planning import plan_backfill
    from imagen_ops.google.rest import explained

    with explained(f"planning {run.prompts}"):
        return plan_backfill(
            clients.storage.client(),
            run.prompts,
            model=run.form.model,
            images_location=settings.images_location,
            request_tier=run.form.request_tier,
        )


def hold_to_budget(run: BackfillRun, plan: "Plan", *, about: str = "") -> None:
    """Let a plan through that is within its run's budget.

    Raises:
        AirflowFailException: it is over it; the message begins with `about`.
    """
    from imagen_ops.backfill.plan_text import over_budget

    if over := over_budget(plan, run.max_images, run.max_cost_usd):
        raise AirflowFailException(f"{about}{over}")
