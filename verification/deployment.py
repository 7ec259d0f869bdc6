"""What is deployed where, as `scripts/00_set_environment.sh` says it."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Self

from beam_jobs import names
from beam_jobs.catalog import DEFAULT_MODEL


class DeploymentError(ValueError):
    """A variable is missing; the message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Deployment:
    """The names of a deployment's resources, without projects and prefixes.

    Attributes:
        composer_account, worker_account, build_account: the emails of its service accounts.
        environment: the name of the Composer environment.
        airflow_url: of Airflow's API server; empty: as Composer's API says.
    """

    project: str
    region: str
    bucket: str
    repository: str
    image_tag: str
    model: str
    composer_account: str
    worker_account: str
    build_account: str
    worker_machine_type: str = names.WORKER_MACHINE_TYPE
    stream_job: str = names.STREAM_JOB
    prompts_topic: str = names.PROMPTS_TOPIC
    prompts_subscription: str = names.PROMPTS_SUBSCRIPTION
    predictions_topic: str = names.PREDICTIONS_TOPIC
    predictions_subscription: str = names.PREDICTIONS_SUBSCRIPTION
    canary_subscription: str = names.CANARY_SUBSCRIPTION
    dead_letters_topic: str = names.DEAD_LETTERS_TOPIC
    dead_letters_subscription: str = names.DEAD_LETTERS_SUBSCRIPTION
    environment: str = "imagen"
    airflow_url: str = ""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Read it from the variables that the script has set.

        Raises:
            DeploymentError: a variable is missing.
        """
        if missing := [name for name in ("PROJECT", "REGION", "BUCKET") if not variables.get(name)]:
            raise DeploymentError(
                f"{' and '.join(missing)} not set; run scripts/02_verify_deployment.sh, which sets "
                "them as scripts/00_set_environment.sh does"
            )
        project, region = variables["PROJECT"], variables["REGION"]
        defaults = {
            "repository": f"{region}-docker.pkg.dev/{project}/imagen",
            "image_tag": "",
            "model": DEFAULT_MODEL,
            **{
                f"{who}_account": f"imagen-{who}@{project}.iam.gserviceaccount.com"
                for who in ("composer", "worker", "build")
            },
        }
        given = {
            field.name: value
            for field in dataclasses.fields(cls)
            if (value := variables.get(_VARIABLES.get(field.name, field.name.upper())))
        }
        return cls(**{**defaults, **given})

    def topic(self, name: str) -> str:
        """Return the full name of a topic."""
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """Return the full name of a subscription."""
        return f"projects/{self.project}/subscriptions/{name}"

    @property
    def accounts(self) -> dict[str, str]:
        """The emails of the service accounts, by the word that `composer.tf` has for each."""
        return {
            "composer": self.composer_account,
            "worker": self.worker_account,
            "build": self.build_account,
        }


# Where a variable isn't called as the field.
_VARIABLES = {
    "composer_account": "COMPOSER_SERVICE_ACCOUNT",
    "worker_account": "WORKER_SERVICE_ACCOUNT",
    "build_account": "BUILD_SERVICE_ACCOUNT",
    "stream_job": "STREAM_JOB_NAME",
    "environment": "COMPOSER_ENVIRONMENT",
}
