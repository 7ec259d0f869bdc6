"""The tasks that wait for a job to change its state."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException
from typing_extensions import override

from imagen_ops.dag.tasks import ImagenSensor
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import run_label_of
from imagen_ops.records.actions import Stage
from imagen_ops.stream.launcher import StreamLauncher
from imagen_ops.stream.start_decision import OnActive, Step
from imagen_ops.stream.wanted import WantedState, refuse_if_drained

_NEXT = {
    Step.LAUNCH: "its name is free",
    Step.ADOPT: "it is kept",
    Step.UPDATE: "another takes over from it",
    Step.DRAIN: "it has to end first: draining it",
    Step.CANCEL: "it has to end first, and has not taken any prompt yet: cancelling it",
    Step.WAIT: "waiting until it has changed its state",
}

# How much of a failed job's error messages goes into the task's error.
_MAX_MESSAGES = 3
_MAX_CHARS = 2000
# Where the state of the waiting task has the id of a job that the drain itself did not see.
_DRAINED_JOB = "drained_job"


class MakeWaySensor(ImagenSensor):
    """Wait until the stream can be launched, updated or adopted.

    If the active job has to end first, drain or cancel it; `imagen_ops.stream.start_decision`
    decides. If somebody drains the stream meanwhile, the task fails without a retry.
    """

    @override
    def check(self, context: Any) -> bool:
        dag_run = context["dag_run"]
        launcher = StreamLauncher(self.settings, self.clients.dataflow)
        drain = WantedState.load().drain_since(dag_run.start_date, launcher.last_drain())
        refuse_if_drained(drain)
        step, active = launcher.next_step(
            OnActive(context["params"]["on_active"]), run_label_of(dag_run.dag_id, dag_run.run_id)
        )
        if active is None:
            self.log.info("no job is called %s: one can be launched", self.settings.stream_job_name)
            return True
        self.link(active)
        self.log.info("%s; %s", active.standing, _NEXT[step])
        if step in (Step.DRAIN, Step.CANCEL):
            self.note(context, Stage.STOPPING, job=active)
        if step is Step.DRAIN:
            self.clients.dataflow.drain(active.id)
        elif step is Step.CANCEL:
            self.clients.dataflow.cancel(active.id)
        return step in (Step.LAUNCH, Step.ADOPT, Step.UPDATE)


class JobRunningSensor(ImagenSensor):
    """Wait until the job is RUNNING.

    The task fails without a retry if the job has ended, or if somebody is stopping it.

    The task returns the job's id.

    Args:
        job_id: the job to wait for.
    """

    template_fields = ("job_id",)

    def __init__(self, *, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    @override
    def check(self, context: Any) -> PokeReturnValue:
        job = self.clients.dataflow.get(self.job_id)
        self.link(job)
        self.log.info("%s", job.standing)
        if job.state.terminal:
            raise AirflowFailException(
                f"job {job.id} is {job.state}, expected RUNNING. {self._last_errors(job)}"
            )
        if job.state.stopping:
            raise AirflowFailException(
                f"job {job.id} is {job.state}: somebody is stopping it while this run starts it. "
                "Agree on whether the stream should run, then run imagen_stream_start again"
            )
        if job.state is JobState.RUNNING:
            self.note(context, Stage.RUNNING, job=job)
        return PokeReturnValue(job.state is JobState.RUNNING, job.id)

    def _last_errors(self, job: Job) -> str:
        messages = self.clients.dataflow.errors(job.id)[-_MAX_MESSAGES:]
        text = "\n".join(message.text for message in messages)[-_MAX_CHARS:]
        if not text:
            return "It logged no error messages; follow this task's link to its logs"
        return f"Its last error messages:\n{text}"


class JobEndedSensor(ImagenSensor):
    """Wait until the job has ended, or has been draining or cancelling for `give_up_minutes`.

    The task returns the job's state, or None if there is no job.

    Args:
        job_id: the job to wait for; None if there is none.
        give_up_minutes: how long the job may be draining or cancelling before the waiting ends, in
            minutes. 0: until the task's time-out.
    """

    template_fields = ("job_id", "give_up_minutes")

    def __init__(self, *, job_id: Any, give_up_minutes: Any = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.give_up_minutes = give_up_minutes

    @override
    def check(self, context: Any) -> PokeReturnValue:
        if not self.job_id:
            self.log.info("no job was active, so there is none to wait for")
            return PokeReturnValue(True, None)
        job = self.clients.dataflow.get(self.job_id)
        self.link(job)
        self.log.info("%s", job.standing)
        return PokeReturnValue(job.state.terminal or self._gives_up(job), job.state.value)

    def _gives_up(self, job: Job) -> bool:
        limit = timedelta(minutes=float(self.give_up_minutes))
        if not limit or not job.state.stopping or job.state_since is None:
            return False
        return datetime.now(UTC) - job.state_since > limit


class StreamDrainedSensor(JobEndedSensor):
    """Wait until the drained job has ended, and until no launch that was under way has led to one.

    A drain may come before the job of a start is visible to anybody: then the drain has found no
    job, and stops that job here.

    The task returns the id of the job that has ended, or None if there was none.
    """

    @override
    def check(self, context: Any) -> PokeReturnValue:
        launcher = StreamLauncher(self.settings, self.clients.dataflow)
        store = context["task_state_store"]
        # A start that was requested after the drain counts more than the drain.
        if not WantedState.load().wanted:
            if jobs := launcher.stop():
                store.set(_DRAINED_JOB, jobs[-1].id)
            elif launcher.launch_under_way():
                self.log.info("a launch is under way, whose job may still appear")
                return PokeReturnValue(False)
        self.job_id = store.get(_DRAINED_JOB) or self.job_id
        ended = super().check(context)
        return PokeReturnValue(ended.is_done, self.job_id)
