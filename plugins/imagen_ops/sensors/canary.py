"""Waiting for a canary to come back."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.errors import ApiError
from imagen_ops.tasks import Wait


class CanarySensor(Wait):
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

    def look(self, context: Any) -> PokeReturnValue:
        """See the class."""
        if not self.canary or "name" not in self.canary:
            return PokeReturnValue(True, self.canary)
        sent_at = datetime.fromisoformat(self.canary["sent_at"])
        within_s = self._within_s()
        try:
            returned_at = self.clients.messages.take_canary(
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
        from imagen_ops.gather import thresholds_of

        return max(self.settings.canary_seconds, thresholds_of(self.settings).startup_grace_s)


def _result(sent_at: datetime, returned_at: datetime | None) -> dict[str, str | None]:
    return {
        "sent_at": sent_at.isoformat(),
        "returned_at": returned_at.isoformat() if returned_at else None,
    }
