"""Into what a team has already: its environment, its network, its topics and its key, beside
another deployment in the same project.
"""

import json
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.terraform.workspace import EXAMPLE, TEAM, Deployment, Workspace, changes, of_kind

pytestmark = pytest.mark.slow

ENVIRONMENT = "us-central1-team-bucket"


def test_two_deployments_in_a_project_have_no_name_in_common(
    applied: Deployment, team: Deployment
) -> None:
    # The service names a dashboard and policies itself.
    own = {pair for pair in team.names() if not pair[0].startswith("google_monitoring_")}
    assert own & set(applied.names()) == set()
    assert len(own) > 20


def test_every_name_begins_with_the_prefix(team: Deployment) -> None:
    known = {"google_bigquery_dataset", "google_bigquery_table", "google_monitoring_alert_policy"}
    for kind, name in team.names():
        if kind not in known and not kind.startswith("google_monitoring_"):
            assert name.removeprefix("my-project-").startswith("pics"), (kind, name)
    for one in of_kind(team.resources, "google_monitoring_alert_policy").values():
        assert one["display_name"].startswith("pics: ")


def test_alerts_ring_for_their_own_deployment_alone(applied: Deployment, team: Deployment) -> None:
    for deployment, other in ((applied, "pics"), (team, "imagen-")):
        for one in of_kind(deployment.resources, "google_monitoring_alert_policy").values():
            assert other not in json.dumps(one["conditions"]), one["display_name"]


def test_nothing_of_the_network_or_the_environment_is_created(team: Deployment) -> None:
    made = {name.partition(".")[0] for name in team.resources if not name.startswith("data.")}
    assert not [kind for kind in made if kind.startswith(("google_compute_", "google_dns_"))]
    assert "google_composer_environment" not in made
    assert "roles/composer.worker" not in {
        one["role"] for one in of_kind(team.resources, "google_project_iam_member").values()
    }


def test_the_dags_act_as_the_environments_own_account(team: Deployment) -> None:
    granted = of_kind(team.resources, "google_project_iam_member")
    launches = granted['google_project_iam_member.granted["composer_runs_jobs"]']
    assert launches["member"] == "serviceAccount:airflow@my-project.iam.gserviceaccount.com"


def test_jobs_run_in_the_host_projects_subnetwork_and_may(team: Deployment) -> None:
    settings = settings_of(team)
    assert settings["IMAGEN_WORKER_SUBNETWORK"] == (
        "https://www.googleapis.com/compute/v1/" + TEAM["existing_subnetwork"]
    )
    assert settings["IMAGEN_ALLOWED_PROJECTS"] == "network-host"
    assert settings["IMAGEN_NAME_PREFIX"] == "pics"


def test_a_topic_that_was_there_is_read_from_and_not_made(team: Deployment) -> None:
    settings = settings_of(team)
    assert settings["IMAGEN_PROMPTS_TOPIC"] == "orders"
    assert settings["IMAGEN_PREDICTIONS_TOPIC"] == "pics-predictions"
    made = {one["name"] for one in of_kind(team.resources, "google_pubsub_topic").values()}
    assert made == {"pics-predictions", "pics-dead-letters", "pics-bigquery-rejects"}
    subscription = team.resources['google_pubsub_subscription.imagen["prompts-sub"]']
    assert subscription["topic"] == "projects/my-project/topics/orders"


def settings_of(deployment: Deployment) -> dict[str, str]:
    one = deployment.resources["google_storage_bucket_object.settings"]
    assert one["bucket"] == ENVIRONMENT
    found: dict[str, str] = json.loads(one["content"])
    return found


@pytest.mark.usefixtures("team")
def test_a_team_that_has_deployed_has_nothing_to_change(team_workspace: Workspace) -> None:
    assert changes(team_workspace.plan()) == {}


@pytest.mark.usefixtures("team")
def test_others_files_in_the_bucket_survive_an_upload_and_a_destroy(
    team_workspace: Workspace, tmp_path: Any
) -> None:
    workspace = team_workspace.copy(tmp_path / "copy")
    bucket = workspace.folder / "buckets" / ENVIRONMENT
    here = {path.name for path in (ROOT / "dags").glob("*.py")}
    assert {path.name for path in (bucket / "dags").iterdir()} == here
    # Terraform's own objects are not in a folder here, so that this one has to be put there.
    (bucket / "plugins" / "imagen_settings.json").write_text("{}")
    others = [bucket / name for name in ("dags/theirs.py", "plugins/theirs.py", "data/a.csv")]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    (workspace.folder / "dags" / "imagen_stream.py").write_text("# changed\n")
    (workspace.folder / "plugins" / "imagen_ops" / "errors.py").unlink()
    # As the documentation tears down: tables stay until it is applied that they may go.
    workspace.give(**EXAMPLE, **TEAM, keep_data=False)
    workspace.run("apply", "-input=false", "-auto-approve")
    assert (bucket / "dags" / "imagen_stream.py").read_text() == "# changed\n"
    assert not (bucket / "plugins" / "imagen_ops" / "errors.py").exists()
    workspace.run("destroy", "-input=false", "-auto-approve")
    left = {path for path in bucket.rglob("*") if path.is_file()}
    assert left == set(others)
