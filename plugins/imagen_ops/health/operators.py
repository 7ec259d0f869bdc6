"""The tasks of the health check: assess the stream, restart it if it died, fail if it is DOWN.

Modules that only the tasks need are imported inside them, because DAG files are parsed every 30 s
by default.
"""

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from typing_extensions import override

from imagen_ops.alerts.alert import alert
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.records.folders import HEALTH_RECORDS, RESTART_RECORDS

if TYPE_CHECKING:
    from imagen_ops.health.assessment.signals import Starts
    from imagen_ops.stream.wanted import WantedState


class AssessStream(ImagenOperator):
    """Collect the signals, decide, keep a record, and alert if the status has changed.

    The task returns the verdict, as `imagen_ops.health.assessment.verdict.Verdict.to_json` writes
    it.

    Args:
        canary: what `CanarySensor` returned.
        start_dag_id: the DAG that starts the stream. Its unfinished runs count.
    """

    template_fields = ("canary",)

    def __init__(self, *, canary: Any, start_dag_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.canary = canary
        self.start_dag_id = start_dag_id

    @override
    def act(self, context: Any) -> dict[str, Any]:
        from imagen_ops.google.rest import explained
        from imagen_ops.health.assessment.decide import assess
        from imagen_ops.health.assessment.verdict import ReasonCode, Status
        from imagen_ops.health.collect import (
            PreviousCheck,
            collect_signals,
            health_record,
            thresholds_of,
        )
        from imagen_ops.stream.wanted import WantedState

        run_id, at = context["run_id"], datetime.now(UTC)
        history = self.clients.history(HEALTH_RECORDS)
        with explained("reading the last health check's record in Cloud Storage"):
            previous = history.last(at)
            if previous and previous["run_id"] == run_id:  # written by an earlier try
                previous = history.last(datetime.fromisoformat(previous["at"]))
        wanted_state = WantedState.load()
        collected = collect_signals(
            self.settings,
            self.clients,
            at=at,
            wanted_state=wanted_state,
            canary=self.canary,
            previous=previous,
            starts=self._starts(context["ti"]),
        )
        if collected.signals.job:
            self.link(collected.signals.job)
        limits = thresholds_of(self.settings, wanted_state.form)
        verdict = assess(collected.signals, limits)
        self.log.info("%s", verdict.headline)
        for reason in verdict.reasons[1:]:
            self.log.info("%s %s: %s", reason.status, reason.code, reason.text)
        with explained("writing this health check's record to Cloud Storage"):
            history.put(
                health_record(run_id, collected, verdict, limits=limits, form=wanted_state.form)
            )
        last = PreviousCheck.of(previous).previous
        if verdict.status is not (last.status if last else Status.HEALTHY):
            alert(
                "stream_verdict",
                verdict.headline,
                status=verdict.status.value,
                before=last.status.value if last else None,
                reasons=[reason.code.value for reason in verdict.reasons],
                run_id=run_id,
            )
        stuck = [each for each in verdict.reasons if each.code is ReasonCode.START_STUCK]
        if stuck and not (last and ReasonCode.START_STUCK in last.codes):
            alert("stream_start_stuck", stuck[0].text, run_id=run_id)
        return verdict.to_json()

    def _starts(self, ti: Any) -> "Starts":
        from imagen_ops.health.assessment.signals import Starts

        unfinished = ti.get_dr_count(dag_id=self.start_dag_id, states=["queued", "running"])
        paused = bool(unfinished) and ti.get_dag(dag_id=self.start_dag_id).is_paused
        return Starts(unfinished, paused)


class RestartStream(ImagenOperator):
    """Start the stream again, with the form of its last start, if the verdict says so.

    The task is skipped if the verdict does not say so, and if the stream should not run any more. A
    run of the start DAG at the same time does no harm: one of both launches the job, and the other
    adopts it. The task fails, without starting anything, once the
    restarts that the settings allow per hour are used up: a stream that keeps dying needs a person.

    The task returns the job's id.

    Args:
        verdict: what `AssessStream` returned.
        start_dag_id: the DAG that starts the stream.
    """

    template_fields = ("verdict",)

    def __init__(self, *, verdict: Any, start_dag_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verdict = verdict
        self.start_dag_id = start_dag_id

    @override
    def act(self, context: Any) -> str:
        from imagen_ops.dag.limits import refuse_not_allowed
        from imagen_ops.dag.lineage import Lineage
        from imagen_ops.health.assessment.verdict import Verdict
        from imagen_ops.health.restart_guard import claim_restart
        from imagen_ops.jobs.launch_request import run_label_of
        from imagen_ops.jobs.params import JobForm
        from imagen_ops.records.actions import Stage
        from imagen_ops.stream.launcher import StreamLauncher
        from imagen_ops.stream.start_decision import OnActive
        from imagen_ops.stream.wanted import WantedState

        if not Verdict.from_json(self.verdict).restart:
            raise AirflowSkipException("the verdict calls for no restart")
        wanted_state = WantedState.load()
        if not wanted_state.wanted or not wanted_state.form:
            raise _unwanted(wanted_state)
        launcher = StreamLauncher(self.settings, self.clients.dataflow)
        # Normally the Variable says so. It may not, if the start that a drain overrode has died.
        if drain := wanted_state.drain_since(wanted_state.at, launcher.last_drain()):
            unwanted = dataclasses.replace(wanted_state, wanted=False, by=drain.by, at=drain.at)
            unwanted.save()
            raise _unwanted(unwanted)
        # A limit may be narrower than at the last start.
        form = JobForm.from_fields(wanted_state.form)
        refuse_not_allowed(self.settings, form, "stream_template")
        run_id = context["run_id"]
        claim_restart(
            self.clients.history(RESTART_RECORDS),
            run_id=run_id,
            max_per_hour=self.settings.restarts_per_hour,
            start_dag_id=self.start_dag_id,
        )
        job = launcher.start(form, OnActive.KEEP, run_label_of(self.dag_id, run_id)).job
        self.link(job)
        # A drain that came meanwhile may have found no job to stop.
        if not (wanted_state := WantedState.load()).wanted:
            launcher.stop(job)
            raise _unwanted(wanted_state)
        self.lineage = Lineage.of_stream(self.settings)
        self.log.info("restarted the stream: job %s", job.id)
        image = self.clients.storage.template_image(self.settings.stream_template)
        self.note(context, Stage.LAUNCHED, job=job, form=form.to_json(), image=image)
        alert("stream_restart", f"the stream was restarted: job {job.id}", run_id=run_id)
        return job.id


class FailWhenDown(ImagenOperator):
    """Fail the run if the stream is DOWN or could not be assessed, so that somebody notices.

    The task returns the verdict's headline.

    Args:
        verdict: what `AssessStream` returned; None if that task failed.
    """

    template_fields = ("verdict",)

    def __init__(self, *, verdict: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verdict = verdict

    @override
    def act(self, context: Any) -> str:
        from imagen_ops.health.assessment.verdict import Status, Verdict

        if not self.verdict:
            raise AirflowFailException(
                "there is no verdict: read the log of the task assess to see why it failed"
            )
        verdict = Verdict.from_json(self.verdict)
        if verdict.status is Status.DOWN:
            raise AirflowFailException(verdict.headline)
        self.log.info("%s", verdict.headline)
        return verdict.headline


def _unwanted(state: "WantedState") -> AirflowSkipException:
    return AirflowSkipException(f"the stream should not run any more ({state.by})")
