"""Terraform itself takes `composer.tf`: checked, planned, applied and destroyed against a stand-in
that has the provider's schema and no cloud.
"""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from imagen_ops.settings import Settings
from tests.terraform.configuration import parse
from tests.terraform.test_deployment import OTHERWISE
from tests.terraform.workspace import EXAMPLE, READ_BY_TERRAFORM, ROOT, fill

pytestmark = pytest.mark.slow

SERVICE = (Path(__file__).parent / "fixtures" / "service.tf").read_text()
# For each variable with a validation, values that it has to refuse.
REFUSED = {
    "project": ["My-Project", "short", "ends-with-hyphen-", "projects/my-project"],
    "region": ["us-central1-a", "US-CENTRAL1", ""],
    "bucket": ["gs://bucket", "Bucket", "b"],
    "image_tag": ["latest", "", "a tag", "0123456789ab-dirty", "no-git"],
    "model": ["", "models/imagen", "a model"],
    "worker_machine_type": ["n2", "", "two cores"],
    # Misspelt; composer.tf's own to set; no number.
    "settings": [{"max_backlog_sise": 1}, {"model": "a"}, {"poke_seconds": "often"}],
    "allowed_projects": [["Network-Host"], ["projects/network-host"], ["network-host,other"], [""]],
    "allowed_buckets": [["gs://shared"], ["shared/folder"], ["*"], ["a-bucket,b-bucket"]],
    "composer_image": ["composer-2-airflow-2.9.3", "composer-3", ""],
    "metadata_retention_days": [29, 731],
    "web_server_ranges": [["203.0.113.0"], ["everywhere"]],
    "network_range": ["10.20.0.0", "10.20.0.0/33"],
    # Not a range; and folders that are not prompts'.
    "worker_egress_ranges": [["10.30.0.5"], ["everywhere"]],
    "prompt_folders": [["prompts"], ["/prompts/"], ["records/"], ["keys/mine/"]],
    "operators": [["oncall@example.com"], ["user: a"]],
    "notification_emails": [["nobody"], ["a@b", "a b@c"]],
    "dead_letters_per_10_minutes": [0, -1],
    "bigquery_dataset": ["my-dataset", "my_project.imagen", ""],
    "bigquery_retention_days": [0, 3651],
    "signed_url_hours": [0, -1, 168.5],
}


def test_terraform_finds_composer_tf_valid(new_workspace):
    assert new_workspace().errors("validate") == []


def test_the_real_provider_finds_composer_tf_valid_too(terraform, tmp_path):
    if not os.environ.get("REAL_PROVIDER"):
        pytest.skip("set REAL_PROVIDER=1 where Terraform can fetch the Google provider")
    assert fill(tmp_path, dict(os.environ)).errors("validate") == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ack_deadline_seconds", "ack_deadline_second", 'argument named "ack_deadline_second"'),
        ("expiration_policy {", "expiry_policy {", 'Blocks of type "expiry_policy"'),
        ('dynamic "retry_policy"', 'dynamic "retrial_policy"', '"retrial_policy"'),
        ('"google_pubsub_topic" "', '"google_pubsub_topics" "', '"google_pubsub_topics"'),
        ("google_pubsub_topic.prompts.id", "google_pubsub_topic.prompt.id", '"prompt"'),
        ("worker.email", "worker.mail", '"mail"'),
        ("= var.project\n", "= var.projekt\n", '"projekt"'),
        ("  topic                = google_pubsub_topic.prompts.id\n", "", '"topic" is required'),
        ('    protocol = "tcp"\n', "", '"protocol" is required'),
        ("expiration_policy {", "expiration_policy = {", '"expiration_policy"'),
        (
            "  expiration_policy {",
            '  expiration_policy {\n    ttl = ""\n  }\n  expiration_policy {',
            'No more than 1 "expiration_policy" blocks',
        ),
        ('    action {\n      type = "Delete"\n    }\n', "", 'At least 1 "action" blocks'),
        ('source_ranges = ["10.0.0.0/20"]', "source_ranges {}", '"source_ranges"'),
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


def test_what_was_just_deployed_needs_no_change(applied_workspace):
    """As `timestamp()` or an argument that is never the same would make it."""
    applied_workspace.run("plan", "-input=false", "-out=again")
    plan = json.loads(applied_workspace.run("show", "-json", "again").stdout)
    changes = {one["address"]: set(one["change"]["actions"]) for one in plan["resource_changes"]}
    # What a check looks at is looked at each time.
    assert {name for name, actions in changes.items() if actions - {"no-op", "read"}} == set()


def test_airflow_that_is_made_anew_leaves_everything_else_as_it_is(applied_workspace):
    """As the runbook restores it; the bucket is not asked to be emptied either."""
    environment = "google_composer_environment.imagen"
    applied_workspace.run("plan", "-input=false", f"-replace={environment}", "-out=anew")
    plan = json.loads(applied_workspace.run("show", "-json", "anew").stdout)
    changes = {one["address"]: set(one["change"]["actions"]) for one in plan["resource_changes"]}
    changed = {name: made for name, made in changes.items() if made - {"no-op", "read"}}
    assert changed == {environment: {"delete", "create"}}


@pytest.mark.full
def test_a_destroyed_deployment_leaves_nothing(applied_workspace, tmp_path):
    folder = shutil.copytree(applied_workspace.folder, tmp_path / "copy", symlinks=True)
    workspace = dataclasses.replace(applied_workspace, folder=folder)
    workspace.run("destroy", "-input=false", "-auto-approve")
    assert "values" not in json.loads(workspace.run("show", "-json").stdout)


@pytest.mark.parametrize("turn", range(max(map(len, REFUSED.values()))))
def test_each_variable_refuses_what_cannot_be(new_workspace, turn):
    bad = {name: values[turn] for name, values in REFUSED.items() if turn < len(values)}
    workspace = new_workspace()
    workspace.give(**{**EXAMPLE, **bad})
    errors = workspace.errors("plan", "-input=false")
    assert {one["summary"] for one in errors} == {"Invalid value for variable"}
    given = {value["traversal"] for one in errors for value in one["snippet"]["values"]}
    refused = {name for name in given if name.startswith("var.")}
    assert {f"var.{name}" for name in bad} == refused


def test_whoever_misspells_a_setting_is_told_the_names_that_there_are(new_workspace):
    workspace = new_workspace()
    workspace.give(**EXAMPLE, settings={"max_backlog_sise": 1})
    (error,) = workspace.errors("plan", "-input=false")
    assert set(Settings.model_fields) & set(re.findall(r"\w+", error["detail"])) == set(OTHERWISE)


def test_every_validation_of_a_variable_is_tried():
    variables = parse((ROOT / "composer.tf").read_text()).of_type("variable")
    assert {block.labels[0] for block in variables if block.blocks} == set(REFUSED)


def test_terraform_leaves_nothing_in_the_tree(new_workspace):
    def tree():
        return {path for name in (".", *READ_BY_TERRAFORM) for path in (ROOT / name).iterdir()}

    before = tree()
    workspace = new_workspace()
    workspace.give(**EXAMPLE)
    workspace.run("plan", "-input=false", "-out=plan")
    assert not [path for path in tree() - before if "terraform" in path.name]
