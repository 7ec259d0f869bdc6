"""Sending and awaiting canaries: messages that pass through the stream without a model call."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException
from typing_extensions import override

from imagen_ops.dag.tasks import ImagenOperator, ImagenSensor
from imagen_ops.errors import ApiError
from imagen_ops.jobs.job import JobState
from imagen_ops.settings import SettingsError
from imagen_ops.stream.wanted import WantedState


class SendCanary(ImagenOperator):
    """Sign a canary and publish it to the prompts topic.

    If the key is new, its public key is published first, and the canary waits until every worker
    can have read it.

    The task returns `{"name", "sent_at"}`.
    """

    @override
    def act(self, context: Any) -> dict[str, str] | None:
        from beam_jobs.prompts.canary import READ_EVERY_S, sign
        from imagen_ops.health.canary_keys import private_key

        topic = self.settings.topic(self.settings.prompts_topic)
        key = private_key()
        public_since = self.publish_key(key.public_key().public_bytes_raw())
        if public_since:
            age_s = (datetime.now(UTC) - public_since).total_seconds()
            time.sleep(min(max(0.0, READ_EVERY_S - age_s), READ_EVERY_S))
        name, sent_at = uuid.uuid4().hex, datetime.now(UTC)
        self.clients.pubsub.send_canary(topic, name, sign(name, key))
        self.log.info("published a canary to %s", self.settings.prompts_topic)
        return {"name": name, "sent_at": sent_at.isoformat()}

    def publish_key(self, public_key: bytes) -> datetime | None:
        """Let workers accept canaries that are signed with this key.

        Returns:
            Since when the key is public; None if that is unknown.

        Raises:
            ApiError: Cloud Storage refuses, or does not answer.
        """
        from imagen_ops.health.canary_keys import publish

        return publish(self.clients.storage.client(), self.settings.canary_keys, public_key)


class SendHealthCanary(SendCanary):
    """Publish a canary for a health check. Never fails because of what the check should detect.

    If no job is RUNNING that could return the canary, none is sent: it would only add to the
    backlog.

    The task returns `{"name", "sent_at"}`, None if no canary was sent, or `{"error"}` if calls to
    Pub/Sub failed, or if there is no key to sign with.
    """

    @override
    def act(self, context: Any) -> dict[str, str] | None:
        try:
            job = self.clients.dataflow.active(self.settings.stream_job_name)
            running = job is not None and job.state is JobState.RUNNING
        except ApiError as error:
            self.log.warning("%s", error)
            running = WantedState.load().wanted
        if not running:
            self.log.info("no canary sent, because no job is RUNNING that could return it")
            return None
        try:
            return super().act(context)
        except (ApiError, SettingsError) as error:
            self.log.warning("%s", error)
            return {"error": str(error)}

    @override
    def publish_key(self, public_key: bytes) -> datetime | None:
        try:
            return super().publish_key(public_key)
        except ApiError as error:
            # Most likely it was published long ago. If not, the canary doesn't come back.
            self.log.warning("%s. The canary is sent all the same", error)
            return None


class CanarySensor(ImagenSensor):
    """Wait until the canary is among the predictions, or until its time limit.

    The task returns `{"sent_at", "returned_at"}`, with Pub/Sub's own times where they are known.
    `returned_at` is None if the canary has not come back in time. The task returns None if no
    canary was sent, and `{"error"}` if calls to Pub/Sub failed: the health check has to know that
    nobody looked for the canary.

    Args:
        canary: what the task that sent the canary returned.
        required: whether a canary that does not come back fails the task. This is for a job that
            has just started. Its time limit is then at least the start-up grace, because the job's
            workers may still be coming up.
    """

    template_fields = ("canary",)

    def __init__(self, *, canary: Any, required: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.canary = canary
        self.required = required

    @override
    def check(self, context: Any) -> PokeReturnValue:
        from imagen_ops.health.assessment.formatting import duration

        if not self.canary or "name" not in self.canary:
            self.log.info("no canary was sent, so there is none to wait for")
            return PokeReturnValue(True, self.canary)
        sent_at = datetime.fromisoformat(self.canary["sent_at"])
        limit_s = self._limit_s()
        try:
            returned_at = self.clients.pubsub.find_canary(
                self.settings.subscription(self.settings.canary_subscription), self.canary["name"]
            )
        except ApiError as error:
            late = datetime.now(UTC) - sent_at >= timedelta(seconds=limit_s)
            if self.required or (error.transient and not late):
                raise
            self.log.warning("%s", error)
            return PokeReturnValue(True, {"error": str(error)})
        if returned_at:
            round_trip = (returned_at - sent_at).total_seconds()
            self.log.info("the canary came back after %s", duration(round_trip))
            return PokeReturnValue(True, _result(sent_at, returned_at))
        if datetime.now(UTC) - sent_at < timedelta(seconds=limit_s):
            return PokeReturnValue(False)
        text = (
            f"the canary has not come back within {duration(limit_s)}: it has not got from "
            f"{self.settings.prompts_subscription} through the stream to "
            f"{self.settings.predictions_topic}. Check the job's logs and the backlog: a canary "
            "waits behind all prompts that were sent before it"
        )
        if self.required:
            raise AirflowFailException(text)
        self.log.warning("%s", text)
        return PokeReturnValue(True, _result(sent_at, None))

    def _limit_s(self) -> float:
        if not self.required:
            return self.settings.canary_seconds
        from imagen_ops.health.collect import thresholds_of

        return max(self.settings.canary_seconds, thresholds_of(self.settings).startup_grace_s)


def _result(sent_at: datetime, returned_at: datetime | None) -> dict[str, str | None]:
    return {
        "sent_at": sent_at.isoformat(),
        "returned_at": returned_at.isoformat() if returned_at else None,
    }
