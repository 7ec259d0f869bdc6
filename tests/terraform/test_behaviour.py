"""What the stand-in does beyond a schema is what the provider and the service do."""

import pytest

from tests.terraform.behaviour import (
    as_the_service_has_it,
    kept,
    replaced_for,
    same,
    stays,
    worked_out_anew,
)
from tests.terraform.protocol import UNKNOWN

ENVIRONMENT = "google_composer_environment"
ACCESS = "web_server_network_access_control"
OFF = {
    "enabled": False,
    "snapshot_location": "gs://bucket/snapshots",
    "snapshot_creation_schedule": "0 4 * * *",
    "time_zone": "UTC",
}


def test_a_subscription_is_replaced_for_another_filter_and_its_members_for_another_id():
    prior = {"name": "a", "topic": "t", "filter": "", "ack_deadline_seconds": 10}
    kind = "google_pubsub_subscription"
    assert replaced_for(kind, prior, {**prior, "ack_deadline_seconds": 20}) == []
    assert replaced_for(kind, prior, {**prior, "filter": "attributes:a"}) == ["filter"]
    member = {"subscription": "projects/p/subscriptions/a", "role": "r", "member": "m"}
    unknown = {**member, "subscription": UNKNOWN}
    assert replaced_for(f"{kind}_iam_member", member, unknown) == ["subscription"]
    assert replaced_for(kind, None, prior) == [], "it is new"


def test_ranges_that_are_left_out_stay():
    closed = {"config": [{ACCESS: [{"allowed_ip_range": [{"value": "203.0.113.0/24"}]}]}]}
    assert kept(ENVIRONMENT, closed, {"config": [{ACCESS: []}]}) == closed
    opened = {"config": [{ACCESS: [{"allowed_ip_range": [{"value": "0.0.0.0/0"}]}]}]}
    assert kept(ENVIRONMENT, closed, opened) == opened


def test_a_key_that_is_left_out_stays_and_another_one_needs_another_environment():
    def config(*keys):
        return {"config": [{"encryption_config": [{"kms_key_name": key} for key in keys]}]}

    assert kept(ENVIRONMENT, config("a"), config()) == config("a")
    assert kept(ENVIRONMENT, config("a"), config("b")) == config("b")
    assert replaced_for(ENVIRONMENT, config("a"), config("a")) == []
    assert replaced_for(ENVIRONMENT, config("a"), config("b")) == ["config"]
    assert replaced_for(ENVIRONMENT, config(), config("b")) == ["config"]


def test_a_registry_is_replaced_with_its_key_and_without():
    kind, key = "google_artifact_registry_repository", {"kms_key_name": "a"}
    assert replaced_for(kind, {"kms_key_name": None}, key) == ["kms_key_name"]
    assert replaced_for(kind, key, {"kms_key_name": None}) == ["kms_key_name"]
    assert replaced_for(kind, key, key) == []


@pytest.mark.parametrize(
    ("planned", "is_replaced"),
    [
        ("10.20.0.0/22", False),
        ("10.20.0.0/20", False),
        ("10.20.0.0/24", True),
        ("10.30.0.0/16", True),
    ],
)
def test_a_subnetworks_range_grows_in_place_and_nothing_else(planned, is_replaced):
    found = replaced_for(
        "google_compute_subnetwork", {"ip_cidr_range": "10.20.0.0/22"}, {"ip_cidr_range": planned}
    )
    assert found == ["ip_cidr_range"] * is_replaced


def test_a_table_is_deleted_once_it_is_applied_that_it_may_be():
    assert stays("google_bigquery_table", {"deletion_protection": True})
    assert not stays("google_bigquery_table", {"deletion_protection": False})
    assert not stays("google_pubsub_topic", {})


def test_labels_are_worked_out_anew_in_each_plan():
    prior = {"labels": {"a": "b"}, "effective_labels": {"a": "b", "of": "before"}}
    assert worked_out_anew(prior) == {"labels": {"a": "b"}, "effective_labels": None}


def test_snapshots_that_are_off_come_back_without_their_place():
    state = {"config": [{"recovery_config": [{"scheduled_snapshots_config": [OFF]}]}]}
    (config,) = as_the_service_has_it(ENVIRONMENT, state)["config"]
    (found,) = config["recovery_config"][0]["scheduled_snapshots_config"]
    assert found == {**dict.fromkeys(OFF, ""), "enabled": False}


def test_a_dashboard_comes_back_without_zeros_and_empty_lists_and_is_compared_by_content():
    kind = "google_monitoring_dashboard"
    state = {"dashboard_json": '{"xPos": 0, "by": [], "width": 6}'}
    found = as_the_service_has_it(kind, state)
    assert found == {"dashboard_json": '{"width": 6}'}
    assert same(kind, found, {"dashboard_json": '{"width":6}'}) == found
    assert same(kind, found, state) == state, "a plan would have a change"
