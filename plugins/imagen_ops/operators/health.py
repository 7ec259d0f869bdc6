"""Looking after the stream: a verdict, a restart where it helps, and a run that tells.

What the work needs is imported where it is done: DAG files are parsed every half minute.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from imagen_ops.alerts import alert
from imagen_ops.clients import HEALTH_RECORDS, RESTART_RECORDS
from imagen_ops.tasks import Task

_RESTART_SCHEMA = "imagen.restart/1"


class AssessStream(Task):
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
        from imagen_ops.desired import Desired
        from imagen_ops.gather import Before, gather, record_of, thresholds_of
        from imagen_ops.health import Status, assess
        from imagen_ops.hooks.rest import explained

        run_id, at = context["run_id"], datetime.now(UTC)
        history = self.clients.history(HEALTH_RECORDS)
        with explained("reading what the last look has left in storage"):
            previous = history.last(at)
            if previous and previous["run_id"] == run_id:  # of an earlier try
                previous = history.last(datetime.fromisoformat(previous["at"]))
        gathered = gather(
            self.settings,
            self.clients,
            at=at,
            desired=Desired.load(),
            canary=self.canary,
            previous=previous,
        )
        if gathered.signals.job:
            self.link(gathered.signals.job)
        verdict = assess(gathered.signals, thresholds_of(self.settings))
        for reason in verdict.reasons:
            self.log.info("%s %s: %s", reason.status, reason.code, reason.text)
        with explained("keeping a record of this look in storage"):
            history.put(record_of(run_id, gathered, verdict))
        before = Before.of(previous).previous
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


class RestartStream(Task):
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
        from imagen_ops.desired import Desired
        from imagen_ops.health import Verdict
        from imagen_ops.launches import JobForm, run_label_of
        from imagen_ops.starting import OnActive
        from imagen_ops.streams import Streams

        if not Verdict.from_json(self.verdict).restart:
            raise AirflowSkipException("nothing to restart")
        desired = Desired.load()
        if not desired.wanted or not desired.form:
            raise AirflowSkipException(f"the stream is not wanted any more: {desired.by}")
        under_way = ("queued", "running")
        if context["ti"].get_dr_count(dag_id=self.start_dag_id, states=list(under_way)):
            raise AirflowSkipException(f"a run of {self.start_dag_id} is starting it")
        self._guard(context["run_id"])
        run_id = context["run_id"]
        streams = Streams(self.settings, self.clients.dataflow)
        started = streams.start(
            JobForm.of(desired.form), OnActive.KEEP, run_label_of(self.dag_id, run_id)
        )
        self.link(started.job)
        if not (now := Desired.load()).wanted:  # whoever drained it may have seen no job
            streams.end()
            raise AirflowSkipException(f"the stream is not wanted any more: {now.by}")
        alert("stream_restart", f"{started.job.id} was started", run_id=run_id)
        return started.job.id

    def _guard(self, run_id: str) -> None:
        """Take one of the hour's restarts, before anything is started.

        Raises:
            AirflowFailException: none is left.
        """
        from imagen_ops.hooks.rest import explained

        history, now = self.clients.history(RESTART_RECORDS), datetime.now(UTC)
        most = self.settings.restarts_per_hour
        record = {"schema": _RESTART_SCHEMA, "run_id": run_id, "at": now.isoformat()}
        with explained("counting the restarts of the last hour in storage"):
            lately = [r for r in history.since(now - timedelta(hours=1)) if r["run_id"] != run_id]
            taken = [one for one in lately if not one["refused"]]
            refused = len(taken) >= most
            history.put({**record, "refused": refused})
        if not refused:
            return
        text = (
            f"not restarting: there were {len(taken)} restarts within an hour, and "
            f"IMAGEN_RESTARTS_PER_HOUR allows {most}. Look at why the job ends (its error is in "
            f"the verdict), mend it, and run {self.start_dag_id}"
        )
        if not any(one["refused"] for one in lately):
            alert("stream_crash_loop", text, run_id=run_id)
        raise AirflowFailException(text)


class FailWhenDown(Task):
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
        from imagen_ops.health import Status, Verdict

        if not self.verdict:
            raise AirflowFailException("there is no verdict: look at why assess failed")
        verdict = Verdict.from_json(self.verdict)
        if verdict.status is Status.DOWN:
            raise AirflowFailException(verdict.headline)
        self.log.info("%s", verdict.headline)
        return verdict.headline
