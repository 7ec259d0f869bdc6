"""The Composer environment is one that there can be, with what is on and without what is off."""

import re
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.terraform.answers import NUMBER
from tests.terraform.workspace import OTHERWISE, Deployment, of_kind

pytestmark = pytest.mark.slow

Resources = dict[str, dict[str, Any]]


# https://cloud.google.com/composer/docs/composer-3/scale-environments: vCPU, GB; from, to.
SIZES = {
    "scheduler": ((0.5, 1), (1, 8)),
    "dag_processor": ((0.5, 32), (1, 256)),
    "triggerer": ((0.5, 1), (1, 8)),
    "web_server": ((1, 4), (2, 32)),
    "worker": ((0.5, 32), (1, 256)),
}
# Of other generations of Composer; the service refuses them.
NOT_COMPOSER_3 = {
    "node_count",
    "private_environment_config",
    "master_authorized_networks_config",
    "database_config",
    "web_server_config",
}


def test_the_environment_is_one_that_composer_3_offers(applied: Deployment) -> None:
    (config,) = applied.resources["google_composer_environment.imagen[0]"]["config"]
    (workloads,) = config["workloads_config"]
    for name, ((least_cpu, most_cpu), (least_gb, most_gb)) in SIZES.items():
        (size,) = workloads[name]
        if size.get("count") == 0:
            assert (size["cpu"], size["memory_gb"]) == (0, 0), "of none, there is no size"
            continue
        assert least_cpu <= size["cpu"] <= most_cpu, name
        assert least_gb <= size["memory_gb"] <= most_gb, name
        assert 1 <= size["memory_gb"] / size["cpu"] <= 8, name
    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*.tf"))
    assert not NOT_COMPOSER_3 & set(re.findall(r"^\s*(\w+) *(?:=|\{)", text, re.MULTILINE))


def test_airflow_is_the_version_that_the_tests_run_with(applied: Deployment) -> None:
    (config,) = applied.resources["google_composer_environment.imagen[0]"]["config"]
    (software,) = config["software_config"]
    pinned = re.search(
        r"^apache-airflow==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    assert pinned
    assert software["image_version"].startswith(f"composer-3-airflow-{pinned[1]}")


def test_the_web_server_is_open_unless_ranges_say_otherwise(
    planned: Resources, otherwise: Resources
) -> None:
    """A block that is left out would leave it closed to whom it was closed."""
    for resources, expected in (
        (planned, {"0.0.0.0/0", "::0/0"}),
        (otherwise, set(OTHERWISE["web_server_ranges"])),
    ):
        (config,) = resources["google_composer_environment.imagen[0]"]["config"]
        (access,) = config["web_server_network_access_control"]
        assert {one["value"] for one in access["allowed_ip_range"]} == expected


def test_what_is_off_is_not_configured(planned: Resources, otherwise: Resources) -> None:
    (config,) = planned["google_composer_environment.imagen[0]"]["config"]
    assert not config["recovery_config"]
    (config,) = otherwise["google_composer_environment.imagen[0]"]["config"]
    (snapshots,) = config["recovery_config"][0]["scheduled_snapshots_config"]
    assert snapshots["enabled"] is True


def test_an_environment_has_hours_to_go(planned: Resources) -> None:
    assert planned["google_composer_environment.imagen[0]"]["timeouts"]["delete"] == "120m"


def test_what_keeps_data_is_encrypted_with_the_key(otherwise: Resources) -> None:
    key = OTHERWISE["kms_key"]
    for one in of_kind(otherwise, "google_storage_bucket").values():
        assert one["encryption"][0]["default_kms_key_name"] == key
    kinds = ("google_pubsub_topic", "google_artifact_registry_repository")
    for kind in kinds:
        assert {one["kms_key_name"] for one in of_kind(otherwise, kind).values()} == {key}
    (config,) = otherwise["google_composer_environment.imagen[0]"]["config"]
    assert config["encryption_config"][0]["kms_key_name"] == key


def test_a_budget_tells_who_gets_alerts_and_the_project_is_what_it_counts(
    otherwise: Resources,
) -> None:
    budget = otherwise["google_billing_budget.imagen[0]"]
    assert budget["budget_filter"][0]["projects"] == [f"projects/{NUMBER}"]
    assert budget["amount"][0]["specified_amount"][0]["units"] == "500"
    assert {one["threshold_percent"] for one in budget["threshold_rules"]} == {0.5, 0.9, 1}


def test_maintenance_has_the_twelve_hours_a_week_that_composer_asks_for(
    applied: Deployment,
) -> None:
    import datetime as dt

    (config,) = applied.resources["google_composer_environment.imagen[0]"]["config"]
    (window,) = config["maintenance_window"]
    start, end = (dt.datetime.fromisoformat(window[name]) for name in ("start_time", "end_time"))
    days = window["recurrence"].rpartition("BYDAY=")[2].split(",")
    assert end - start >= dt.timedelta(hours=4)
    assert (end - start) * len(days) >= dt.timedelta(hours=12)
