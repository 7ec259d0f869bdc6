"""Planning a backfill, checking its budget, and reconciling its report with the plan.

What a task needs is imported when it runs: DAG files are parsed every 30 s by default.
"""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from typing_extensions import override

from imagen_ops.alerts.alert import alert
from imagen_ops.dag.lineage import Dataset, Lineage
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.records.actions import Stage
from imagen_ops.records.folders import BACKFILL_RECORDS

if TYPE_CHECKING:
    from imagen_ops.backfill.reconciliation import Reconciliation


class PlanBackfill(ImagenOperator):
    """Work out what the run would do and cost, without paying for anything.

    Returns the plan as JSON (XCom). Without any prompt, it writes a record and skips the run.
    """

    @override
    def act(self, context: Any) -> dict[str, Any]:
        from imagen_ops.backfill.budget import plan_run
        from imagen_ops.backfill.plan_text import summary
        from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record
        from imagen_ops.backfill.run import run_from_context, taken_over
        from imagen_ops.dag.limits import refuse_not_allowed

        run = run_from_context(context, self.settings)
        refuse_not_allowed(self.settings, run.form, "backfill_template")
        self.lineage = Lineage(inputs=(Dataset.files(run.prompts),))
        self.note(context, Stage.REQUESTED, form=dict(context["params"]))
        if taken_over(context["dag_run"]):
            self.log.warning(
                "`airflow backfill create` has taken over this run, which was made by hand. It "
                "makes the night of %s: of its form, prompts and day don't count, the rest does",
                run.day,
            )
        plan = plan_run(run, self.settings, self.clients)
        for line in summary(plan).splitlines():
            self.log.info("%s", line)
        if plan.nothing_to_do:
            record = backfill_record(
                run,
                plan,
                at=datetime.now(UTC),
                state="skipped",
                job_id=None,
                reconciliation=Reconciliation.without_job(),
            )
            self.clients.history(BACKFILL_RECORDS).put(record)
            raise AirflowSkipException(f"no prompts at {run.prompts}: nothing to do")
        return plan.to_json()


class CheckBudget(ImagenOperator):
    """Fail, before anything is paid for, if the run cannot go on whatever anybody approves.

    That is so if the form's fields contradict each other, if its cost limit cannot be checked, or
    if there is something to pay for and the form's model does not answer. A plan that is over the
    run's budget fails it only if the form says that nobody is asked (`approval`).
    Returns the plan as text (XCom).

    Args:
        plan: the plan as JSON, returned by `PlanBackfill`.
    """

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    @override
    def act(self, context: Any) -> str:
        from imagen_ops.backfill.approval import ApprovalMode
        from imagen_ops.backfill.budget import check_budget
        from imagen_ops.backfill.plan import Plan
        from imagen_ops.backfill.plan_text import over_budget, summary, within_budget
        from imagen_ops.backfill.run import NO_PREFETCH, run_from_context
        from imagen_ops.dag.model_check import check_model
        from imagen_ops.jobs.launch_request import PREFETCH_TEMPLATE

        run, plan = run_from_context(context, self.settings), Plan.from_json(self.plan)
        if contradictions := run.form.contradictions():
            raise AirflowFailException(
                "\n".join(["the form's fields contradict each other:", *contradictions])
            )
        if run.prefetch != NO_PREFETCH and not self.settings.prefetch_template:
            raise AirflowFailException(
                f"{PREFETCH_TEMPLATE} isn't set, so what batch inference makes could not be "
                "stored: set batch_inference = true in terraform.tfvars and apply, or trigger the "
                "run with prefetch = none"
            )
        without_price = {*plan.unpriced, *filter(None, [run.unpriced_model])}
        if context["params"]["max_cost_usd"] and without_price:
            names = ", ".join(sorted(without_price))
            raise AirflowFailException(
                f"max_cost_usd cannot be checked: no known price for {names}. "
                "Leave max_cost_usd empty, and set max_images instead"
            )
        if context["params"]["approval"] == ApprovalMode.NEVER:
            check_budget(run, plan)
        over = over_budget(plan, run.max_images, run.max_cost_usd)
        if over:
            self.log.warning("%s", over)
        else:
            self.log.info("%s", within_budget(plan, run.max_images, run.max_cost_usd))
        if plan.images_to_pay:
            check_model(self.settings, self.clients, run.form)
        return "\n".join(filter(None, [summary(plan), over]))


class ReconcileBackfill(ImagenOperator):
    """Compare the job's report with the plan, write a record, and announce new images.

    If any prompt ended neither as a prediction nor as a failure, or if more was paid for than the
    run's budget, it sends an alert and fails the run, after the record is written. Returns the
    record (XCom).

    Args:
        plan: the plan as JSON, returned by `PlanBackfill`.
        job_id: the id of the job that is DONE.
        images: the Asset that gets an event if all prompts are accounted for.
    """

    template_fields = ("plan", "job_id")

    def __init__(self, *, plan: Any, job_id: Any, images: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[images], **kwargs)
        self.plan = plan
        self.job_id = job_id
        self.images = images

    @override
    def act(self, context: Any) -> dict[str, Any]:
        from imagen_ops.backfill.plan import Plan
        from imagen_ops.backfill.reconciliation import backfill_record, reconcile
        from imagen_ops.backfill.run import NO_PREFETCH, run_from_context
        from imagen_ops.jobs.launch_request import ledger_path, report_path
        from imagen_ops.prefetch.run_prefetch import RunPrefetch
        from imagen_ops.prefetch.share import NOTHING, share_of

        run, plan = run_from_context(context, self.settings), Plan.from_json(self.plan)
        prefetch = None
        if run.prefetch != NO_PREFETCH:
            prefetch = RunPrefetch(
                self.settings, self.clients, run_id=run.run_id, run_label=run.label
            ).read()
        ledger = _parsed(
            self.clients.storage.read(ledger_path(self.settings, run.run_id, of_money=True))
        )
        content = self.clients.storage.read(report_path(self.settings, run.label))
        reconciliation = reconcile(
            _parsed(content),
            plan,
            run.max_images,
            None if run.unpriced_model else run.max_cost_usd,
            ledger=ledger,
            batch=share_of(prefetch) if prefetch else NOTHING,
        )
        record = backfill_record(
            run,
            plan,
            at=datetime.now(UTC),
            state=_state(reconciliation),
            job_id=self.job_id,
            reconciliation=reconciliation,
            prefetch=prefetch,
            ledger=ledger,
        )
        self.clients.history(BACKFILL_RECORDS).put(record)
        if record["state"] == "done":
            self.log.info("%s", reconciliation)
        for note in reconciliation.noted:
            self.log.warning("%s", note)
        if not reconciliation.adds_up:
            reasons = "; ".join(reconciliation.unaccounted)
            text = f"prompts of {run.prompts} are unaccounted for: {reasons}"
            alert("backfill_unaccounted", text, run_id=run.run_id)
            raise AirflowFailException(text)
        if reconciliation.over_budget:
            alert("backfill_over_budget", reconciliation.over_budget, run_id=run.run_id)
            raise AirflowFailException(reconciliation.over_budget)
        context["outlet_events"][self.images].extra = {
            "run_id": run.run_id,
            "prompts": run.prompts,
            **reconciliation.counts,
        }
        return record


def _state(reconciliation: "Reconciliation") -> str:
    if not reconciliation.adds_up:
        return "unaccounted"
    return "over_budget" if reconciliation.over_budget else "done"


def _parsed(content: bytes | None) -> Any:
    """Return a report's JSON: None if there is no report, `{}` if it is not valid JSON."""
    if content is None:
        return None
    try:
        # A report that says `null` exists, and is not valid.
        return json.loads(content) or {}
    except (ValueError, RecursionError):
        return {}
