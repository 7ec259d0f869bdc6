"""Checks, before a start, that its form makes sense and that everything it needs exists."""

from collections.abc import Callable
from functools import partial
from typing import Any

from airflow.sdk.exceptions import AirflowFailException
from typing_extensions import override

from imagen_ops.dag.limits import refuse_not_allowed
from imagen_ops.dag.model_check import check_model
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.errors import ApiError
from imagen_ops.jobs.params import JobForm
from imagen_ops.records.actions import Stage


class CheckPrerequisites(ImagenOperator):
    """Check the form, that topics, subscriptions, bucket and template exist, and the model.

    If anything is missing, or Airflow may not look at it, the task fails without a retry. Its one
    error lists everything. If a service does not answer, the task is retried.
    """

    @override
    def act(self, context: Any) -> None:
        form = JobForm.from_fields(context["params"])
        # First of all: nothing is asked of anybody else's project.
        refuse_not_allowed(self.settings, form, "stream_template")
        self.note(context, Stage.REQUESTED, form=dict(context["params"]))
        if contradictions := form.contradictions():
            raise AirflowFailException("\n".join(["the form contradicts itself:", *contradictions]))
        prerequisites = self._prerequisites()
        problems: list[str] = []
        for name, exists in prerequisites.items():
            try:
                if not exists():
                    problems.append(f"{name}: does not exist")
            except ApiError as error:
                if error.transient:
                    raise
                problems.append(f"{name}: {error}")
        if problems:
            raise AirflowFailException(
                "\n".join(
                    [
                        "the stream cannot start, because prerequisites are missing:",
                        *(f"  {line}" for line in problems),
                        "composer.tf creates them, under the names that the IMAGEN_* settings "
                        "give. Apply it, or correct the settings.",
                    ]
                )
            )
        self.log.info("all prerequisites exist: %s", ", ".join(prerequisites))
        check_model(self.settings, self.clients, form)

    def _prerequisites(self) -> dict[str, Callable[[], bool]]:
        """Return by name what has to exist, with the call that checks it."""
        settings, pubsub, storage = self.settings, self.clients.pubsub, self.clients.storage
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
        bucket, template = settings.bucket, settings.stream_template
        return {
            **{f"topic {name}": partial(pubsub.topic_exists, name) for name in topics},
            **{
                f"subscription {name}": partial(pubsub.subscription_exists, name)
                for name in subscriptions
            },
            f"bucket gs://{bucket}": partial(storage.bucket_exists, bucket),
            f"template {template}": partial(storage.object_exists, template),
        }
