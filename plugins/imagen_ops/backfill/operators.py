"""Planning a backfill, holding it to its budget, and accounting for its prompts.

What the work needs is imported where it is done: DAG files are parsed every half minute.
"""

import json
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from imagen_ops.alerts.alert import alert
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.records.folders import BACKFILL_RECORDS


class PlanBackfill(ImagenOperator):
    """Say what the run would do and cost; pay for nothing. The result is the plan as JSON.

    Skips the run, with a record, when there is no prompt to work on.
    """

    def act(self, context: Any) -> dict[str, Any]:
        """See the class."""
        from imagen_ops.backfill.budget import plan_run
        from imagen_ops.backfill.plan_text import summary
        from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record
        from imagen_ops.backfill.run import run_of

        run = run_of(context, self.settings)
        made = plan_run(run, self.settings, self.clients)
        for line in summary(made).splitlines():
            self.log.info("%s", line)
        if made.nothing_to_do:
            record = backfill_record(
                run,
                made,
                at=datetime.now(UTC),
                state="skipped",
                job_id=None,
                reconciliation=Reconciliation.of_nothing(),
            )
            self.clients.history(BACKFILL_RECORDS).put(record)
            raise AirflowSkipException(f"no prompts at {run.prompts}: nothing to do")
        return made.to_json()


class CheckBudget(ImagenOperator):
    """Fail, with nothing paid, when the plan is over the run's budget. Gives the plan in words.

    Args:
        plan: what `PlanBackfill` returned.
    """

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def act(self, context: Any) -> str:
        """See the class."""
        from imagen_ops.backfill.budget import hold_to_budget
        from imagen_ops.backfill.plan import Plan
        from imagen_ops.backfill.plan_text import summary
        from imagen_ops.backfill.run import run_of

        run, made = run_of(context, self.settings), Plan.from_json(self.plan)
        if wrong := run.form.contradictions():
            raise AirflowFailException("\n".join(["the form contradicts itself:", *wrong]))
        if context["params"]["max_cost_usd"] and made.unpriced:
            raise AirflowFailException(
                f"nobody knows what an image of {', '.join(made.unpriced)} costs, so that "
                "max_cost_usd cannot hold: leave it empty, and set max_images"
            )
        hold_to_budget(run, made)
        return summary(made)


class ReconcileBackfill(ImagenOperator):
    """Hold the job's report against the plan, keep a record, and tell who waits for images.

    Fails the run, after the record is kept, unless every prompt ended as a prediction or a failure.

    Args:
        plan: what `PlanBackfill` returned.
        job_id: of the job that is DONE.
        images: the Asset whose event tells of new images.
    """

    template_fields = ("plan", "job_id")

    def __init__(self, *, plan: Any, job_id: Any, images: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[images], **kwargs)
        self.plan = plan
        self.job_id = job_id
        self.images = images

    def act(self, context: Any) -> dict[str, Any]:
        """See the class. The result is the record."""
        from imagen_ops.backfill.plan import Plan
        from imagen_ops.backfill.reconciliation import backfill_record, reconcile
        from imagen_ops.backfill.run import run_of
        from imagen_ops.jobs.launch_request import report_path

        run, made = run_of(context, self.settings), Plan.from_json(self.plan)
        content = self.clients.storage.read(report_path(self.settings, run.label))
        reconciliation = reconcile(_parsed(content), made)
        record = backfill_record(
            run,
            made,
            at=datetime.now(UTC),
            state="done" if reconciliation.adds_up else "unaccounted",
            job_id=self.job_id,
            reconciliation=reconciliation,
        )
        self.clients.history(BACKFILL_RECORDS).put(record)
        for line in reconciliation.noted:
            self.log.warning("%s", line)
        if not reconciliation.adds_up:
            missing = "; ".join(reconciliation.unaccounted)
            text = f"prompts of {run.prompts} are unaccounted for: {missing}"
            alert("backfill_unaccounted", text, run_id=run.run_id)
            raise AirflowFailException(text)
        self.log.info("%s", json.dumps(record["counts"]))
        context["outlet_events"][self.images].extra = {
            "run_id": run.run_id,
            "prompts": run.prompts,
            **reconciliation.counts,
        }
        return record


def _parsed(content: bytes | None) -> Any:
    if content is None:
        return None
    try:
        # `null` too is something that was left, and no report.
        return json.loads(content) or {}
    except (ValueError, RecursionError):
        return {}
