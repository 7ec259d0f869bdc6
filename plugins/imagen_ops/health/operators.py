"""Looking after the stream: a verdict, a restart where it helps, and a run that tells.

What the work needs is imported where it is done: DAG files are parsed every half minute.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from imagen_ops.alerts.alert import alert
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.records.folders import HEALTH_RECORDS, RESTART_RECORDS


class AssessStream(ImagenOperator):
    """Gather the signals, decide, keep a record, and alert if the verdict is another than before.

    The result is the verdict, as `imagen_ops.health.Verdict.to_json` gives it.

    Args:
        canary: what `CanarySensor` returned.
    """

    template_fields = ("canary",)

    def __init__(self, *, canary: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.canary = canary

    def act(self, context: Any) -> dict[str, Any]:
        """See the class."""
        from imagen_ops.google.rest import explained
        from imagen_ops.health.assessment.decide import assess
        from imagen_ops.health.assessment.verdict import Status
        from imagen_ops.health.collect import (
            PreviousCheck,
            collect_signals,
            health_record,
            thresholds_of,
        )
        from imagen_ops.stream.wanted import WantedState

        run_id, at = context["run_id"], datetime.now(UTC)
        history = self.clients.history(HEALTH_RECORDS)
        with explained("reading what the last look has left in storage"):
            previous = history.last(at)
            if previous and previous["run_id"] == run_id:  # of an earlier try
                previous = history.last(datetime.fromisoformat(previous["at"]))
        collected = collect_signals(
            self.settings,
            self.clients,
            at=at,
            wanted_state=WantedState.load(),
            canary=self.canary,
            previous=previous,
        )
        if collected.signals.job:
            self.link(collected.signals.job)
        verdict = assess(collected.signals, thresholds_of(self.settings))
        for reason in verdict.reasons:
            self.log.info("%s %s: %s", reason.status, reason.code, reason.text)
        with explained("keeping a record of this look in storage"):
            history.put(health_record(run_id, collected, verdict))
        before = PreviousCheck.of(previous).previous
        if verdict.status is not (before.status if before else Status.HEALTHY):
            alert(
                "stream_verdict",
                verdict.headline,
                status=verdict.status.value,
                before=before.status.value if before else None,
                reasons=[reason.code.value for reason in verdict.reasons],
                run_id=run_id,
            )
        return verdict.to_json()


class RestartStream(ImagenOperator):
    """Start the stream again, as it was started last, if the verdict says so.

    Skipped if it does not, and while a start is under way. Fails, without starting anything, when
    there were as many restarts within an hour as the settings allow: what falls over each time
    needs a person.

    Args:
        verdict: what `AssessStream` returned.
        start_dag_id: of the DAG that starts the stream.
    """

    template_fields = ("verdict",)

    def __init__(self, *, verdict: Any, start_dag_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verdict = verdict
        self.start_dag_id = start_dag_id

    def act(self, context: Any) -> str:
        """See the class. The result is the job's id."""
        from imagen_ops.health.assessment.verdict import Verdict
        from imagen_ops.health.restart_guard import take_restart
        from imagen_ops.jobs.job_form import JobForm
        from imagen_ops.jobs.launch_request import run_label_of
        from imagen_ops.stream.launcher import StreamLauncher
        from imagen_ops.stream.start_decision import OnActive
        from imagen_ops.stream.wanted import WantedState

        if not Verdict.from_json(self.verdict).restart:
            raise AirflowSkipException("nothing to restart")
        wanted_state = WantedState.load()
        if not wanted_state.wanted or not wanted_state.form:
            raise AirflowSkipException(f"the stream is not wanted any more: {wanted_state.by}")
        under_way = ("queued", "running")
        if context["ti"].get_dr_count(dag_id=self.start_dag_id, states=list(under_way)):
            raise AirflowSkipException(f"a run of {self.start_dag_id} is starting it")
        run_id = context["run_id"]
        take_restart(
            self.clients.history(RESTART_RECORDS),
            run_id=run_id,
            most_per_hour=self.settings.restarts_per_hour,
            start_dag_id=self.start_dag_id,
        )
        streams = StreamLauncher(self.settings, self.clients.dataflow)
        started = streams.start(
            JobForm.of(wanted_state.form), OnActive.KEEP, run_label_of(self.dag_id, run_id)
        )
        self.link(started.job)
        if not (now := WantedState.load()).wanted:  # whoever drained it may have seen no job
            streams.end()
            raise AirflowSkipException(f"the stream is not wanted any more: {now.by}")
        alert("stream_restart", f"{started.job.id} was started", run_id=run_id)
        return started.job.id


class FailWhenDown(ImagenOperator):
    """Fail the run when the stream is down, or could not be assessed, so that somebody looks.

    Args:
        verdict: what `AssessStream` returned; None if it failed.
    """

    template_fields = ("verdict",)

    def __init__(self, *, verdict: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verdict = verdict

    def act(self, context: Any) -> str:
        """See the class. The result is the verdict in one line."""
        from imagen_ops.health.assessment.verdict import Status, Verdict

        if not self.verdict:
            raise AirflowFailException("there is no verdict: look at why assess failed")
        verdict = Verdict.from_json(self.verdict)
        if verdict.status is Status.DOWN:
            raise AirflowFailException(verdict.headline)
        self.log.info("%s", verdict.headline)
        return verdict.headline
