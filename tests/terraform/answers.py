"""Why this exists: what Google Cloud decides about a resource, so that an apply against the
stand-in ends with values that look like the service's own: ids, addresses, numbers.

The forms are those of the provider's documentation, section "Attributes Reference" of each
resource. What is not listed gets a value that names itself, as in
`google_compute_network.gateway_ipv4`, and so is recognized wherever it turns up.
"""

import json
from typing import Any

NUMBER = 123456789012
COMPUTE = "https://www.googleapis.com/compute/v1/"

_ID = {
    "google_artifact_registry_repository": (
        "projects/{project}/locations/{location}/repositories/{repository_id}"
    ),
    "google_bigquery_dataset": "projects/{project}/datasets/{dataset_id}",
    "google_bigquery_table": "projects/{project}/datasets/{dataset_id}/tables/{table_id}",
    "google_composer_environment": "projects/{project}/locations/{region}/environments/{name}",
    "google_billing_budget": "billingAccounts/{billing_account}/budgets/made-by-the-service",
    "google_compute_firewall": "projects/{project}/global/firewalls/{name}",
    "google_compute_network": "projects/{project}/global/networks/{name}",
    "google_compute_router": "projects/{project}/regions/{region}/routers/{name}",
    "google_compute_router_nat": "{project}/{region}/{router}/{name}",
    "google_compute_subnetwork": "projects/{project}/regions/{region}/subnetworks/{name}",
    "google_logging_metric": "{name}",
    "google_monitoring_alert_policy": "projects/{project}/alertPolicies/{display_name}",
    "google_monitoring_dashboard": "projects/{number}/dashboards/made-by-the-service",
    "google_monitoring_notification_channel": (
        "projects/{project}/notificationChannels/{display_name}"
    ),
    "google_project": "projects/{project_id}",
    "google_project_iam_custom_role": "projects/{project}/roles/{role_id}",
    "google_project_service": "{project}/{service}",
    "google_pubsub_subscription": "projects/{project}/subscriptions/{name}",
    "google_pubsub_topic": "projects/{project}/topics/{name}",
    "google_service_account": "projects/{project}/serviceAccounts/{email}",
    "google_storage_bucket": "{name}",
    "google_storage_bucket_object": "{bucket}-{name}",
}

# Known before apply, as the provider works them out while it plans.
_PLANNED = {
    "google_project": {"project_id": "{project}"},
    "google_service_account": {
        "email": "{account_id}@{project}.iam.gserviceaccount.com",
        "member": "serviceAccount:{account_id}@{project}.iam.gserviceaccount.com",
    },
    "google_storage_project_service_account": {
        "email_address": "service-{number}@gs-project-accounts.iam.gserviceaccount.com",
        "member": "serviceAccount:service-{number}@gs-project-accounts.iam.gserviceaccount.com",
    },
}

# Known after apply.
_APPLIED = {
    "google_artifact_registry_repository": {"name": "{repository_id}"},
    "google_composer_environment.config": {
        "airflow_uri": "https://0123456789abcdef-dot-{region}.composer.googleusercontent.com",
        "dag_gcs_prefix": "gs://{storage_config_bucket}/dags",
        "gke_cluster": "projects/tenant/locations/{region}/clusters/{name}",
    },
    "google_compute_network": {"self_link": COMPUTE + _ID["google_compute_network"]},
    "google_compute_subnetwork": {"self_link": COMPUTE + _ID["google_compute_subnetwork"]},
    "google_monitoring_alert_policy": {"name": _ID["google_monitoring_alert_policy"]},
    "google_monitoring_notification_channel": {
        "name": _ID["google_monitoring_notification_channel"]
    },
    "google_project": {"number": "{number}"},
    "google_project_iam_custom_role": {"name": _ID["google_project_iam_custom_role"]},
    "google_service_account": {"name": _ID["google_service_account"], "unique_id": "1{number}"},
    "google_storage_bucket": {"url": "gs://{name}"},
}


def while_planning(kind: str, name: str, context: dict[str, Any]) -> Any:
    """What the provider knows without asking: project, region, labels, and what follows."""
    if name in ("project", "region") and context.get(name):
        return context[name]
    if name in ("effective_labels", "terraform_labels"):
        return {**(context.get("default_labels") or {}), **(context.get("labels") or {})}
    return _filled(_PLANNED.get(kind, {}).get(name), context)


# What a project has already, by the type of data source: what of its arguments it is found by, and
# what is found there beside them.
_BUILT = "composer-3-airflow-3.3.1-build.1"


def _environment(image: str = _BUILT, plugins: str = "ENABLED") -> dict[str, Any]:
    return {
        "config": [
            {
                "airflow_uri": "https://team-dot-us-central1.composer.googleusercontent.com",
                "dag_gcs_prefix": "gs://us-central1-team-bucket/dags",
                "node_config": [{"service_account": "airflow@my-project.iam.gserviceaccount.com"}],
                "software_config": [
                    {"image_version": image, "web_server_plugins_mode": plugins},
                ],
            }
        ]
    }


def _policy(*agents: str) -> dict[str, Any]:
    members = [f"serviceAccount:{name}.iam.gserviceaccount.com" for name in agents]
    role = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    return {"policy_data": json.dumps({"bindings": [{"role": role, "members": members}]})}


_RING = "projects/keys/locations/us-central1/keyRings/team"
_THERE: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "google_composer_environment": (
        "name",
        {
            "team-airflow": _environment(),
            "composer-two": _environment("composer-2.9.7-airflow-2.9.3-build.20"),
            "airflow-two": _environment("composer-3-airflow-2.10.5-build.3"),
            "no-plugins": _environment(plugins="DISABLED"),
        },
    ),
    "google_composer_image_versions": (
        "region",
        {"us-central1": {"image_versions": [{"image_version_id": _BUILT}]}},
    ),
    "google_compute_subnetwork": (
        "name",
        {
            "shared": {
                "private_ip_google_access": True,
                "network": f"{COMPUTE}projects/network-host/global/networks/shared",
                "self_link": (
                    f"{COMPUTE}projects/network-host/regions/us-central1/subnetworks/shared"
                ),
            },
            "closed": {"private_ip_google_access": False},
        },
    ),
    "google_kms_crypto_key_iam_policy": (
        "crypto_key_id",
        {
            f"{_RING}/cryptoKeys/imagen": _policy(
                f"service-{NUMBER}@gs-project-accounts",
                f"service-{NUMBER}@gcp-sa-artifactregistry",
                f"service-{NUMBER}@compute-system",
                f"service-{NUMBER}@dataflow-service-producer-prod",
                f"service-{NUMBER}@cloudcomposer-accounts",
                f"bq-{NUMBER}@bigquery-encryption",
            ),
        },
    ),
    # What a whole ring grants holds for its keys.
    "google_kms_key_ring_iam_policy": (
        "key_ring_id",
        {_RING: _policy(f"service-{NUMBER}@gcp-sa-pubsub")},
    ),
}


def found_there(kind: str, config: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """What a data source finds by its arguments; nothing special if it is none of those above."""
    argument, known = _THERE.get(kind, ("", {}))
    found = known.get(config.get(argument, ""), {})
    return {name: _whole(attributes[name]["type"], value) for name, value in found.items()}


def _whole(type_: Any, value: Any) -> Any:
    """The value with null for the members of objects that it leaves out."""
    if isinstance(type_, list) and type_[0] == "object":
        return {
            name: _whole(inner, value[name]) if name in value else None
            for name, inner in type_[1].items()
        }
    if isinstance(type_, list) and isinstance(value, list):
        return [_whole(type_[1], one) for one in value]
    return value


def after_apply(kind: str, name: str, type_: Any, context: dict[str, Any]) -> Any:
    """What the service decides."""
    if (known := while_planning(kind, name, context)) is not None:
        return known
    template = _ID.get(kind) if name == "id" else _APPLIED.get(kind, {}).get(name)
    if (known := _filled(template, context)) is not None:
        return known
    if isinstance(type_, list):
        return {} if type_[0] == "map" else []
    return {"string": f"{kind}.{name}", "number": 0, "bool": False}[type_]


def _filled(template: str | None, context: dict[str, Any]) -> str | None:
    """The template with the resource's own values; None where one of them is not known yet."""
    try:
        values = {key: value for key, value in context.items() if isinstance(value, str | int)}
        return template.format_map({**values, "number": NUMBER}) if template else None
    except KeyError:
        return None
