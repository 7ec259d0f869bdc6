"""A deployment's whole life, applied and not only planned: in what teams have, under both major
versions of the provider, and with a change of every variable.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.schema import VERSIONS
from tests.terraform.workspace import (
    ELSEWHERE,
    EXAMPLE,
    OF_THE_OWNERS,
    OTHERWISE,
    TEAM,
    Deployment,
    Workspace,
    fill,
)

pytestmark = [pytest.mark.slow, pytest.mark.full]

Providers = Callable[[str], dict[str, str]]
WHERE: dict[str, dict[str, Any]] = {
    "an empty project": {},
    "an existing environment": {"existing_environment": TEAM["existing_environment"]},
    "a Shared VPC": {"existing_subnetwork": TEAM["existing_subnetwork"]},
    "all that a team has": TEAM,
    "a second prefix": {"name_prefix": "pics"},
}
# So that each variable has an effect without another one.
BASE: dict[str, Any] = {
    **EXAMPLE,
    "bigquery_dataset": "pictures",
    "billing_account": "FEDCBA-987654-321FED",
    "keep_data": False,
    "monthly_budget": 100,
}
CHANGES: dict[str, Any] = {
    **OTHERWISE,
    "existing_topics": TEAM["existing_topics"],
    "keep_data": True,
    "settle_seconds": 1,
    **ELSEWHERE,
}
# What is lost with what it replaces or deletes.
DATA = {
    f"google_{kind}"
    for kind in (
        "artifact_registry_repository",
        "bigquery_dataset",
        "bigquery_table",
        "composer_environment",
        "compute_subnetwork",
        "pubsub_subscription",
        "pubsub_topic",
        "storage_bucket",
    )
}
# What another value costs, as docs/deploying.md says.
LOSES: dict[str, set[str]] = {
    "bigquery_dataset": {"google_bigquery_dataset", "google_bigquery_table"},
    "existing_topics": {"google_pubsub_subscription", "google_pubsub_topic"},
    "kms_key": {"google_artifact_registry_repository", "google_composer_environment"},
}
# An environment keeps its key, and a range can't shrink: the way back is another one.
ONE_WAY = {"kms_key", "network_range"}


def new_workspace(folder: Path, environment: dict[str, str], **variables: Any) -> Workspace:
    folder.mkdir()
    workspace = fill(folder, environment)
    workspace.give(**EXAMPLE, **variables)
    return workspace


def applied(workspace: Workspace) -> Deployment:
    deployment = workspace.apply()
    assert not workspace.left_to_do()
    return deployment


def otherwise(given: dict[str, Any]) -> dict[str, Any]:
    """Everything of `OTHERWISE` that can be set beside this."""
    theirs = {name for one in given for name in OF_THE_OWNERS.get(one, ())}
    values = {**OTHERWISE, "existing_topics": TEAM["existing_topics"]}
    return {**{name: value for name, value in values.items() if name not in theirs}, **given}


@pytest.mark.parametrize("version", VERSIONS[1:])
@pytest.mark.parametrize("given", WHERE.values(), ids=WHERE)
def test_a_deployment_is_applied_changed_changed_back_and_destroyed(
    providers: Providers, tmp_path: Path, given: dict[str, Any], version: str
) -> None:
    workspace = new_workspace(tmp_path / "own", providers(version), **given)
    states = [applied(workspace)]

    file = workspace.folder / "composer.tf"
    text = file.read_text()
    file.write_text(text.replace('filter = "attributes:canary"', 'filter = "attributes:c"'))
    made = workspace.apply_and_say()
    assert made['google_pubsub_subscription.imagen["canary-sub"]'] == "replace"
    granted = 'google_pubsub_subscription_iam_member.granted["composer_takes_canaries"]'
    assert made[granted] == "replace"
    assert not workspace.left_to_do()
    file.write_text(text)

    workspace.give(**EXAMPLE | otherwise(given))
    states.append(applied(workspace))
    workspace.give(**EXAMPLE, **given)
    states.append(applied(workspace))
    assert set(states[2].resources) == set(states[0].resources)
    assert states[2].outputs == states[0].outputs

    # Tables say themselves that they stay, until the other is applied.
    workspace.give(**EXAMPLE | given | {"keep_data": False})
    workspace.run("apply", "-input=false", "-auto-approve")
    workspace.run("destroy", "-input=false", "-auto-approve")
    assert "values" not in json.loads(workspace.run("show", "-json").stdout)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_second_deployment_changes_and_goes_beside_the_first(
    providers: Providers, tmp_path: Path, version: str
) -> None:
    first = new_workspace(tmp_path / "first", providers(version))
    second = new_workspace(tmp_path / "second", providers(version), name_prefix="pics")
    theirs = set(applied(first).names())
    for given in ({}, otherwise({})):
        second.give(**EXAMPLE | given | {"name_prefix": "pics"})
        # The service names a dashboard and policies itself.
        own = {pair for pair in applied(second).names() if "_monitoring_" not in pair[0]}
        assert own & theirs == set()
    second.run("destroy", "-input=false", "-auto-approve")
    assert not first.left_to_do()


@pytest.fixture(scope="module")
def alone(provider: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = new_workspace(tmp_path_factory.mktemp("alone") / "own", provider)
    workspace.give(**BASE)
    workspace.apply()
    return workspace


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_each_variable_changes_alone_and_back_and_loses_what_the_documentation_says(
    alone: Workspace, name: str
) -> None:
    alone.give(**BASE | {name: CHANGES[name]})
    made = alone.apply_and_say()
    left = alone.left_to_do()
    alone.give(**BASE)
    back = alone.apply_and_say()

    assert not left
    # Waiting changes nothing that is there.
    assert bool(made) is (name != "settle_seconds")
    assert back.keys() == made.keys() or name in ONE_WAY
    if name not in ELSEWHERE:
        gone = {address for address, does in made.items() if does in ("replace", "delete")}
        assert {address.partition(".")[0] for address in gone} & DATA == LOSES.get(name, set())
