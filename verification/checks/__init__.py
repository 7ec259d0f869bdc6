"""The checks, in the order in which one needs another, and in which they are quickly done."""

from collections.abc import Iterator

from verification.check import Check
from verification.checks import (
    airflow,
    backfills,
    messages,
    models,
    page,
    prompts,
    rare,
    refusals,
    resources,
    roles,
    stream,
    watching,
)
from verification.deployment import Deployment


def checks_of(deployment: Deployment) -> Iterator[Check]:
    """Yield all checks of a deployment."""
    yield stream.pre_check()
    yield from roles.checks(deployment)
    yield from refusals.checks(deployment)
    yield from messages.checks()
    yield from resources.checks()
    yield from airflow.checks()
    yield from page.checks()
    yield from models.checks(deployment)
    yield from stream.first_checks()
    yield from prompts.checks(deployment)
    yield from watching.checks()
    yield from rare.checks(deployment)
    yield from stream.last_checks(deployment)
    yield from backfills.checks(deployment)
