"""Asking a person before a run pays, with Airflow's human-in-the-loop operator."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskAwaitingInput,
)
from typing_extensions import override

from imagen_ops.alerts.alert import alert
from imagen_ops.backfill.approval import (
    APPROVE,
    REJECT,
    Answer,
    Approval,
    ApprovalMode,
    Decision,
    Proposal,
    Question,
    granted,
    question,
)
from imagen_ops.backfill.run import BackfillRun, run_from_context
from imagen_ops.dag.tasks import ImagenOperator, errors_first
from imagen_ops.jobs.params import field
from imagen_ops.records.folders import BACKFILL_RECORDS

if TYPE_CHECKING:
    from imagen_ops.backfill.plan import Plan

# Keys in the task's state, which the tries of a task share, and which outlives clearing it.
_APPROVED, _ASKED, _ANSWERED = "approved", "asked", "answered_since_try_{first_try}"
_ANOTHER_PLAN = (
    "this run has asked about another plan before, and Airflow would show that question again. "
    "Trigger imagen_backfill for the same files: a new run asks about the plan as it is now, and "
    "images that exist are not paid for again"
)


class ApproveBackfill(ImagenOperator, HITLOperator):
    """Ask a person whether the run may pay, if its plan is over the budget or its form says so.

    The task waits without a worker slot, in Airflow's state `awaiting_input`, for at most
    IMAGEN_APPROVAL_TIMEOUT_HOURS. Returns the approval as JSON (XCom), which becomes the run's
    budget; no value if there was nothing to ask. If it is rejected, the task is skipped and with it
    the rest of the run: what a person decides is no failure. Without an answer, it fails.

    An answer is kept in the task's state before anything else is done with it, so a retry doesn't
    ask again. Nor does one that finds no kept answer: asking erases an answer that has come
    meanwhile, as when Airflow takes the resumed task for failed
    (`findings/airflow_hitl_lost_answer.sh`). It only waits again, and Airflow resumes it at
    once with the answer that is there. An approval holds for the run, even if the task is cleared,
    as long as the plan is no larger than what was approved. Clearing the task after a rejection, or
    without an answer, asks again about the same plan. About another plan it can't: Airflow 3.3.1
    would show the old question (`findings/airflow_hitl_old_question.sh`).

    Args:
        plan: the plan as JSON, returned by `PlanBackfill`.
    """

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        # The DAG's, which Airflow passes to each task. The answer has fields of its own.
        kwargs.pop("params", None)
        # Airflow gives each operator class an `__init__`, so `super()` would end at the first base.
        HITLOperator.__init__(
            self,
            subject="May this backfill pay?",
            options=[APPROVE, REJECT],
            params=_fields(None),
            # Without one, it would take the execution_timeout, and leave the task without.
            response_timeout=timedelta(hours=1),
            **kwargs,
        )
        self.plan = plan

    @override
    def act(self, context: Any) -> dict[str, Any] | None:
        run, plan = self._run_and_plan(context)
        if context["params"]["dry_run"]:
            self.log.info("a dry run pays for nothing, so nobody is asked")
            return None
        store = context["task_state_store"]
        if approved := store.get(_APPROVED):
            earlier = Approval.from_json(approved)
            if earlier.covers(plan):
                self.log.info("%s", _sentence(earlier))
                return earlier.to_json()
        if answered := store.get(self._answer_key(context)):
            return self._decided(context, run, plan, Answer(**answered))
        asked = self._question(context, run, plan)
        if asked is None:
            self.log.info("nothing to ask: the plan is within the run's budget")
            return None
        earlier_question = store.get(_ASKED)
        if earlier_question and earlier_question["key"] != asked.key:
            raise AirflowFailException(_ANOTHER_PLAN)
        if earlier_question and earlier_question.get("open_for") == self._answer_key(context):
            until = datetime.fromisoformat(earlier_question["until"])
            self.log.info("the question of an earlier try waits for its answer until %s", until)
            left = max(timedelta(0), until - datetime.now(UTC))
            raise TaskAwaitingInput(method_name="execute_complete", timeout=left)
        store.set(_ASKED, _as_state(asked))
        self._ask(context, run, plan, asked)
        return None

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Go on with the answer, or without one, when Airflow resumes the task."""
        with errors_first():
            run, plan = self._run_and_plan(context)
            if "error" in event:
                self._refuse_without_answer(run, plan, event)
            try:
                answer = Answer.of_event(event)
            except ValueError as error:
                raise AirflowFailException(
                    f"the answer cannot be used: {error}. Clear this task to be asked again"
                ) from None
            context["task_state_store"].set(self._answer_key(context), dataclasses.asdict(answer))
            return self._decided(context, run, plan, answer)

    def _run_and_plan(self, context: Any) -> "tuple[BackfillRun, Plan]":
        from imagen_ops.backfill.plan import Plan

        return run_from_context(context, self.settings), Plan.from_json(self.plan)

    def _question(self, context: Any, run: BackfillRun, plan: "Plan") -> Question | None:
        return question(
            plan,
            of=run.day or run.prompts,
            max_images=run.max_images,
            max_cost_usd=run.max_cost_usd,
            unpriced_model=run.unpriced_model,
            mode=ApprovalMode(context["params"]["approval"]),
        )

    def _ask(self, context: Any, run: BackfillRun, plan: "Plan", asked: Question) -> None:
        """Park the task until somebody answers.

        Raises:
            TaskAwaitingInput: always.
        """
        self.subject, self.body = asked.subject, asked.body
        for name, param in _fields(asked.proposed).items():
            self.params[name] = param
        self.response_timeout = timedelta(hours=self.settings.approval_timeout_hours)
        until = datetime.now(UTC) + self.response_timeout
        try:
            HITLOperator.execute(self, context)
        except TaskAwaitingInput:
            # The question is there to be answered from here on.
            self._record(
                run,
                plan,
                Decision.ASKED,
                until=until.isoformat(),
                max_images=asked.proposed.max_images,
                max_cost_usd=asked.proposed.max_cost_usd,
            )
            url = _address(context)
            alert(
                "backfill_approval",
                f"{asked.subject} Somebody has to answer before {until:%F %H:%M} UTC"
                + (f": {url}" if url else ""),
                run_id=run.run_id,
                until=until.isoformat(),
                url=url,
            )
            # Once people are told, no try asks anew.
            opened = {"open_for": self._answer_key(context), "until": until.isoformat()}
            context["task_state_store"].set(_ASKED, _as_state(asked) | opened)
            raise

    def _decided(
        self, context: Any, run: BackfillRun, plan: "Plan", answer: Answer
    ) -> dict[str, Any]:
        """Do what an answer says.

        Raises:
            AirflowSkipException: it is a rejection.
        """
        who = answer.by or "somebody"
        if not answer.approved:
            self._record(run, plan, Decision.REJECTED, by=answer.by, at=answer.at)
            raise AirflowSkipException(
                f"{who} rejected it at {answer.at}: nothing was launched, nothing was charged"
            )
        store = context["task_state_store"]
        # As the person has seen it.
        proposed = Proposal(**store.get(_ASKED)["proposed"])
        try:
            approved = granted(answer, proposed)
        except ValueError as error:
            raise AirflowFailException(
                f"the answer cannot be used: {error}. Clear this task to be asked again"
            ) from None
        if not approved.covers(plan):
            raise AirflowFailException(_ANOTHER_PLAN)
        store.set(_APPROVED, approved.to_json())
        self._record(run, plan, Decision.APPROVED, **approved.to_json())
        self.log.info("%s", _sentence(approved))
        return approved.to_json()

    def _refuse_without_answer(self, run: BackfillRun, plan: "Plan", event: dict[str, Any]) -> None:
        if event.get("error_type") != "timeout":
            raise AirflowException(f"Airflow could not take the answer: {event['error']}")
        self._record(run, plan, Decision.UNANSWERED)
        hours = self.settings.approval_timeout_hours
        raise AirflowFailException(
            f"nobody has answered within {hours:g} h (IMAGEN_APPROVAL_TIMEOUT_HOURS), so nothing "
            "was launched, nothing was charged. Clear this task to be asked again"
        )

    def _record(self, run: BackfillRun, plan: "Plan", decision: Decision, **facts: Any) -> None:
        from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record

        record = backfill_record(
            run,
            plan,
            at=datetime.now(UTC),
            state=decision.value,
            job_id=None,
            reconciliation=Reconciliation.without_job(),
            approval={"decision": decision.value, **facts},
        )
        self.clients.history(BACKFILL_RECORDS).put(record)

    def _answer_key(self, context: Any) -> str:
        # Clearing a task adds its retries to the tries that it has had (`clear_task_instances`), so
        # an answer is one for the tries since then.
        return _ANSWERED.format(first_try=context["ti"].max_tries - self.retries + 1)


def _as_state(asked: Question) -> dict[str, Any]:
    return {"key": asked.key, "proposed": dataclasses.asdict(asked.proposed)}


def _fields(proposed: Proposal | None) -> dict[str, Param]:
    """Return the fields of the answer, which have the names that they have in the run's form."""
    return {
        "max_images": field(
            proposed and proposed.max_images,
            "integer",
            "Maximum images",
            "The run's budget of images, with all its tries.",
            minimum=1,
        ),
        "max_cost_usd": field(
            proposed and proposed.max_cost_usd,
            "number",
            "Maximum cost (USD)",
            "The run's budget in US dollars, with all its tries. Lower it to approve up to a sum. "
            "Leave it empty for a model without a known price.",
            exclusiveMinimum=0,
        ),
    }


def _sentence(approved: Approval) -> str:
    usd = "" if approved.max_cost_usd is None else f" and {approved.max_cost_usd:,.2f} USD"
    return (
        f"approved by {approved.by or 'somebody'} at {approved.at}: up to "
        f"{approved.max_images:,} images{usd}, with all tries of the run"
    )


def _address(context: Any) -> str | None:
    """Return where to answer; None if Airflow doesn't know its own address."""
    try:
        return HITLOperator.generate_link_to_ui_from_context(context=context)
    except ValueError:
        return None
