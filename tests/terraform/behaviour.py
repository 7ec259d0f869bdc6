"""Why this exists: what the provider and the service do to a resource beyond what a schema
says, as far as it would bite a deployment: what is replaced when it changes, what a plan keeps of a
block that is left out, and what comes back from the service otherwise than it was sent.

Each is as the provider's source has it (hashicorp/terraform-provider-google, 7.45, and what is on
its way to 8).
"""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

from msgpack import ExtType

# Arguments with ForceNew, as far as `composer.tf` sets them.
_ALWAYS = frozenset(
    {"account_id", "bucket", "dataset_id", "location", "project", "region", "repository_id"}
    | {"role_id", "table_id"}
)
_OF_IAM = frozenset({"member", "role", "topic", "subscription", "repository", "service_account_id"})
_OF_KIND = {
    # google/services/pubsub/resource_pubsub_subscription.go
    "google_pubsub_subscription": {"name", "topic", "filter"},
    "google_pubsub_topic": {"name"},
    "google_artifact_registry_repository": {"kms_key_name"},
    "google_billing_budget": {"billing_account"},
    "google_compute_firewall": {"name", "direction"},
    "google_compute_network": {"name"},
    "google_compute_router": {"name", "network"},
    "google_compute_router_nat": {"name", "router"},
    "google_compute_subnetwork": {"name", "network"},
    "google_dns_managed_zone": {"name", "dns_name", "visibility"},
    "google_dns_record_set": {"name", "managed_zone"},
    "google_project_service": {"service"},
    "google_storage_bucket": {"name"},
    "google_storage_bucket_object": {"name", "content_type"},
    "google_composer_environment": {"name"},
}
# The same deeper in a resource: blocks that come once, down to the argument.
_DEEPER: dict[str, tuple[tuple[str, ...], ...]] = {
    # google/services/composer/resource_composer_environment.go
    "google_composer_environment": (
        ("config", "encryption_config", "kms_key_name"),
        ("config", "node_config", "service_account"),
        ("storage_config", "bucket"),
    ),
    "google_bigquery_table": (("time_partitioning", "field"),),
}
LABELS = ("effective_labels", "terraform_labels")
"""A resource's own labels with those of the provider's configuration."""
# Blocks of an environment's configuration that are optional and computed.
_KEPT_BLOCKS = ("encryption_config", "web_server_network_access_control")


def immutable(kind: str) -> frozenset[str]:
    """The arguments of a resource that can't be changed: another value needs another resource."""
    of_iam = _OF_IAM if kind.endswith("_iam_member") else frozenset()
    return _ALWAYS | of_iam | frozenset(_OF_KIND.get(kind, ()))


def replaced_for(kind: str, prior: Any, planned: dict[str, Any]) -> list[str]:
    """Which arguments make Terraform replace the resource; one not known yet counts as changed."""
    if prior is None:
        return []
    paths = [(name,) for name in sorted(immutable(kind))] + [*_DEEPER.get(kind, ())]
    found = [path[0] for path in paths if _changed(_at(prior, path), _at(planned, path))]
    if kind == "google_compute_subnetwork" and _leaves_addresses(prior, planned):
        found.append("ip_cidr_range")
    return found


def _at(values: Any, path: tuple[str, ...]) -> Any:
    """The value at the end of the path; None where a block on the way is left out."""
    for name in path:
        if isinstance(values, list):
            values = values[0] if values else None
        if values is None or isinstance(values, ExtType):
            return values
        values = values.get(name)
    return values


def _changed(had: Any, gets: Any) -> bool:
    return isinstance(gets, ExtType) or gets != had


def _leaves_addresses(prior: Any, planned: dict[str, Any]) -> bool:
    """Whether a subnetwork's range changes otherwise than by growing.

    google/services/compute/resource_compute_subnetwork.go: only a range around the old one is set
    in place.
    """
    had, gets = (ipaddress.ip_network(one["ip_cidr_range"]) for one in (prior, planned))
    return not (had.version == gets.version and had.subnet_of(gets))  # type: ignore[arg-type]


def stays(kind: str, prior: Any) -> str | None:
    """Why the provider doesn't delete the resource; None: it does."""
    # google/services/bigquery/resource_bigquery_table.go
    if kind == "google_bigquery_table" and prior["deletion_protection"] is not False:
        return "it can't be deleted before deletion_protection = false is applied"
    return None


def kept(kind: str, prior: Any, proposed: dict[str, Any]) -> dict[str, Any]:
    """The proposal with those blocks of the prior state that are optional and computed.

    Leaving such a block out changes nothing: `web_server_network_access_control` and
    `encryption_config` in google/services/composer/resource_composer_environment.go.
    """
    if kind != "google_composer_environment" or not prior or not prior["config"]:
        return proposed
    had = prior["config"][0]
    config = [
        {**one, **{block: one[block] or had[block] for block in _KEPT_BLOCKS if block in one}}
        for one in proposed["config"]
    ]
    return {**proposed, "config": config}


def worked_out_anew(proposed: dict[str, Any]) -> dict[str, Any]:
    """The proposal without the labels that the provider works out of others in each plan.

    `SetLabelsDiff` in google/tpgresource/labels.go.
    """
    return {**proposed, **{name: None for name in LABELS if name in proposed}}


def as_the_service_has_it(kind: str, state: Any) -> Any:
    """A resource as reading it gives it."""
    if not state:
        return state
    if kind == "google_monitoring_dashboard":
        content = json.dumps(_without_defaults(json.loads(state["dashboard_json"])))
        return {**state, "dashboard_json": content}
    if kind == "google_composer_environment":
        return {**state, "config": [_with_bare_snapshots(one) for one in state["config"]]}
    return state


def same(kind: str, prior: Any, proposed: dict[str, Any]) -> dict[str, Any]:
    """The proposal with the prior's value where the provider takes the two for the same.

    google/services/monitoring/resource_monitoring_dashboard.go compares the content of dashboards,
    less what only the service has.
    """
    if kind != "google_monitoring_dashboard" or not prior:
        return proposed
    given, had = proposed["dashboard_json"], prior["dashboard_json"]
    if isinstance(given, ExtType) or json.loads(given) != json.loads(had):
        return proposed
    return {**proposed, "dashboard_json": had}


def _without_defaults(value: Any) -> Any:
    """JSON as Google's services write a message: fields with their default are left out."""
    if isinstance(value, list):
        return [_without_defaults(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _without_defaults(one) for name, one in value.items()}
    return {name: one for name, one in found.items() if one not in (0, "", False, [], None)}


def _with_bare_snapshots(config: dict[str, Any]) -> dict[str, Any]:
    """Disabled snapshots come back without their place, schedule, and zone."""
    recovery = [
        {"scheduled_snapshots_config": list(_bare(one["scheduled_snapshots_config"]))}
        for one in config["recovery_config"]
    ]
    return {**config, "recovery_config": recovery}


def _bare(snapshots: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in snapshots:
        yield one if one["enabled"] else {**dict.fromkeys(one, ""), "enabled": False}
