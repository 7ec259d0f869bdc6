"""The canary: a message that the stream passes through without a model call; sent and awaited."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.dag.tasks import ImagenOperator, ImagenSensor
from imagen_ops.errors import ApiError
from imagen_ops.jobs.job import JobState
from imagen_ops.stream.wanted import WantedState


class SendCanary(ImagenOperator):
    """Publish a canary to the stream's topic. The result is `{"name", "sent_at"}`."""

    def act(self, context: Any) -> dict[str, str] | None:
        """See the class."""
        name, sent_at = uuid.uuid4().hex, datetime.now(UTC)
        self.clients.pubsub.send_canary(self.settings.topic(self.settings.prompts_topic), name)
        return {"name": name, "sent_at": sent_at.isoformat()}


class SendHealthCanary(SendCanary):
    """The same for a health check, which never fails for what it is there to find out.

    Without a job that could return it, none is sent: they would only wait in the backlog. The
    result is then None; with Pub/Sub out of reach it is `{"error"}`.
    """

    def act(self, context: Any) -> dict[str, str] | None:
        """See the class."""
        try:
            job = self.clients.dataflow.active(self.settings.stream_job_name)
            runs = job is not None and job.state is JobState.RUNNING
        except ApiError as error:
            self.log.warning("%s", error)
            runs = WantedState.load().wanted
        if not runs:
            self.log.info("no canary: no job runs that could return it")
            return None
        try:
            return super().act(context)
        except ApiError as error:
            self.log.warning("%s", error)
            return {"error": str(error)}


class CanarySensor(ImagenSensor):
    """Wait until the canary is among the predictions, or the time for it is over.

    The result is `{"sent_at", "returned_at"}`, times by Pub/Sub's clock where there is one;
    `returned_at` is None for a canary that has not come back in time. It is None if none was sent,
    and `{"error"}` if Pub/Sub could not be asked: health has to know that nobody looked.

    Args:
        canary: what the task that sent it returned.
        required: whether a canary that does not come back fails the task. It belongs to a job that
            has just begun to run, then, and is given as long as its workers may take to come up.
    """

    template_fields = ("canary",)

    def __init__(self, *, canary: Any, required: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.canary = canary
        self.required = required

    def check(self, context: Any) -> PokeReturnValue:
        """See the class."""
        if not self.canary or "name" not in self.canary:
            return PokeReturnValue(True, self.canary)
        sent_at = datetime.fromisoformat(self.canary["sent_at"])
        within_s = self._within_s()
        try:
            returned_at = self.clients.pubsub.take_canary(
                self.settings.subscription(self.settings.canary_subscription), self.canary["name"]
            )
        except ApiError as error:
            late = datetime.now(UTC) - sent_at >= timedelta(seconds=within_s)
            if self.required or (error.passing and not late):
                raise
            self.log.warning("%s", error)
            return PokeReturnValue(True, {"error": str(error)})
        if returned_at:
            self.log.info("the canary came back after %s", returned_at - sent_at)
            return PokeReturnValue(True, _result(sent_at, returned_at))
        if datetime.now(UTC) - sent_at < timedelta(seconds=within_s):
            return PokeReturnValue(False)
        text = (
            f"the canary has not come back within {within_s:g} s: the stream "
            f"does not get from {self.settings.prompts_subscription} to "
            f"{self.settings.predictions_topic}. Look at the job's logs, and at the backlog: "
            "behind many prompts a canary waits its turn"
        )
        if self.required:
            raise AirflowFailException(text)
        self.log.warning("%s", text)
        return PokeReturnValue(True, _result(sent_at, None))

    def _within_s(self) -> float:
        if not self.required:
            return self.settings.canary_seconds
        from imagen_ops.health.collect import thresholds_of

        return max(self.settings.canary_seconds, thresholds_of(self.settings).startup_grace_s)


def _result(sent_at: datetime, returned_at: datetime | None) -> dict[str, str | None]:
    return {
        "sent_at": sent_at.isoformat(),
        "returned_at": returned_at.isoformat() if returned_at else None,
    }
