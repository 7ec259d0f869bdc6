"""Planning a backfill, holding it to its budget, and accounting for its prompts.

What the work needs is imported where it is done: DAG files are parsed every half minute.
"""

import json
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from imagen_ops.alerts import alert
from imagen_ops.clients import BACKFILL_RECORDS
from imagen_ops.tasks import Task


class PlanBackfill(Task):
    """Say what the run would do and cost; pay for nothing. The result is the plan as JSON.

    Skips the run, with a record, when there is no prompt to work on.
    """

    def act(self, context: Any) -> dict[str, Any]:
        """See the class."""
        from imagen_ops.accounts import Account, record_of
        from imagen_ops.backfills import planned, run_of
        from imagen_ops.planning import summary

        run = run_of(context, self.settings)
        made = planned(run, self.settings, self.clients)
        for line in summary(made).splitlines():
            self.log.info("%s", line)
        if made.nothing_to_do:
            record = record_of(
                run,
                made,
                at=datetime.now(UTC),
                state="skipped",
                job_id=None,
                account=Account({}, {}, (), ()),
            )
            self.clients.history(BACKFILL_RECORDS).put(record)
            raise AirflowSkipException(f"no prompts at {run.prompts}: nothing to do")
        return made.to_json()


class CheckBudget(Task):
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
        from imagen_ops.backfills import hold_to_budget, run_of
        from imagen_ops.planning import Plan, summary

        run, made = run_of(context, self.settings), Plan.of_json(self.plan)
        if wrong := run.form.contradictions():
            raise AirflowFailException("\n".join(["the form contradicts itself:", *wrong]))
        if context["params"]["max_cost_usd"] and made.unpriced:
            raise AirflowFailException(
                f"nobody knows what an image of {', '.join(made.unpriced)} costs, so that "
                "max_cost_usd cannot hold: leave it empty, and set max_images"
            )
        hold_to_budget(run, made)
        return summary(made)


class Reconcile(Task):
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
        from imagen_ops.accounts import account_of, record_of
        from imagen_ops.backfills import run_of
        from imagen_ops.launches import report_path
        from imagen_ops.planning import Plan

        run, made = run_of(context, self.settings), Plan.of_json(self.plan)
        content = self.clients.objects.read(report_path(self.settings, run.label))
        account = account_of(_parsed(content), made)
        record = record_of(
            run,
            made,
            at=datetime.now(UTC),
            state="done" if account.adds_up else "unaccounted",
            job_id=self.job_id,
            account=account,
        )
        self.clients.history(BACKFILL_RECORDS).put(record)
        for line in account.noted:
            self.log.warning("%s", line)
        if not account.adds_up:
            text = f"prompts of {run.prompts} are unaccounted for: {'; '.join(account.unaccounted)}"
            alert("backfill_unaccounted", text, run_id=run.run_id)
            raise AirflowFailException(text)
        self.log.info("%s", json.dumps(record["counts"]))
        context["outlet_events"][self.images].extra = {
            "run_id": run.run_id,
            "prompts": run.prompts,
            **account.counts,
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
