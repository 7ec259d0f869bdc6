"""A canary: a message that the stream passes through without a model call, for nothing."""

import uuid
from datetime import UTC, datetime
from typing import Any

from imagen_ops.desired import Desired
from imagen_ops.errors import ApiError
from imagen_ops.jobs import JobState
from imagen_ops.tasks import Task


class SendCanary(Task):
    """Publish a canary to the stream's topic. The result is `{"name", "sent_at"}`."""

    def act(self, context: Any) -> dict[str, str] | None:
        """See the class."""
        name, sent_at = uuid.uuid4().hex, datetime.now(UTC)
        self.clients.messages.send_canary(self.settings.topic(self.settings.prompts_topic), name)
        return {"name": name, "sent_at": sent_at.isoformat()}


class ProbeWithCanary(SendCanary):
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
            runs = Desired.load().wanted
        if not runs:
            self.log.info("no canary: no job runs that could return it")
            return None
        try:
            return super().act(context)
        except ApiError as error:
            self.log.warning("%s", error)
            return {"error": str(error)}
