"""The topics, subscriptions, bucket and templates that a deployment has, made here.

Made through Google's own clients, as Terraform's provider would; what is there already stays,
except templates, which are those of the code that runs.
"""

import contextlib
import dataclasses
import json
from pathlib import Path

from google import pubsub_v1
from google.api_core import exceptions as api_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.protobuf import duration_pb2

from localcloud.clients import raw_client

# A model call may take minutes; runners extend leases, this is only the first.
ACK_DEADLINE_S = 60
# Pub/Sub's default and its least for subscriptions that keep what nobody has taken.
RETENTION_S = 7 * 24 * 3600
_METADATA = Path(__file__).parents[1] / "beam_jobs" / "templates"


@dataclasses.dataclass(frozen=True)
class Names:
    """What the resources are called; the same names as in a deployment."""

    project: str = "demo-project"
    bucket: str = "demo-project-imagen"
    region: str = "us-central1"

    # Subscription, its topic, its filter. Canaries are health probes: people who watch
    # predictions should not see them.
    subscriptions = (
        ("prompts-sub", "prompts", ""),
        ("predictions-sub", "predictions", "NOT attributes:canary"),
        ("canary-sub", "predictions", "attributes:canary"),
        ("dead-letters-sub", "dead-letters", ""),
    )
    templates = ("stream", "backfill")

    def image(self, template: str) -> str:
        """Return the container image of a template, which here nobody pulls."""
        return f"{self.region}-docker.pkg.dev/{self.project}/imagen/imagen-{template}:local"


def provision(names: Names, *, pubsub_host: str, storage_url: str) -> None:
    """Create what is missing, and write the templates."""
    publisher = raw_client(pubsub_v1.PublisherClient, pubsub_host)
    subscriber = raw_client(pubsub_v1.SubscriberClient, pubsub_host)
    path = f"projects/{names.project}"
    for topic in sorted({topic for _, topic, _ in names.subscriptions}):
        _unless_there(publisher.create_topic, {"name": f"{path}/topics/{topic}"})
    for subscription, topic, only in names.subscriptions:
        _unless_there(
            subscriber.create_subscription,
            {
                "name": f"{path}/subscriptions/{subscription}",
                "topic": f"{path}/topics/{topic}",
                "filter": only,
                "ack_deadline_seconds": ACK_DEADLINE_S,
                "message_retention_duration": duration_pb2.Duration(seconds=RETENTION_S),
            },
        )
    client = storage.Client(
        project=names.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": storage_url},
    )
    with contextlib.suppress(api_exceptions.Conflict):
        client.create_bucket(names.bucket)
    for template in names.templates:
        spec = {
            "image": names.image(template),
            "sdkInfo": {"language": "PYTHON"},
            "metadata": json.loads((_METADATA / f"{template}.json").read_text(encoding="utf-8")),
            "defaultEnvironment": {"sdkContainerImage": names.image(template)},
        }
        blob = client.bucket(names.bucket).blob(f"templates/{template}.json")
        blob.upload_from_string(json.dumps(spec, indent=2), content_type="application/json")


def _unless_there(create: object, request: dict[str, object]) -> None:
    assert callable(create)
    with contextlib.suppress(api_exceptions.AlreadyExists):
        create(request=request)
