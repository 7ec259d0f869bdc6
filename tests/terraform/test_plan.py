"""Terraform itself takes `composer.tf`: checked, planned, applied and destroyed against a stand-in
that has the provider's schema and no cloud.
"""

import json
import os
from pathlib import Path

import pytest

from tests.terraform.configuration import parse
from tests.terraform.workspace import (
    ELSEWHERE,
    EXAMPLE,
    OTHERWISE,
    READ_BY_TERRAFORM,
    ROOT,
    changes,
    fill,
)

pytestmark = pytest.mark.slow

REPLACED = {"delete", "create"}
SERVICE = (Path(__file__).parent / "fixtures" / "service.tf").read_text()


def test_the_real_provider_finds_composer_tf_valid_too(terraform, tmp_path):
    if not os.environ.get("REAL_PROVIDER"):
        pytest.skip("set REAL_PROVIDER=1 where Terraform can fetch the Google provider")
    assert fill(tmp_path, dict(os.environ)).errors("validate") == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ack_deadline_seconds", "ack_deadline_second", 'argument named "ack_deadline_second"'),
        ("expiration_policy {", "expiry_policy {", 'Blocks of type "expiry_policy"'),
        ('    protocol = "tcp"\n', "", '"protocol" is required'),
        (
            "  expiration_policy {",
            '  expiration_policy {\n    ttl = ""\n  }\n  expiration_policy {',
            'No more than 1 "expiration_policy" blocks',
        ),
        ('    action {\n      type = "Delete"\n    }\n', "", 'At least 1 "action" blocks'),
        ("ack_deadline_seconds = 600", 'ack_deadline_seconds = "ten"', "a number is required"),
        ('account_id   = "worker"', 'account_id = "worker"\n  email = "a@b"', "email is the prov"),
    ],
)
def test_what_the_provider_would_refuse_is_refused_by_terraform_too(new_workspace, old, new, words):
    assert old in SERVICE
    found = new_workspace(SERVICE.replace(old, new, 1)).errors("validate")
    assert any(words in f"{one['summary']} {one['detail']}" for one in found), found


def test_a_sound_configuration_is_valid(new_workspace):
    assert new_workspace(SERVICE).errors("validate") == []


def test_a_misspelling_in_composer_tf_would_not_pass(new_workspace):
    workspace = new_workspace()
    file = workspace.folder / "composer.tf"
    file.write_text(file.read_text().replace("message_retention_duration ", "retention ", 1))
    (found,) = workspace.errors("validate")
    assert found["summary"] == "Unsupported argument"
    assert found["range"]["filename"] == "composer.tf"


def test_a_plan_for_an_empty_project_only_creates(planned):
    kinds = {address.split(".")[0] for address in planned}
    assert "google_composer_environment" in kinds
    assert "google_pubsub_subscription" in kinds


def test_a_plan_knows_what_the_provider_works_out_and_not_what_the_service_decides(planned):
    """What is known too early would hide a `for_each` over it, which fails on Google Cloud."""
    account = planned["google_service_account.worker"]
    assert account["member"] == "serviceAccount:imagen-worker@my-project.iam.gserviceaccount.com"
    assert account["project"] == "my-project"
    assert not {"id", "name", "unique_id"} & set(account)


def test_a_deployment_ends_with_every_value_known(applied, planned):
    made = [
        {name for name in resources if not name.startswith("data.")}
        for resources in (planned, applied.resources)
    ]
    assert made[0] == made[1]
    assert "environment" in applied.outputs
    assert all(applied.outputs["environment"].values())


@pytest.mark.usefixtures("applied")
def test_what_was_just_deployed_needs_no_change(applied_workspace):
    """As `timestamp()` or an argument that is never the same would make it."""
    assert changes(applied_workspace.plan()) == {}


@pytest.mark.usefixtures("applied")
def test_airflow_that_is_made_anew_leaves_everything_else_as_it_is(applied_workspace):
    """As the runbook restores it; the bucket is not asked to be emptied either."""
    environment = "google_composer_environment.imagen[0]"
    assert changes(applied_workspace.plan(f"-replace={environment}")) == {environment: REPLACED}


@pytest.mark.usefixtures("applied")
def test_who_may_use_a_subscription_may_use_the_one_that_replaces_it(applied_workspace, tmp_path):
    """Another filter makes another subscription, which has no members yet."""
    workspace = applied_workspace.copy(tmp_path / "copy")
    file = workspace.folder / "composer.tf"
    file.write_text(
        file.read_text().replace('filter = "attributes:canary"', 'filter = "attributes:c"')
    )
    subscription = 'google_pubsub_subscription.imagen["canary-sub"]'
    members = ("composer_sees_canaries", "composer_takes_canaries")
    assert changes(workspace.plan()) == dict.fromkeys(
        [
            subscription,
            *(f'google_pubsub_subscription_iam_member.granted["{one}"]' for one in members),
        ],
        REPLACED,
    )


def test_every_variable_can_be_changed_and_no_data_is_lost_with_it(changed_plan):
    """Those that would, a prefix or a bucket, are chosen before the first apply."""
    replaced = {
        name.partition("[")[0] for name, made in changes(changed_plan).items() if made == REPLACED
    }
    kept = {"storage_bucket", "bigquery_table", "pubsub_topic", "pubsub_subscription"}
    assert not {name for name in replaced if name.split(".")[0].removeprefix("google_") in kept}
    assert "google_compute_subnetwork.imagen" not in replaced


@pytest.mark.usefixtures("changed_plan")
def test_a_change_of_every_variable_can_be_applied_and_leaves_nothing_to_do(changed_workspace):
    """`test_lifecycle.py` has it for whatever a team has, and for each variable alone."""
    changed_workspace.run("apply", "-input=false", "plan")
    assert changed_workspace.left_to_do() == {}


def test_what_is_changed_is_every_variable_but_those_that_say_where_and_what_it_is_called():
    variables = parse((ROOT / "composer.tf").read_text()).of_type("variable")
    named = {block.labels[0] for block in variables}
    assert set(OTHERWISE) | {"existing_topics"} == named - set(ELSEWHERE)
    assert set(ELSEWHERE) < named


@pytest.mark.full
@pytest.mark.usefixtures("applied")
def test_a_destroyed_deployment_leaves_nothing(applied_workspace, tmp_path):
    workspace = applied_workspace.copy(tmp_path / "copy")
    workspace.run("destroy", "-input=false", "-auto-approve")
    assert "values" not in json.loads(workspace.run("show", "-json").stdout)


def test_terraform_leaves_nothing_in_the_tree(new_workspace):
    def tree():
        return {path for name in (".", *READ_BY_TERRAFORM) for path in (ROOT / name).iterdir()}

    before = tree()
    workspace = new_workspace()
    workspace.give(**EXAMPLE)
    workspace.run("plan", "-input=false", "-out=plan")
    assert not [path for path in tree() - before if "terraform" in path.name]
