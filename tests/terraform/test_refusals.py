"""What cannot be is refused by the plan, with a sentence that says what to do."""

import functools
import re

import pytest

from imagen_ops.settings import Settings
from tests.terraform.configuration import parse
from tests.terraform.workspace import EXAMPLE, KEY, ROOT, SETTINGS, TEAM

pytestmark = pytest.mark.slow

# For each variable with a validation, values that it has to refuse.
REFUSED = {
    "project": ["My-Project", "short", "ends-with-hyphen-", "projects/my-project"],
    "region": ["us-central1-a", "US-CENTRAL1", ""],
    "bucket": ["gs://bucket", "Bucket", "b"],
    "image_tag": ["latest", "", "a tag", "0123456789ab-dirty", "no-git"],
    "name_prefix": ["Imagen", "ab", "a-prefix-that-is-too-long", "-imagen"],
    "role_suffix": ["2", "_a-suffix"],
    "labels": [{"Team": "a"}, {"app": "a"}],
    # The last two: of another region, and of another project.
    "existing_environment": [
        "Team Airflow",
        "environments/team-airflow",
        "projects/my-project/locations/europe-west1/environments/team-airflow",
        "projects/others/locations/us-central1/environments/team-airflow",
    ],
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


# Their validations look at other variables. Terraform skips them while those are refused.
AFTER_OTHERS = {
    "bucket",
    "existing_environment",
    "existing_subnetwork",
    "kms_key",
    "monthly_budget",
}
# And these look at some of those.
AFTER_THOSE = {"worker_egress_ranges"}


def refused_together():
    """Yield values that are refused in the same plan, for all of `REFUSED`."""
    for names in (REFUSED.keys() - AFTER_OTHERS - AFTER_THOSE, AFTER_OTHERS, AFTER_THOSE):
        rest = {name: list(values) for name, values in REFUSED.items() if name in names}
        while any(rest.values()):
            yield {name: values.pop(0) for name, values in rest.items() if values}


@pytest.mark.parametrize("bad", list(refused_together()), ids=lambda bad: f"{len(bad)} variables")
def test_each_variable_refuses_what_cannot_be(new_workspace, bad):
    workspace = new_workspace()
    workspace.give(**{**EXAMPLE, **bad})
    errors = workspace.errors("plan", "-input=false")
    assert {one["summary"] for one in errors} == {"Invalid value for variable"}
    assert {refused(one) for one in errors} == set(bad)


def refused(error):
    """Return whose rule it was: the last variable that begins before the rule's line."""
    line = int(re.search(r"rule at composer\.tf:(\d+)", error["detail"])[1])
    blocks = parse_variables()
    return next(one.labels[0] for one in reversed(blocks) if one.line <= line)


@functools.cache
def parse_variables():
    return list(parse((ROOT / "composer.tf").read_text()).of_type("variable"))


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
        pytest.param(
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
            id="Composer 2, no private access, and a key without rights",
        ),
        pytest.param(
            {"existing_environment": "airflow-two"},
            ["airflow-two has composer-3-airflow-2.10.5-build.3"],
            id="Airflow 2",
        ),
        pytest.param(
            {"existing_environment": "no-plugins"},
            ["--support-web-server-plugins"],
            id="no plugins",
        ),
        pytest.param(
            {"existing_environment": "team-airflow", "snapshots": True},
            ["ask the owners of team-airflow"],
            id="what its owners set",
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


def test_every_validation_of_a_variable_is_tried():
    assert {block.labels[0] for block in parse_variables() if block.blocks} == set(REFUSED)
