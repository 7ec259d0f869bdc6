"""Why this exists: what Google Cloud decides about a resource, so that an apply against the
stand-in ends with values that look like the service's own: ids, addresses, numbers.

The forms are those of the provider's documentation, section "Attributes Reference" of each
resource. What is not listed gets a value that names itself, as in
`google_compute_network.gateway_ipv4`, and so is recognized wherever it turns up.
"""

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
