"""Who may do what in a deployment: what is needed, and no more."""

from collections import Counter
from typing import Any

import pytest

from tests.grants import Grant, grants
from tests.terraform.workspace import OPERATORS, Deployment, of_kind

pytestmark = pytest.mark.slow

PROJECT = "my-project"
ON_PROJECT = {
    ("imagen-composer", "roles/composer.worker"),
    ("imagen-composer", "roles/dataflow.developer"),
    ("imagen-composer", "roles/monitoring.viewer"),
    ("imagen-composer", f"projects/{PROJECT}/roles/imagen_predictor"),
    ("imagen-worker", f"projects/{PROJECT}/roles/imagen_worker"),
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


def test_nobody_but_composer_has_permissions_on_every_bucket_of_the_project(
    applied: Deployment,
) -> None:
    """`roles/dataflow.worker` reads and creates objects in all of them."""
    roles = of_kind(applied.resources, "google_project_iam_custom_role")
    assert len(roles) == 4, "and one more with batch inference"
    own = {one["role_id"]: set(one["permissions"]) for one in roles.values()}
    assert own.pop("imagen_bucket") == {"storage.buckets.get"}
    for name, permissions in own.items():
        assert not [each for each in permissions if each.startswith("storage.")], name
    on_project = of_kind(applied.resources, "google_project_iam_member").values()
    assert not [one for one in on_project if one["role"].endswith("/imagen_bucket")]


def test_batch_inference_is_for_those_who_ask_for_it_and_only_below_its_folder(
    otherwise: dict[str, dict[str, Any]],
) -> None:
    resources = otherwise
    assert resources["google_project_iam_custom_role.batch[0]"]["permissions"] == [
        f"aiplatform.batchPredictionJobs.{what}" for what in ("cancel", "create", "get", "list")
    ]
    granted = resources["google_project_iam_member.composer_orders_batches[0]"]
    assert account(granted["member"]) == "imagen-composer"
    vertex = resources["google_storage_bucket_iam_member.vertex_works_on_batches[0]"]
    assert vertex["role"] == "roles/storage.objectUser"
    assert vertex["condition"][0]["title"] == "Only prefetch/"


def test_the_workers_role_has_all_that_dataflow_s_own_has_but_storage(applied: Deployment) -> None:
    """https://cloud.google.com/iam/docs/roles-permissions/dataflow, in August 2026."""
    permissions = applied.resources["google_project_iam_custom_role.worker"]["permissions"]
    counts = Counter(each.partition(".")[0] for each in permissions)
    assert counts == {"autoscaling": 3, "compute": 3, "dataflow": 11, "logging": 2, "monitoring": 1}


def test_on_objects_everybody_has_what_is_listed_and_only_below_its_folder(
    applied: Deployment,
) -> None:
    """Requests of whole jobs and DAGs are held against the same list: `tests/grants.py`."""
    bucket = f"{PROJECT}-imagen"
    planned = []
    for one in of_kind(applied.resources, "google_storage_bucket_iam_member").values():
        if not one["condition"]:
            continue
        assert one["bucket"] == bucket
        (condition,) = one["condition"]
        below, _, ending = condition["title"].removeprefix("Only ").partition("*")
        assert condition["expression"] == (
            f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{below}")'
            + (
                f' && resource.name.endsWith("{ending}")'
                if ending
                else ' || api.getAttribute("storage.googleapis.com/objectListPrefix", "")'
                f'.startsWith("{below}")'
            )
        )
        who = account(one["member"]).removeprefix("imagen-")
        planned.append(Grant(who, one["role"], below, ending))
    assert sorted(planned) == grants()


def test_on_whole_buckets_accounts_see_that_they_exist_and_composer_keeps_snapshots(
    applied: Deployment,
) -> None:
    found = {
        (account(one["member"]), one["role"].rpartition("/")[2], one["bucket"])
        for one in of_kind(applied.resources, "google_storage_bucket_iam_member").values()
        if not one["condition"]
    }
    assert found == {
        ("imagen-composer", "imagen_bucket", f"{PROJECT}-imagen"),
        ("imagen-worker", "imagen_bucket", f"{PROJECT}-imagen"),
        ("imagen-composer", "storage.objectUser", f"{PROJECT}-imagen-snapshots"),
    }


def test_workers_may_sign_in_their_own_name_only_where_that_is_asked_for(
    applied: Deployment, otherwise: dict[str, dict[str, Any]]
) -> None:
    resource = "google_service_account_iam_member.worker_signs_urls"
    assert not [name for name in applied.resources if name.startswith(resource)]
    one = otherwise[f"{resource}[0]"]
    assert account(one["member"]) == "imagen-worker"
    assert one["role"] == "roles/iam.serviceAccountTokenCreator"
    assert 'google_project_service.needed["iamcredentials.googleapis.com"]' in otherwise


def test_snapshots_go_to_a_bucket_of_their_own_and_end_after_a_month(
    otherwise: dict[str, dict[str, Any]],
) -> None:
    (config,) = otherwise["google_composer_environment.imagen[0]"]["config"]
    (snapshots,) = config["recovery_config"][0]["scheduled_snapshots_config"]
    bucket = otherwise["google_storage_bucket.snapshots[0]"]
    assert snapshots["snapshot_location"] == f"gs://{bucket['name']}/snapshots"
    (rule,) = bucket["lifecycle_rule"]
    assert (rule["condition"][0]["age"], rule["action"][0]["type"]) == (30, "Delete")


def test_prompt_files_may_lie_in_other_folders_for_those_who_read_them(
    otherwise: dict[str, dict[str, Any]],
) -> None:
    below = {
        account(one["member"])
        for one in of_kind(otherwise, "google_storage_bucket_iam_member").values()
        if one["condition"] and one["condition"][0]["title"] == "Only orders/eu/"
    }
    assert below == {"imagen-composer", "imagen-worker"}


def test_workers_connect_to_google_and_to_each_other_and_to_nothing_else(
    applied: Deployment,
) -> None:
    rules = [
        one
        for one in of_kind(applied.resources, "google_compute_firewall").values()
        if one["direction"] == "EGRESS"
    ]
    worker = [f"imagen-worker@{PROJECT}.iam.gserviceaccount.com"]
    assert all(one["target_service_accounts"] == worker for one in rules)
    allowed = {
        (*one["destination_ranges"], *one["allow"][0]["ports"]): one["priority"]
        for one in rules
        if one["allow"]
    }
    assert set(allowed) == {("199.36.153.8/30", "443"), ("10.20.0.0/22", "12345-12346")}
    (denied,) = [one for one in rules if one["deny"]]
    assert denied["destination_ranges"] == ["0.0.0.0/0"]
    assert denied["deny"][0]["protocol"] == "all"
    assert max(allowed.values()) < denied["priority"], "the lower number is asked first"


@pytest.mark.parametrize(
    "host",
    [
        "storage.googleapis.com.",
        "aiplatform.us.rep.googleapis.com.",
        "us-central1-docker.pkg.dev.",
        "gcr.io.",
    ],
)
def test_names_of_google_lead_to_the_addresses_that_workers_reach(
    applied: Deployment, host: str
) -> None:
    records = of_kind(applied.resources, "google_dns_record_set").values()
    zones = of_kind(applied.resources, "google_dns_managed_zone").values()
    assert {one["visibility"] for one in zones} == {"private"}
    found = {one["name"]: one["rrdatas"] for one in records}
    if host not in found:
        ((host,),) = [
            to for name, to in found.items() if name[0] == "*" and host.endswith(name[1:])
        ]
    assert found[host] == [f"199.36.153.{last}" for last in (8, 9, 10, 11)]


def test_workers_reach_what_an_operator_adds(otherwise: dict[str, dict[str, Any]]) -> None:
    rule = otherwise["google_compute_firewall.workers_reach_google[0]"]
    assert set(rule["destination_ranges"]) == {"199.36.153.8/30", "10.30.0.5/32"}


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


def test_whoever_operates_it_may_do_what_the_runbook_asks_and_no_more(
    otherwise: dict[str, dict[str, Any]],
) -> None:
    resources = otherwise
    assert granted_to_people(resources) == {
        (member, role, on)
        for member in OPERATORS
        for role, on in (
            ("roles/composer.user", "project"),
            # Known after apply only: the role of our own, below.
            (None, "project"),
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
    assert set(own) == {
        "composer.environments.executeAirflowCommand",
        "compute.regions.get",
        # Without `create` and `updateContents`: what runs is Airflow's to decide.
        *(f"dataflow.jobs.{what}" for what in ("cancel", "get", "list")),
        "dataflow.messages.list",
        "dataflow.metrics.get",
    }


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
            found.add((one["member"], one.get("role"), on.rpartition("/")[2]))
    return found


def test_nothing_is_open_to_everybody(applied: Deployment) -> None:
    for name, one in applied.resources.items():
        assert one.get("member") not in {"allUsers", "allAuthenticatedUsers"}, name
    for name, one in of_kind(applied.resources, "google_storage_bucket").items():
        assert one["public_access_prevention"] == "enforced", name
        assert one["uniform_bucket_level_access"] is True, name
