"""Roles: each one of `composer.tf` has a check, and the check finds it missing."""

import re
from collections.abc import Callable

import pytest

from tests import grants
from tests.conftest import Cloud
from tests.verification.conftest import Verifying, differs, holds
from verification.check import Ending
from verification.checks import refusals, roles

ROLES = [f"role {probe.grant}" for probe in roles.PROBES]
REFUSALS = [f"refused {each.account} {each.does}" for each in refusals.REFUSALS]
_LINE = r"(?m)^ +{} += \{{ member = .*\n"


def named_in_terraform() -> set[str]:
    """Return the names of the grants to service accounts in `composer.tf`."""
    names = set(re.findall(r"(?m)^ +(\w+) += \{ member = local\.\w+, role = ", grants.TERRAFORM))
    names |= {f"{who}_reads_prompts" for who in ("composer", "worker")}
    singles = re.findall(
        r'resource "google_\w+_iam_member" "((?:composer|worker|build)_\w+)"', grants.TERRAFORM
    )
    return names | set(singles)


def test_every_grant_has_a_call_that_needs_it_or_a_check_that_fails_without_it() -> None:
    # Optional ones, which are not there by default, and Composer's own.
    optional = {"composer_orders_batches", "composer_keeps_snapshots", "worker_signs_urls"}
    covered = {probe.grant for probe in roles.PROBES} | roles.PROVEN_BY.keys()
    assert named_in_terraform() - covered == optional
    assert covered - named_in_terraform() == set()


def test_a_grant_that_another_check_proves_names_a_check(verifying: Verifying) -> None:
    assert set(roles.PROVEN_BY.values()) <= verifying.checks.keys()


def test_every_role_holds_and_everything_else_is_refused(verifying: Verifying) -> None:
    for name in [*ROLES, *REFUSALS]:
        holds(verifying.ask(name))


@pytest.mark.parametrize(
    "grant",
    [
        "composer_keeps_records",
        "composer_shows_images",
        "composer_archives",
        "worker_creates_images",
        "worker_claims_prompts",
        "worker_reads_keys",
        "worker_takes_prompts",
        "worker_publishes",
        "composer_takes_canaries",
        "composer_takes_dead_letters",
        "composer_runs_jobs",
        "worker_calls_models",
    ],
)
def test_a_missing_role_is_found_by_its_check_alone(
    verifying: Verifying, terraform: Callable[[str, str], None], grant: str
) -> None:
    (line,) = re.findall(_LINE.format(grant), grants.TERRAFORM)
    terraform(line, "")
    differs(verifying.ask(f"role {grant}"))
    other = "role worker_reports" if grant != "worker_reports" else "role worker_reads_keys"
    holds(verifying.ask(other))


@pytest.mark.parametrize(
    ("check", "old", "new"),
    [
        (
            "refused worker delete an image",
            'role = "roles/storage.objectCreator", below = "images/"',
            'role = "roles/storage.objectUser", below = "images/"',
        ),
        (
            "refused worker list records",
            'role = "roles/storage.objectViewer", below = "keys/"',
            'role = "roles/storage.objectViewer", below = "records/"',
        ),
        (
            "refused worker publish prompts",
            "worker_publishes           = {",
            'worker_starts_prompts = { member = local.worker, role = "roles/pubsub.publisher", '
            'on = "prompts" }\n    worker_publishes           = {',
        ),
        ("refused worker list jobs", "composer_runs_jobs ", "worker_runs_jobs "),
        ("refused build list images", 'below = "builds/"', 'below = "images/"'),
    ],
)
def test_a_role_that_is_too_wide_is_found(
    verifying: Verifying, terraform: Callable[[str, str], None], check: str, old: str, new: str
) -> None:
    terraform(old, new)
    differs(verifying.ask(check), "not refused")


def test_whoever_may_not_act_as_an_account_is_told_what_to_grant(
    verifying: Verifying, cloud: Cloud
) -> None:
    holds(verifying.ask("act as worker"))
    verifying.visit.access.credentials.cache_clear()  # type: ignore[attr-defined]
    cloud.signing(denied=1)
    differs(
        verifying.ask("act as worker"), "roles/iam.serviceAccountTokenCreator", "imagen-worker@"
    )


def test_what_a_call_made_is_gone_afterwards(verifying: Verifying) -> None:
    holds(verifying.ask("role worker_creates_images"))
    bucket = verifying.visit.access.storage().bucket(verifying.visit.deployment.bucket)
    assert [b.name for b in bucket.list_blobs() if verifying.visit.mark in b.name] == []


def test_what_is_not_there_is_not_counted_as_refused(
    verifying: Verifying, terraform: Callable[[str, str], None]
) -> None:
    # Somebody who may list every object finds that there is no such bucket.
    terraform('below = "keys/" }', 'below = "dags/" }')
    result = verifying.ask("refused worker list DAGs")
    assert (result.ending, result.seen[:27]) == (Ending.NOT_ASKED, "there is nothing to refuse:")
