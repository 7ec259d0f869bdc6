"""Google's APIs, as the person who verifies or as one of the deployment's service accounts."""

import functools
import os
from collections.abc import Mapping
from typing import Any

import google.auth
from google.api_core import exceptions as api_exceptions
from google.auth import impersonated_credentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import pubsub_v1, storage

from verification.deployment import Deployment

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# Of one request. Google's own libraries wait longer, or for ever.
TIMEOUT_S = 30.0
# The variable that sends a client elsewhere, and Google's address. The names are gcloud's own.
_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_"
_SERVICES = {
    "artifactregistry": (f"{_OVERRIDE}ARTIFACTREGISTRY", "https://artifactregistry.googleapis.com"),
    "composer": (f"{_OVERRIDE}COMPOSER", "https://composer.googleapis.com"),
    "dataflow": (f"{_OVERRIDE}DATAFLOW", "https://dataflow.googleapis.com"),
    "iamcredentials": (f"{_OVERRIDE}IAMCREDENTIALS", "https://iamcredentials.googleapis.com"),
    "logging": (f"{_OVERRIDE}LOGGING", "https://logging.googleapis.com"),
    "monitoring": (f"{_OVERRIDE}MONITORING", "https://monitoring.googleapis.com"),
    "pubsub": ("PUBSUB_EMULATOR_HOST", "pubsub.googleapis.com"),
    "storage": ("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com"),
    "vertex": ("GOOGLE_VERTEX_BASE_URL", "https://aiplatform.googleapis.com"),
}


class NotAskedError(Exception):
    """Why there was nothing to ask, or nobody to ask it of."""


class Access:
    """The clients of Google's services, made when they are first needed.

    Args:
        deployment: whose service accounts can be acted as.
        environment: the environment variables, which can name other addresses.
    """

    def __init__(self, deployment: Deployment, environment: Mapping[str, str] = os.environ) -> None:
        self._deployment = deployment
        self._environment = environment

    def url(self, service: str) -> str:
        """Return where a service is asked, without a slash at the end.

        Raises:
            NotAskedError: stand-ins are named for other services and none for this one: what is
                asked on one machine must not reach Google.
        """
        variable, googles = _SERVICES[service]
        if override := self._environment.get(variable):
            return override.rstrip("/")
        if self.on_stand_ins:
            raise NotAskedError(f"there is no stand-in for {service} ({variable} is not set)")
        return googles

    @property
    def on_stand_ins(self) -> bool:
        """Whether any service is a stand-in. Google's own addresses are encrypted."""
        overrides = (self._environment.get(variable) for variable, _ in _SERVICES.values())
        return any(each and not each.startswith("https://") for each in overrides)

    @functools.cache  # noqa: B019 - as long as the run
    def credentials(self, account: str | None = None) -> Any:
        """Return credentials: of a service account, or of whoever runs this.

        Args:
            account: `composer`, `worker`, or `build`; None: whoever runs this.
        """
        own, _ = google.auth.default(scopes=_SCOPES)
        if account is None:
            return own
        email = self._deployment.accounts[account]
        return impersonated_credentials.Credentials(
            source_credentials=own,
            target_principal=email,
            target_scopes=_SCOPES,
            iam_endpoint_override=(
                f"{self.url('iamcredentials')}/v1/projects/-/serviceAccounts/"
                f"{email}:generateAccessToken"
            ),
        )

    def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        account: str | None = None,
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> dict[str, Any]:
        """Make one request to a REST API and return the answer.

        Args:
            service: such as `dataflow`.
            method: the HTTP method.
            path: with a slash at its beginning.
            account: who asks, as for `credentials`.
            timeout_s: how long to wait for the answer, in seconds.
            options: what `requests` takes, such as `params` and `json`.

        Raises:
            NotAskedError: there is no stand-in for the service.
            google.api_core.exceptions.GoogleAPICallError: the service refuses.
        """
        with self.session(account) as session:
            response = session.request(
                method,
                f"{self.url(service)}{path}",
                timeout=timeout_s,
                max_allowed_time=timeout_s,
                **options,
            )
        if response.status_code >= 400:
            raise api_exceptions.from_http_response(response)
        return dict(response.json()) if response.content else {}

    def session(self, account: str | None = None) -> AuthorizedSession:
        """Return a session whose requests carry credentials."""
        return AuthorizedSession(self.credentials(account))

    def storage(self, account: str | None = None) -> storage.Client:
        """Return a client of Cloud Storage."""
        return storage.Client(
            project=self._deployment.project, credentials=self.credentials(account)
        )

    def publisher(self, account: str | None = None) -> pubsub_v1.PublisherClient:
        """Return a client that publishes."""
        return pubsub_v1.PublisherClient(credentials=self.credentials(account))

    def subscriber(self, account: str | None = None) -> pubsub_v1.SubscriberClient:
        """Return a client that pulls."""
        return pubsub_v1.SubscriberClient(credentials=self.credentials(account))
