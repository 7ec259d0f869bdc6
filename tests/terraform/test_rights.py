"""Who may do what in a deployment: what is needed, and no more."""

from typing import Any

import pytest

from tests.terraform.workspace import Deployment, of_kind

pytestmark = pytest.mark.slow

PROJECT = "my-project"
ON_PROJECT = {
    ("imagen-composer", "roles/composer.worker"),
    ("imagen-composer", "roles/dataflow.developer"),
    ("imagen-composer", "roles/monitoring.viewer"),
    ("imagen-composer", f"projects/{PROJECT}/roles/imagen_predictor"),
    ("imagen-worker", "roles/dataflow.worker"),
    ("imagen-worker", f"projects/{PROJECT}/roles/imagen_predictor"),
    ("imagen-build", "roles/logging.logWriter"),
}


def account(member: str) -> str:
    name, _, rest = member.removeprefix("serviceAccount:").partition("@")
    assert rest == f"{PROJECT}.iam.gserviceaccount.com", member
    return name


def test_on_the_project_nobody_has_more_than_what_is_listed_here(applied: Deployment) -> None:
    granted = of_kind(applied.resources, "google_project_iam_member")
    assert {(account(one["member"]), one["role"]) for one in granted.values()} == ON_PROJECT


def test_workers_and_airflow_may_call_models_and_do_nothing_else_on_vertex_ai(
    applied: Deployment,
) -> None:
    role = applied.resources["google_project_iam_custom_role.predictor"]
    assert role["permissions"] == ["aiplatform.endpoints.get", "aiplatform.endpoints.predict"]


@pytest.mark.parametrize(
    ("who", "role", "what"),
    [
        ("imagen-composer", "publisher", "prompts"),
        ("imagen-composer", "subscriber", "canary-sub"),
        ("imagen-composer", "subscriber", "dead-letters-sub"),
        ("imagen-worker", "publisher", "predictions"),
        ("imagen-worker", "publisher", "dead-letters"),
        ("imagen-worker", "subscriber", "prompts-sub"),
    ],
)
def test_messages_are_sent_and_taken_by_those_who_have_to(
    applied: Deployment, who: str, role: str, what: str
) -> None:
    assert (who, role, what) in moves(applied)


def test_messages_are_sent_and_taken_by_nobody_else(applied: Deployment) -> None:
    assert len(moves(applied)) == 6


def moves(applied: Deployment) -> set[tuple[str, str, str]]:
    """Return who may publish to or take from what."""
    kinds = ("google_pubsub_topic_iam_member", "google_pubsub_subscription_iam_member")
    granted = [one for kind in kinds for one in of_kind(applied.resources, kind).values()]
    return {
        (
            account(one["member"]),
            one["role"].removeprefix("roles/pubsub."),
            (one.get("topic") or one.get("subscription")).rpartition("/")[2],
        )
        for one in granted
        if one["role"] != "roles/pubsub.viewer"
    }


def test_airflow_may_launch_jobs_as_the_worker_and_as_nobody_else(applied: Deployment) -> None:
    (one,) = of_kind(applied.resources, "google_service_account_iam_member").values()
    assert account(one["member"]) == "imagen-composer"
    assert one["role"] == "roles/iam.serviceAccountUser"
    assert "imagen-worker@" in one["service_account_id"]


OPERATORS = ["group:oncall@example.com", "user:somebody@example.com"]


def test_whoever_operates_it_may_do_what_the_runbook_asks_and_no_more(plan: Any) -> None:
    resources = plan(operators=OPERATORS)
    assert granted_to_people(resources) == {
        (member, role, on)
        for member in OPERATORS
        for role, on in (
            ("roles/composer.user", "project"),
            # Known after apply only: the role of our own, below.
            (None, "project"),
            ("roles/dataflow.developer", "project"),
            ("roles/logging.viewer", "project"),
            ("roles/monitoring.viewer", "project"),
            ("roles/storage.objectViewer", f"{PROJECT}-imagen"),
            ("roles/pubsub.subscriber", "prompts-sub"),
            ("roles/pubsub.subscriber", "dead-letters-sub"),
            ("roles/pubsub.viewer", "canary-sub"),
            ("roles/artifactregistry.reader", "images of containers"),
        )
    }
    own = resources["google_project_iam_custom_role.operator"]["permissions"]
    assert set(own) == {"composer.environments.executeAirflowCommand", "compute.regions.get"}


def test_nobody_who_is_not_named_operates_it(planned: dict[str, dict[str, Any]]) -> None:
    assert granted_to_people(planned) == set()


def granted_to_people(resources: dict[str, dict[str, Any]]) -> set[tuple[str, str | None, str]]:
    """Return who has which role on what, but for service accounts."""
    found = set()
    for address, one in resources.items():
        kind = address.partition(".")[0]
        if kind.endswith("_iam_member") and not one["member"].startswith("serviceAccount:"):
            rest = "images of containers" if "artifact" in kind else "project"
            on = one.get("bucket") or one.get("subscription") or rest
            found.add((one["member"], one.get("role"), on))
    return found


def test_nothing_is_open_to_everybody(applied: Deployment) -> None:
    for name, one in applied.resources.items():
        assert one.get("member") not in {"allUsers", "allAuthenticatedUsers"}, name
    for name, one in of_kind(applied.resources, "google_storage_bucket").items():
        assert one["public_access_prevention"] == "enforced", name
        assert one["uniform_bucket_level_access"] is True, name
