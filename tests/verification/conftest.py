"""A deployment on the local cloud: topics of the test's own, and the grants of `composer.tf`."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions as api_exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import pubsub_v1, storage
from google.protobuf import duration_pb2
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from beam_jobs import names
from tests import grants
from tests.conftest import BUCKET, PROJECT, Cloud, Lane
from tests.guarded_pubsub import guarded_pubsub
from tests.guarded_storage import guarded
from tests.verification.answers import Answers, answering
from verification.access import Access
from verification.check import Check, Ending, Result
from verification.checks import checks_of
from verification.deployment import Deployment
from verification.runner import run
from verification.visit import Visit

DAY_S = 24 * 3600


@pytest.fixture
def deployment(lane: Lane) -> Deployment:
    """A deployment whose subscriptions are as `composer.tf` makes them."""
    prefix = f"{lane.name}-"
    where = Deployment(
        project=PROJECT,
        region="us-central1",
        bucket=BUCKET,
        repository=f"us-central1-docker.pkg.dev/{PROJECT}/imagen",
        image_tag="local",
        model="gemini-nano-banana-2.1",
        **{
            f"{who}_account": f"imagen-{who}@{PROJECT}.iam.gserviceaccount.com"
            for who in ("composer", "worker", "build")
        },
        prompts_topic=prefix + names.PROMPTS_TOPIC,
        prompts_subscription=prefix + names.PROMPTS_SUBSCRIPTION,
        predictions_topic=prefix + names.PREDICTIONS_TOPIC,
        predictions_subscription=prefix + names.PREDICTIONS_SUBSCRIPTION,
        canary_subscription=prefix + names.CANARY_SUBSCRIPTION,
        dead_letters_topic=prefix + names.DEAD_LETTERS_TOPIC,
        dead_letters_subscription=prefix + names.DEAD_LETTERS_SUBSCRIPTION,
        stream_job=f"{lane.name}-stream",
    )
    for kind in ("prompts", "predictions", "dead-letters"):
        lane.subscriber.delete_subscription(subscription=lane.subscription(kind))
    for subscription, topic, text, days in (
        (where.prompts_subscription, where.prompts_topic, "", 31),
        (where.predictions_subscription, where.predictions_topic, "NOT attributes:canary", 7),
        (where.canary_subscription, where.predictions_topic, "attributes:canary", 1),
        (where.dead_letters_subscription, where.dead_letters_topic, "", 31),
    ):
        make_subscription(lane, subscription, topic, filter=text, days=days)
    return where


def make_subscription(
    lane: Lane, name: str, topic: str, *, filter: str = "", days: int = 31, **fields: Any
) -> None:
    """Create a subscription that never expires, unless `fields` say otherwise."""
    lane.subscriber.create_subscription(
        request={
            "name": f"projects/{PROJECT}/subscriptions/{name}",
            "topic": f"projects/{PROJECT}/topics/{topic}",
            "filter": filter,
            "message_retention_duration": duration_pb2.Duration(seconds=days * DAY_S),
            "expiration_policy": {},
            **fields,
        }
    )


@pytest.fixture
def terraform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Return a function that changes `composer.tf`, as far as grants are read from it."""

    def change(old: str, new: str) -> None:
        assert old in grants.TERRAFORM, f"composer.tf no longer says {old}"
        monkeypatch.setattr(grants, "TERRAFORM", grants.TERRAFORM.replace(old, new))
        grants.grants.cache_clear()

    yield change
    monkeypatch.undo()
    grants.grants.cache_clear()


class GuardedAccess(Access):
    """Google's services as each account finds them: with what `composer.tf` grants, and no more."""

    def __init__(
        self, deployment: Deployment, environment: dict[str, str], guards: dict[str, dict[str, str]]
    ) -> None:
        super().__init__(deployment, environment)
        self._guards = guards

    def storage(self, account: str | None = None) -> storage.Client:
        if account is None:
            return super().storage()
        return storage.Client(
            project=PROJECT,
            credentials=self.credentials(account),
            client_options=ClientOptions(api_endpoint=self._guards["storage"][account]),
        )

    def publisher(self, account: str | None = None) -> pubsub_v1.PublisherClient:
        if account is None:
            return super().publisher()
        transport = PublisherGrpcTransport(
            channel=grpc.insecure_channel(self._guards["pubsub"][account])
        )
        return pubsub_v1.PublisherClient(transport=transport)

    def subscriber(self, account: str | None = None) -> pubsub_v1.SubscriberClient:
        if account is None:
            return super().subscriber()
        transport = SubscriberGrpcTransport(
            channel=grpc.insecure_channel(self._guards["pubsub"][account])
        )
        return pubsub_v1.SubscriberClient(transport=transport)

    def call(
        self, service: str, method: str, path: str, *, account: str | None = None, **options: Any
    ) -> dict[str, Any]:
        if account and not _has_on_project(account, service, path):
            raise api_exceptions.Forbidden(f"{account} may not {method} {path}")
        return super().call(service, method, path, account=account, **options)


def _has_on_project(account: str, service: str, path: str) -> bool:
    """Return whether a grant on the project, by its name in `composer.tf`, allows a call."""
    grant = {
        "dataflow": f"{account}_runs_jobs",
        "monitoring": f"{account}_reads_metrics",
        "vertex": f"{account}_{'calls' if account == 'worker' else 'asks'}_models",
    }[service]
    if "batchPredictionJobs" in path:
        grant = f"{account}_orders_batches"
    return f"{grant} " in grants.TERRAFORM or f'"{grant}"' in grants.TERRAFORM


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Answers of APIs that have no stand-in."""
    with answering() as found:
        yield found


@dataclasses.dataclass
class Verifying:
    """Runs single checks of a deployment."""

    visit: Visit
    checks: dict[str, Check]

    def ask(self, name: str, *, within_s: float = 60.0) -> Result:
        """Run one check, without those that it needs, and clean up."""
        check = dataclasses.replace(self.checks[name], needs=(), limit_s=within_s)
        result, cleaned = run([check], self.visit, budget_usd=5.0, seconds=600.0)
        assert cleaned.ending is Ending.HOLDS, cleaned.seen
        return result


@pytest.fixture
def verifying(
    deployment: Deployment, cloud: Cloud, lane: Lane, answers: Answers
) -> Iterator[Verifying]:
    """The checks of the deployment, as whoever applied it, on stand-ins that know the grants."""
    accounts = ("composer", "worker", "build")
    prefix = f"{lane.name}-"
    with contextlib.ExitStack() as stack:
        guards = {
            "storage": {
                who: stack.enter_context(
                    guarded(who, cloud.environment["STORAGE_EMULATOR_HOST"])
                ).url
                for who in accounts
            },
            "pubsub": {
                who: stack.enter_context(
                    guarded_pubsub(who, cloud.environment["PUBSUB_EMULATOR_HOST"], prefix=prefix)
                )
                for who in accounts
            },
        }
        environment = dict(cloud.environment)
        for name in ("ARTIFACTREGISTRY", "COMPOSER", "LOGGING"):
            environment[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}"] = answers.url
        environment["AIRFLOW_TOKEN"] = "a token"
        where = dataclasses.replace(deployment, airflow_url=answers.url)
        access = GuardedAccess(where, environment, guards)
        visit = Visit(where, access, poll_s=0.2, pull_s=0.5, environment=environment)
        yield Verifying(visit, {check.name: check for check in checks_of(where)})


def holds(result: Result) -> Result:
    assert result.ending is Ending.HOLDS, result.seen
    return result


def differs(result: Result, *words: str) -> Result:
    assert result.ending is Ending.DIFFERS, (result.ending, result.seen)
    for word in words:
        assert word in result.seen
    return result
