"""The tasks that start and stop the stream."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from typing_extensions import override

from imagen_ops.dag.limits import refuse_not_allowed
from imagen_ops.dag.lineage import Lineage
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.errors import ApiError
from imagen_ops.jobs.launch_request import run_label_of
from imagen_ops.jobs.params import JobForm
from imagen_ops.records.actions import Stage
from imagen_ops.records.launches import Drain
from imagen_ops.stream.launcher import StreamLauncher
from imagen_ops.stream.start_decision import OnActive
from imagen_ops.stream.wanted import WantedState, refuse_if_drained, requester_of


class LaunchStream(ImagenOperator):
    """Launch the stream, or update or adopt the active job; then record that it should run.

    However often the task is tried, and whatever else starts the stream at the same time, one job
    is active afterwards. If another job takes the name meanwhile, the task fails and is retried.
    If somebody has drained the stream since this run began, the task stops the job again, and fails
    without a retry.

    The task returns the job's id.
    """

    @override
    def act(self, context: Any) -> str:
        dag_run, form = context["dag_run"], JobForm.from_fields(context["params"])
        refuse_not_allowed(self.settings, form, "stream_template")
        launcher = StreamLauncher(self.settings, self.clients.dataflow)
        refuse_if_drained(self._drained(launcher, dag_run))
        run_label = run_label_of(dag_run.dag_id, dag_run.run_id)
        started = launcher.start(form, OnActive(context["params"]["on_active"]), run_label)
        job = started.job
        self.link(job)
        self.log.info(
            "job %s was %s",
            job.id,
            "already active, and is kept" if started.already_active else "launched",
        )
        if drain := self._drained(launcher, dag_run):  # it may not have seen this job
            launcher.stop(job)
            refuse_if_drained(drain)
        last_request = WantedState.load()
        # A job that was already active still runs with the form of its own start.
        keep_form = started.already_active and last_request.form
        request = WantedState(
            wanted=True,
            by=requester_of(dag_run),
            at=dag_run.start_date,
            form=last_request.form if keep_form else form.to_json(),
        )
        request.save()
        # A drain notes itself first and then writes the Variable. So either it is noted by now, or
        # it writes after this task has.
        if drain := self._drained(launcher, dag_run):
            dataclasses.replace(request, wanted=False, by=drain.by, at=drain.at).save()
            launcher.stop(job)
            refuse_if_drained(drain)
        template = None if started.already_active else self.settings.stream_template
        image = template and self.clients.storage.template_image(template)
        self.note(context, Stage.LAUNCHED, job=job, form=request.form, image=image)
        self.lineage = Lineage.of_stream(self.settings)
        return job.id

    def _drained(self, launcher: StreamLauncher, dag_run: Any) -> Drain | None:
        return WantedState.load().drain_since(dag_run.start_date, launcher.last_drain())


class DrainStream(ImagenOperator):
    """Record that the stream should not run, then ask its job to drain.

    The order matters: a start that is under way must notice the drain, and the health check must
    not restart a job that is ending.

    The task returns the job's id, or None if no job is active. During an update there are two
    jobs; it then returns the old one, which has taken prompts.
    """

    @override
    def act(self, context: Any) -> str | None:
        launcher = StreamLauncher(self.settings, self.clients.dataflow)
        drain = Drain(at=datetime.now(UTC), by=requester_of(context["dag_run"]))
        launcher.note_drain(drain)
        form = WantedState.load().form
        WantedState(wanted=False, by=drain.by, at=drain.at, form=form).save()
        jobs = launcher.stop()
        self.note(
            context, Stage.STOPPING, job=jobs[-1] if jobs else None, form=dict(context["params"])
        )
        if not jobs:
            self.log.info("no job named %s is active", self.settings.stream_job_name)
            return None
        self.link(jobs[-1])
        self.log.info(
            "job %s takes no more prompts, and ends once it has finished those it has", jobs[-1].id
        )
        return jobs[-1].id


class CancelStream(ImagenOperator):
    """Cancel a job that is still draining. The task is skipped if the job has ended.

    The task returns the job's id.

    Args:
        job_id: the job to cancel; None if no job was active.
    """

    template_fields = ("job_id",)

    def __init__(self, *, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    @override
    def act(self, context: Any) -> str:
        job = self.clients.dataflow.get(self.job_id) if self.job_id else None
        if job is None or job.state.terminal:
            raise AirflowSkipException("no job to cancel: none was active, or it has already ended")
        self.link(job)
        self.log.warning(
            "job %s is still %s: cancelling it. Its prompts in progress are delivered again to the "
            "next stream. Images that are already stored are not paid for again",
            job.id,
            job.state,
        )
        self.clients.dataflow.cancel(job.id)
        self.note(context, Stage.CANCELLING, job=job)
        return job.id


class ReportDrained(ImagenOperator):
    """Report how the stream ended and how many prompts remain in its backlog.

    The task returns `{"state", "counters", "backlog", "oldest_seconds"}`: the job's final state and
    counters, the number of prompts in the backlog, and the age of the oldest. A value that is
    unknown is None.

    Args:
        job_id: the job that has ended; None if no job was active.
    """

    template_fields = ("job_id",)

    def __init__(self, *, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    @override
    def act(self, context: Any) -> dict[str, Any]:
        job, counters = None, {}
        if self.job_id:
            job = self.clients.dataflow.get(self.job_id)
            self.link(job)
            counters = self.clients.dataflow.counters(job.id)
        size = self._metric("num_undelivered_messages")
        age = self._metric("oldest_unacked_message_age")
        remaining = "unknown" if size is None else f"{size:,.0f} prompts"
        self.note(
            context,
            Stage.ENDED,
            job=job,
            backlog_size=size,
            backlog_age=age,
            counters=dict(counters),
        )
        self.log.info(
            "%s. Backlog of %s: %s. Prompts wait there until a stream starts, for at most the "
            "subscription's retention period",
            f"job {job.id} is {job.state}" if job else "no job was active",
            self.settings.prompts_subscription,
            remaining,
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
