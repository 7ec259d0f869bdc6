"""Creates the topics, subscriptions, bucket and templates that a deployment has.

They are created through Google's own clients, as Terraform's provider would do it. Existing
resources stay as they are, except templates, which always match the running code.
"""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from google import pubsub_v1
from google.api_core import exceptions as api_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.protobuf import duration_pb2

from beam_jobs import names
from localcloud.clients import raw_client

# A model call can take minutes. Runners extend leases; this is only the initial one. composer.tf
# has ten times as much for prompts: here, what a killed job had in hand should soon come again.
ACK_DEADLINE_S = 60
# For how many days each subscription keeps messages that nobody acknowledges, as in composer.tf.
KEPT_DAYS = {
    names.PROMPTS_SUBSCRIPTION: 31,
    names.PREDICTIONS_SUBSCRIPTION: 7,
    names.CANARY_SUBSCRIPTION: 1,
    names.DEAD_LETTERS_SUBSCRIPTION: 31,
}
_DAY_S = 24 * 3600
_METADATA = Path(__file__).parents[1] / "beam_jobs" / "templates"


@dataclasses.dataclass(frozen=True)
class Names:
    """The names of the resources, the same as in a deployment."""

    project: str = "demo-project"
    bucket: str = "demo-project-imagen"
    region: str = "us-central1"

    # Subscription, topic and filter. Canaries are health probes: people who watch predictions
    # should not see them.
    subscriptions = (
        (names.PROMPTS_SUBSCRIPTION, names.PROMPTS_TOPIC, ""),
        (names.PREDICTIONS_SUBSCRIPTION, names.PREDICTIONS_TOPIC, "NOT attributes:canary"),
        (names.CANARY_SUBSCRIPTION, names.PREDICTIONS_TOPIC, "attributes:canary"),
        (names.DEAD_LETTERS_SUBSCRIPTION, names.DEAD_LETTERS_TOPIC, ""),
    )
    templates = ("stream", "backfill", "prefetch_import")

    def image(self, template: str) -> str:
        """Return the container image of a template. Nothing pulls it here."""
        name = f"imagen-{template.replace('_', '-')}"
        return f"{self.region}-docker.pkg.dev/{self.project}/imagen/{name}:local"


def template_metadata(template: str) -> dict[str, Any]:
    """Return the metadata of a flex template as `composer.tf` puts it together.

    Args:
        template: `stream`, `backfill` or `prefetch_import`.
    """
    own, shared = (
        json.loads((_METADATA / f"{name}.json").read_text(encoding="utf-8"))
        for name in (template, "parameters")
    )
    if template == "prefetch_import":
        return dict(own)
    return {**own, "parameters": [*own["parameters"], *shared]}


def provision(resources: Names, *, pubsub_host: str, storage_url: str) -> None:
    """Create missing resources, and write the templates.

    Args:
        resources: the names of the resources.
        pubsub_host: `HOST:PORT` of Pub/Sub.
        storage_url: URL of Cloud Storage.
    """
    publisher = raw_client(pubsub_v1.PublisherClient, pubsub_host)
    subscriber = raw_client(pubsub_v1.SubscriberClient, pubsub_host)
    path = f"projects/{resources.project}"
    for topic in sorted({topic for _, topic, _ in resources.subscriptions}):
        _create_if_missing(publisher.create_topic, {"name": f"{path}/topics/{topic}"})
    for subscription, topic, filter_text in resources.subscriptions:
        _create_if_missing(
            subscriber.create_subscription,
            {
                "name": f"{path}/subscriptions/{subscription}",
                "topic": f"{path}/topics/{topic}",
                "filter": filter_text,
                "ack_deadline_seconds": ACK_DEADLINE_S,
                "message_retention_duration": duration_pb2.Duration(
                    seconds=KEPT_DAYS[subscription] * _DAY_S
                ),
                # It never expires.
                "expiration_policy": {},
            },
        )
    client = storage.Client(
        project=resources.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": storage_url},
    )
    with contextlib.suppress(api_exceptions.Conflict):
        client.create_bucket(resources.bucket)
    for template in resources.templates:
        spec = {
            "image": resources.image(template),
            "sdkInfo": {"language": "PYTHON"},
            "metadata": template_metadata(template),
            "defaultEnvironment": {"sdkContainerImage": resources.image(template)},
        }
        blob = client.bucket(resources.bucket).blob(f"templates/{template}.json")
        blob.upload_from_string(json.dumps(spec, indent=2), content_type="application/json")


def _create_if_missing(create: object, request: dict[str, object]) -> None:
    assert callable(create)
    with contextlib.suppress(api_exceptions.AlreadyExists):
        create(request=request)
