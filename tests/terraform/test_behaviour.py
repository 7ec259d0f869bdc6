"""What the stand-in does beyond a schema is what the provider and the service do."""

from tests.terraform.behaviour import as_the_service_has_it, kept, replaced_for, same
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
