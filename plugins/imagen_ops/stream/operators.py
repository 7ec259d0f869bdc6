"""Starting and stopping the stream."""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.errors import ApiError
from imagen_ops.jobs.job_form import JobForm
from imagen_ops.jobs.launch_request import run_label_of
from imagen_ops.stream.launcher import StreamLauncher
from imagen_ops.stream.start_decision import OnActive
from imagen_ops.stream.wanted import WantedState, asked_by, refuse_if_drained


class LaunchStream(ImagenOperator):
    """Launch the stream, or adopt the one that is there; then remember that it should run.

    However often it is tried, and whoever else starts at the same time, one job is active after
    it. Whoever drained the stream since this run began has the last word. The result is the job's
    id.
    """

    def act(self, context: Any) -> str:
        """See the class. An AirflowException, to be tried again, if the name is in use anew."""
        dag_run, form = context["dag_run"], JobForm.of(context["params"])
        refuse_if_drained(WantedState.load(), dag_run)
        label = run_label_of(dag_run.dag_id, dag_run.run_id)
        streams = StreamLauncher(self.settings, self.clients.dataflow)
        started = streams.start(form, OnActive(context["params"]["on_active"]), label)
        self.link(started.job)
        self.log.info("%s", started)
        before = WantedState.load()
        if before.drained_since(dag_run):  # and may have looked before this job was there
            streams.end()
        refuse_if_drained(before, dag_run)
        WantedState(
            wanted=True,
            by=asked_by(dag_run),
            at=datetime.now(UTC),
            # A job that is kept has what it was started with, not what this form says.
            form=before.form if started.kept and before.form else form.to_json(),
        ).save()
        return started.job.id


class DrainStream(ImagenOperator):
    """Remember that the stream should not run, then ask its job to drain.

    The order matters: health must not start again what is on its way out. The result is the job's
    id, or None if no job is active; of two, one of which was to replace the other, that which had
    prompts.
    """

    def act(self, context: Any) -> str | None:
        """See the class."""
        before = WantedState.load()
        WantedState(False, asked_by(context["dag_run"]), datetime.now(UTC), before.form).save()
        jobs = StreamLauncher(self.settings, self.clients.dataflow).end()
        if not jobs:
            self.log.info("no active job is called %s", self.settings.stream_job_name)
            return None
        self.link(jobs[-1])
        return jobs[-1].id


class CancelStream(ImagenOperator):
    """Cancel a job that is still draining; skipped if it has ended."""

    template_fields = ("job_id",)

    def __init__(self, *, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    def act(self, context: Any) -> str:
        """See the class."""
        job = self.clients.dataflow.get(self.job_id) if self.job_id else None
        if job is None or job.state.terminal:
            raise AirflowSkipException("the job has ended by itself")
        self.link(job)
        self.log.warning(
            "%s has been draining for too long: cancelling it. Prompts under way are delivered "
            "again to the next stream; what is stored already is found and not paid again",
            job,
        )
        self.clients.dataflow.cancel(job.id)
        return job.id


class ReportDrained(ImagenOperator):
    """Say how the stream ended and what is left in its backlog.

    The result: `{"state", "counters", "backlog", "oldest_seconds"}`; what cannot be read is None.
    """

    template_fields = ("job_id",)

    def __init__(self, *, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    def act(self, context: Any) -> dict[str, Any]:
        """See the class."""
        job, counters = None, {}
        if self.job_id:
            job = self.clients.dataflow.get(self.job_id)
            self.link(job)
            counters = self.clients.dataflow.counters(job.id)
        size = self._metric("num_undelivered_messages")
        age = self._metric("oldest_unacked_message_age")
        left = "unknown" if size is None else f"{size:,.0f} prompts"
        self.log.info(
            "%s. Left in %s: %s; they wait there, for up to its retention, until a stream starts",
            f"{job} has ended" if job else "no job was active",
            self.settings.prompts_subscription,
            left,
        )
        return {
            "state": job.state.value if job else None,
            "counters": counters,
            "backlog": None if size is None else int(size),
            "oldest_seconds": age,
        }

    def _metric(self, name: str) -> float | None:
        try:
            reading = self.clients.monitoring.newest(
                f"pubsub.googleapis.com/subscription/{name}",
                at=datetime.now(UTC),
                resource__subscription_id=self.settings.prompts_subscription,
            )
        except ApiError as error:
            self.log.warning("%s", error)
            return None
        return reading.value if reading else None
