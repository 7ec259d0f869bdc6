"""Waiting for what becomes of a job."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.dag.tasks import ImagenSensor
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import run_label_of
from imagen_ops.stream.launcher import StreamLauncher
from imagen_ops.stream.start_decision import OnActive, Step
from imagen_ops.stream.wanted import WantedState, refuse_if_drained

# Of what a job that failed has said, this much goes into the task's error.
_SAID = 3
_SAID_CHARS = 2000


class MakeWaySensor(ImagenSensor):
    """Wait until the stream can be launched; where a job has to go first, send it away.

    `imagen_ops.stream.start_decision` decides what has to go. A drain that somebody asks for
    meanwhile has the last word.
    """

    def check(self, context: Any) -> bool:
        """See the class."""
        dag_run = context["dag_run"]
        refuse_if_drained(WantedState.load(), dag_run)
        step, active = StreamLauncher(self.settings, self.clients.dataflow).step(
            OnActive(context["params"]["on_active"]), run_label_of(dag_run.dag_id, dag_run.run_id)
        )
        if active is None:
            return True
        self.link(active)
        self.log.info("%s is %s: %s", active.id, active.state, step)
        if step is Step.DRAIN:
            self.clients.dataflow.drain(active.id)
        elif step is Step.CANCEL:
            self.clients.dataflow.cancel(active.id)
        return step in (Step.LAUNCH, Step.ADOPT, Step.UPDATE)


class JobRunningSensor(ImagenSensor):
    """Wait until the job runs. The result is its id."""

    template_fields = ("job_id",)

    def __init__(self, *, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    def check(self, context: Any) -> PokeReturnValue:
        """See the class. AirflowFailException: it has ended, or somebody is ending it."""
        job = self.clients.dataflow.get(self.job_id)
        self.link(job)
        self.log.info("%s is %s", job.id, job.state)
        if job.state.terminal:
            raise AirflowFailException(f"{job.id} is {job.state}: {self._said(job)}")
        if job.state.stopping:
            raise AirflowFailException(
                f"{job.id} is {job.state}: somebody is stopping it while this run starts it; "
                "agree, then run imagen_stream_start again"
            )
        return PokeReturnValue(job.state is JobState.RUNNING, job.id)

    def _said(self, job: Job) -> str:
        said = [message.text for message in self.clients.dataflow.errors(job.id)[-_SAID:]]
        return "\n".join(said)[-_SAID_CHARS:] or "it has said nothing; look at its logs"


class JobEndedSensor(ImagenSensor):
    """Wait until the job has ended, or `give_up_minutes` are over. The result is its state.

    Args:
        job_id: of the job; None if there is none to wait for.
        give_up_minutes: since this task began to wait; 0: never, until the task's time-out.
    """

    template_fields = ("job_id", "give_up_minutes")

    def __init__(self, *, job_id: Any, give_up_minutes: Any = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.give_up_minutes = give_up_minutes

    def check(self, context: Any) -> PokeReturnValue:
        """See the class."""
        if not self.job_id:
            return PokeReturnValue(True, None)
        job = self.clients.dataflow.get(self.job_id)
        self.link(job)
        self.log.info("%s is %s", job.id, job.state)
        return PokeReturnValue(job.state.terminal or self._patience_is_over(job), job.state.value)

    def _patience_is_over(self, job: Job) -> bool:
        limit = timedelta(minutes=float(self.give_up_minutes))
        if not limit or not job.state.stopping or job.state_since is None:
            return False
        return datetime.now(UTC) - job.state_since > limit
