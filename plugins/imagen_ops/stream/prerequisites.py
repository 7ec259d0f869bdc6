"""Whether all that a start needs is there, and its form makes sense."""

from collections.abc import Callable
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.errors import ApiError
from imagen_ops.jobs.job_form import JobForm


class CheckPrerequisites(ImagenOperator):
    """Look at the form, and for topics, subscriptions, bucket and template.

    One message lists all that is missing.
    """

    def act(self, context: Any) -> None:
        """Fail, without a retry, if anything is missing or may not be looked at."""
        if wrong := JobForm.of(context["params"]).contradictions():
            raise AirflowFailException("\n".join(["the form contradicts itself:", *wrong]))
        missing: list[str] = []
        for what, is_there in self._all().items():
            try:
                if not is_there():
                    missing.append(f"{what}: not there")
            except ApiError as error:
                if error.passing:
                    raise
                missing.append(f"{what}: {error}")
        if missing:
            raise AirflowFailException(
                "\n".join(
                    [
                        "cannot start, since this is missing:",
                        *(f"  {line}" for line in missing),
                        "composer.tf creates all of it; the names come from the IMAGEN_* settings.",
                    ]
                )
            )
        self.log.info("all of it is there: %s", ", ".join(self._all()))

    def _all(self) -> dict[str, Callable[[], bool]]:
        settings, messages, objects = self.settings, self.clients.pubsub, self.clients.storage
        topics = map(
            settings.topic,
            (settings.prompts_topic, settings.predictions_topic, settings.dead_letters_topic),
        )
        subscriptions = map(
            settings.subscription,
            (
                settings.prompts_subscription,
                settings.predictions_subscription,
                settings.canary_subscription,
                settings.dead_letters_subscription,
            ),
        )
        return {
            **{f"topic {name}": _asking(messages.topic_exists, name) for name in topics},
            **{
                f"subscription {name}": _asking(messages.subscription_exists, name)
                for name in subscriptions
            },
            f"bucket gs://{settings.bucket}": _asking(objects.bucket_exists, settings.bucket),
            f"template {settings.stream_template}": _asking(
                objects.object_exists, settings.stream_template
            ),
        }


def _asking(ask: Callable[[str], bool], name: str) -> Callable[[], bool]:
    return lambda: ask(name)
