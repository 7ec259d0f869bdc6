"""What prompts need of Google Cloud, and what is wrong with it.

Each method of `Services` asks one thing, in one request, and returns in a line what it found.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import google.auth
from google.auth import exceptions as auth_exceptions
from google.auth.transport.requests import Request
from google.cloud import pubsub_v1, storage

from beam_jobs.catalog import KNOWN_MODELS, Family, family_of
from beam_jobs.cli.endpoints import DATAFLOW, METADATA, PUBSUB, STORAGE, VERTEX, Endpoint
from beam_jobs.cli.model_check import count_tokens, read_predict_model
from beam_jobs.cli.remedies import LOG_IN, remedy, shortened
from beam_jobs.cli.setup import Named, Setup
from beam_jobs.cli.stream_check import active_jobs
from beam_jobs.images.location import Location

# Of one request. Google's libraries have longer ones, or none.
_TIMEOUT_S = 15.0
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# Of those in roles/storage.objectUser, what storing and reusing images takes.
_RIGHTS = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
# What a subscription has for a topic that was deleted:
# https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions
_DELETED_TOPIC = "_deleted-topic_"


class WrongError(Exception):
    """What is wrong, and what to do."""


class NotAskedError(Exception):
    """Why there was nothing to ask with; another line says what to do."""


class UnknownError(Exception):
    """Why something is not known that nobody needs to have."""


class IdleError(Exception):
    """Why prompts wait, although nothing is wrong."""


class Services:
    """Asks the services. All methods raise `WrongError`, or `NotAskedError`; from any thread.

    Args:
        setup: what to look for.
        endpoints: where the services are, by name.
    """

    def __init__(self, setup: Setup, endpoints: Mapping[str, Endpoint]) -> None:
        self._setup = setup
        self._endpoints = endpoints
        self._finding = threading.Lock()
        self._credentials: Any = None
        self._no_credentials: Exception | None = None

    def account(self) -> str:
        """Find credentials that work, and return their kind and account, never a secret."""
        try:
            found = self._find()
        except auth_exceptions.DefaultCredentialsError as error:
            metadata = self._endpoints[METADATA]
            text = f"none ({shortened(error)}); {LOG_IN}"
            if metadata.overridden and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
                text = f"none, and {metadata} does not answer; start the stand-ins: make up"
            raise WrongError(text) from error
        except Exception as error:
            text = remedy(error, at="what issues their tokens", missing=LOG_IN, denied=LOG_IN)
            raise WrongError(text) from error
        # google-auth's own words for the kinds; empty for kinds that it has none for.
        about = found.get_cred_info() or {}
        kind = about.get("credential_type") or type(found).__module__.rpartition(".")[2]
        account = about.get("principal") or "an account that they don't name"
        source = about.get("credential_source")
        quota = getattr(found, "quota_project_id", None)
        return (
            f"{kind} of {account}"
            + (f", from {source}" if source else "")
            + (f", quota of {quota}" if quota else "")
        )

    def project(self) -> str:
        """Return the project."""
        if not self._setup.project:
            raise WrongError("none; pass --project, or set GOOGLE_CLOUD_PROJECT")
        return self._setup.project

    def topic(self, topic: Named) -> str:
        """Look a topic up."""
        credentials, project = self._ready()
        self._ask(
            lambda: pubsub_v1.PublisherClient(credentials=credentials).get_topic(
                topic=f"projects/{project}/topics/{topic.name}", timeout=_TIMEOUT_S, retry=None
            ),
            PUBSUB,
            missing=f"create it with terraform apply{topic.other}",
            role="roles/pubsub.viewer",
        )
        return "exists"

    def subscription(self, subscription: Named) -> str:
        """Look a subscription up, and whether messages of its topic can be pulled from it."""
        credentials, project = self._ready()
        found = self._ask(
            lambda: pubsub_v1.SubscriberClient(credentials=credentials).get_subscription(
                subscription=f"projects/{project}/subscriptions/{subscription.name}",
                timeout=_TIMEOUT_S,
                retry=None,
            ),
            PUBSUB,
            missing=f"create it with terraform apply{subscription.other}",
            role="roles/pubsub.viewer",
        )
        if found.topic == _DELETED_TOPIC or found.detached:
            raise WrongError(
                "gets no messages: its topic was deleted, or it is detached; pull what is left, "
                "delete it, and run terraform apply"
            )
        if found.topic != (topic := f"projects/{project}/topics/{subscription.topic}"):
            variables = " or ".join(
                filter(None, (subscription.variable, subscription.topic_variable))
            )
            raise WrongError(f"belongs to {found.topic}, expected {topic}; correct {variables}")
        if found.push_config.push_endpoint or found.bigquery_config or found.cloud_storage_config:
            raise WrongError(
                "sends its messages elsewhere, so that nobody can pull them; run terraform apply"
                + subscription.other
            )
        return f"exists, of {subscription.topic}"

    def bucket(self) -> str:
        """Ask whether this account may read and write images, without writing any."""
        credentials, project = self._ready()
        try:
            location = Location.parse(self._setup.images_url)
        except ValueError as error:
            raise WrongError(f"{error}; correct --location") from error
        bucket = storage.Client(project=project, credentials=credentials).bucket(location.bucket)
        allowed = self._ask(
            lambda: bucket.test_iam_permissions(_RIGHTS, timeout=_TIMEOUT_S, retry=None),
            STORAGE,
            missing="create it with terraform apply, or name another with --location or BUCKET",
            role="roles/storage.objectUser",
        )
        if lacking := [right for right in _RIGHTS if right not in allowed]:
            raise WrongError(
                f"this account lacks {', '.join(lacking)}; grant it roles/storage.objectUser"
            )
        return "exists, and images can be read and written"

    def model(self, location: str) -> str:
        """Ask the model whether it is there, at a location, without charge."""
        setup = self._setup
        credentials, project = self._ready()
        if family_of(setup.model) is Family.GEMINI and not setup.endpoint:
            self._ask(
                lambda: asyncio.run(
                    count_tokens(
                        setup.model,
                        project=project,
                        location=location,
                        credentials=credentials,
                        timeout_s=_TIMEOUT_S,
                    )
                ),
                VERTEX,
                missing=f"name one that does with --model or MODEL: {', '.join(KNOWN_MODELS)}",
                role="roles/aiplatform.user",
            )
            return "answers"
        resource = setup.endpoint or f"publishers/google/models/{setup.model}"
        self._ask(
            lambda: read_predict_model(
                resource,
                url=self._endpoints[VERTEX].address,
                credentials=credentials,
                timeout_s=_TIMEOUT_S,
            ),
            VERTEX,
            missing="correct --model, --model-endpoint or --model-location",
            role="roles/aiplatform.user",
        )
        return f"{resource} exists"

    def stream(self) -> str:
        """Say whether the stream has an active job.

        Raises:
            IdleError: it has none. That is not wrong, as prompts wait for it.
            UnknownError: Dataflow doesn't say. Whoever sends prompts need not be allowed to ask.
        """
        setup = self._setup
        credentials, project = self._ready()
        try:
            jobs = self._ask(
                lambda: active_jobs(
                    setup.stream,
                    project=project,
                    region=setup.region,
                    url=self._endpoints[DATAFLOW].address,
                    credentials=credentials,
                    timeout_s=_TIMEOUT_S,
                ),
                DATAFLOW,
                missing="correct --project or REGION",
                role="roles/dataflow.viewer",
            )
        except WrongError as error:
            raise UnknownError(str(error)) from error
        if not jobs:
            raise IdleError("no active job; prompts wait until the stream is started")
        return ", ".join(jobs)

    def _find(self) -> Any:
        """Return credentials with a token. They are looked for once, however many threads ask."""
        with self._finding:
            if self._no_credentials:
                raise self._no_credentials
            if self._credentials is None:
                try:
                    found, _ = google.auth.default(scopes=_SCOPES)
                    found.refresh(Request())
                except Exception as error:
                    self._no_credentials = error
                    raise
                self._credentials = found
            return self._credentials

    def _ready(self) -> tuple[Any, str]:
        if not self._setup.project:
            raise NotAskedError("there is no project")
        try:
            return self._find(), self._setup.project
        except Exception as error:
            raise NotAskedError("there are no credentials that work") from error

    def _ask(self, ask: Callable[[], Any], service: str, *, missing: str, role: str) -> Any:
        try:
            return ask()
        except Exception as error:
            at = f"{service} at {self._endpoints[service].address}"
            denied = f"grant this account {role}"
            text = remedy(error, at=at, missing=missing, denied=denied)
            raise WrongError(text) from error
