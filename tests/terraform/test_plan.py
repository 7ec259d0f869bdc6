"""Terraform itself takes `composer.tf`: checked, planned, applied and destroyed against a stand-in
that has the provider's schema and no cloud.
"""

import functools
import json
import os
import re
from pathlib import Path

import pytest

from imagen_ops.settings import Settings
from tests.terraform.configuration import parse
from tests.terraform.workspace import (
    EXAMPLE,
    KEY,
    OTHERWISE,
    READ_BY_TERRAFORM,
    ROOT,
    SETTINGS,
    TEAM,
    changes,
    fill,
)

pytestmark = pytest.mark.slow

REPLACED = {"delete", "create"}
SERVICE = (Path(__file__).parent / "fixtures" / "service.tf").read_text()
# For each variable with a validation, values that it has to refuse.
REFUSED = {
    "project": ["My-Project", "short", "ends-with-hyphen-", "projects/my-project"],
    "region": ["us-central1-a", "US-CENTRAL1", ""],
    "bucket": ["gs://bucket", "Bucket", "b"],
    "image_tag": ["latest", "", "a tag", "0123456789ab-dirty", "no-git"],
    "name_prefix": ["Imagen", "ab", "a-prefix-that-is-too-long", "-imagen"],
    "role_suffix": ["2", "_a-suffix"],
    "labels": [{"Team": "a"}, {"app": "a"}],
    "existing_environment": ["Team Airflow", "environments/team-airflow"],
    "existing_subnetwork": [
        "shared",
        "regions/us-central1/subnetworks/shared",
        "projects/network-host/regions/europe-west1/subnetworks/shared",
    ],
    # Of what; of which project; the same for two.
    "existing_topics": [
        {"orders": "orders"},
        {"prompts": "projects/others/topics/orders"},
        {"prompts": "orders", "predictions": "orders"},
    ],
    "kms_key": ["a-key", f"{KEY}/cryptoKeyVersions/1"],
    "environment_size": ["huge", "SMALL"],
    "retention": [{"images": 30}, {"prompts": 32}, {"jobs": 0.5}],
    "monthly_budget": [0, 99.5],
    "billing_account": ["012345", "billingAccounts/012345-6789AB-CDEF01"],
    "settle_seconds": [-1, 901],
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


def test_what_is_changed_is_every_variable_but_those_that_say_where_and_what_it_is_called():
    assert set(OTHERWISE) | set(TEAM) | {"project", "region", "bucket"} == set(variables())


@pytest.mark.full
@pytest.mark.usefixtures("applied")
def test_a_destroyed_deployment_leaves_nothing(applied_workspace, tmp_path):
    workspace = applied_workspace.copy(tmp_path / "copy")
    workspace.run("destroy", "-input=false", "-auto-approve")
    assert "values" not in json.loads(workspace.run("show", "-json").stdout)


# Their validations look at other variables. Terraform skips them while those are refused.
AFTER_OTHERS = {
    "bucket",
    "existing_environment",
    "existing_subnetwork",
    "kms_key",
    "monthly_budget",
}


def refused_together():
    """Yield values that are refused in the same plan, for all of `REFUSED`."""
    for later in (False, True):
        rest = {name: list(REFUSED[name]) for name in REFUSED if (name in AFTER_OTHERS) == later}
        while any(rest.values()):
            yield {name: values.pop(0) for name, values in rest.items() if values}


@pytest.mark.parametrize("bad", refused_together(), ids=lambda bad: f"{len(bad)} variables")
def test_each_variable_refuses_what_cannot_be(new_workspace, bad):
    workspace = new_workspace()
    workspace.give(**{**EXAMPLE, **bad})
    errors = workspace.errors("plan", "-input=false")
    assert {one["summary"] for one in errors} == {"Invalid value for variable"}
    assert {refused(one) for one in errors} == set(bad)


def refused(error):
    snippet = error["snippet"]
    return re.search(r'variable "(\w+)"', f"{snippet['context']} {snippet['code']}")[1]


def test_variables_that_do_not_go_together_are_refused_together(new_workspace):
    bad = {
        "bucket": "my-project-imagen",
        "existing_environment": "projects/others/locations/us-central1/environments/team-airflow",
        "kms_key": KEY.replace("us-central1", "europe-west1"),
        "monthly_budget": 100,
        "worker_egress_ranges": ["10.30.0.5/32"],
    }
    workspace = new_workspace()
    sound = {"name_prefix": "pics", "existing_subnetwork": TEAM["existing_subnetwork"]}
    workspace.give(**EXAMPLE, **sound, **bad)
    errors = workspace.errors("plan", "-input=false")
    assert {refused(one) for one in errors} == set(bad)
    said = " ".join(one["detail"] for one in errors)
    for part in ("project my-project", "region us-central1", "NAME_PREFIX=pics", "billing_account"):
        assert part in said


@pytest.mark.parametrize(
    ("given", "sentences"),
    [
        (
            {
                "existing_environment": "composer-two",
                "existing_subnetwork": TEAM["existing_subnetwork"].replace("shared", "closed"),
                "kms_key": f"{KEY}-of-others",
            },
            [
                "composer-two has composer-2.9.7-airflow-2.9.3-build.20",
                "doesn't have Private Google Access",
                "serviceAccount:service-123456789012@gs-project-accounts",
            ],
        ),
        (
            {"existing_environment": "airflow-two"},
            ["airflow-two has composer-3-airflow-2.10.5-build.3"],
        ),
        ({"existing_environment": "no-plugins"}, ["--support-web-server-plugins"]),
        (
            {"existing_environment": "team-airflow", "snapshots": True},
            ["ask the owners of team-airflow"],
        ),
    ],
)
def test_what_a_team_has_and_what_does_not_fit_is_refused_by_the_plan(
    new_workspace, given, sentences
):
    workspace = new_workspace()
    workspace.give(**EXAMPLE, **given)
    found = [one["detail"] for one in workspace.errors("plan", "-input=false")]
    assert len(found) == len(sentences), found
    for sentence in sentences:
        assert any(sentence in one for one in found), (sentence, found)


def test_whoever_misspells_a_setting_is_told_the_names_that_there_are(new_workspace):
    workspace = new_workspace()
    workspace.give(**EXAMPLE, settings={"max_backlog_sise": 1})
    (error,) = workspace.errors("plan", "-input=false")
    assert set(Settings.model_fields) & set(re.findall(r"\w+", error["detail"])) == set(SETTINGS)


@functools.cache
def variables():
    """Whether each variable has a validation."""
    blocks = parse((ROOT / "composer.tf").read_text()).of_type("variable")
    return {block.labels[0]: bool(block.blocks) for block in blocks}


def test_every_validation_of_a_variable_is_tried():
    assert {name for name, validated in variables().items() if validated} == set(REFUSED)


def test_terraform_leaves_nothing_in_the_tree(new_workspace):
    def tree():
        return {path for name in (".", *READ_BY_TERRAFORM) for path in (ROOT / name).iterdir()}

    before = tree()
    workspace = new_workspace()
    workspace.give(**EXAMPLE)
    workspace.run("plan", "-input=false", "-out=plan")
    assert not [path for path in tree() - before if "terraform" in path.name]
