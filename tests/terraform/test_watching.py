"""Alerts and the dashboard look at what there is."""

import json
import re
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.terraform.behaviour import as_the_service_has_it
from tests.terraform.workspace import Deployment, of_kind

pytestmark = pytest.mark.slow

# Metric: resource, kind, labels of metric and resource that may be filtered by.
# Dataflow and Pub/Sub: https://cloud.google.com/monitoring/api/metrics_gcp_d_h, …/metrics_gcp_p_z.
# Composer: https://cloud.google.com/composer/docs/composer-3/monitor-environments.
JOB = {"job_name", "region", "project_id", "job_id"}
METRICS: dict[str, tuple[str, str, set[str]]] = {
    "dataflow.googleapis.com/job/is_failed": ("dataflow_job", "GAUGE", JOB),
    "dataflow.googleapis.com/job/system_lag": ("dataflow_job", "GAUGE", JOB),
    "dataflow.googleapis.com/job/data_watermark_age": ("dataflow_job", "GAUGE", JOB),
    "dataflow.googleapis.com/job/current_num_vcpus": ("dataflow_job", "GAUGE", JOB),
    "dataflow.googleapis.com/job/user_counter": ("dataflow_job", "GAUGE", JOB | {"metric_name"}),
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": (
        "pubsub_subscription",
        "GAUGE",
        {"subscription_id"},
    ),
    "pubsub.googleapis.com/subscription/num_undelivered_messages": (
        "pubsub_subscription",
        "GAUGE",
        {"subscription_id"},
    ),
    "pubsub.googleapis.com/topic/message_sizes": ("pubsub_topic", "DELTA", {"topic_id"}),
    "composer.googleapis.com/workflow/run_count": (
        "cloud_composer_workflow",
        "DELTA",
        {"state", "workflow_name"},
    ),
}
# https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies#Aligner
ALIGNERS = {"GAUGE": {"ALIGN_MAX"}, "DELTA": {"ALIGN_SUM"}}


def filters(applied: Deployment) -> list[tuple[str, str]]:
    """Return every filter of alerts and dashboard, with its aligner."""
    found = []
    for one in of_kind(applied.resources, "google_monitoring_alert_policy").values():
        for condition in one["conditions"]:
            for threshold in condition["condition_threshold"]:
                (aggregation,) = threshold["aggregations"]
                found.append((threshold["filter"], aggregation["per_series_aligner"]))
    for query in charts(applied):
        if "timeSeriesFilter" in query:
            series = query["timeSeriesFilter"]
            found.append((series["filter"], series["aggregation"]["perSeriesAligner"]))
    return found


def queries(applied: Deployment) -> list[str]:
    found = [query["prometheusQuery"] for query in charts(applied) if "prometheusQuery" in query]
    for one in of_kind(applied.resources, "google_monitoring_alert_policy").values():
        for condition in one["conditions"]:
            found += [each["query"] for each in condition["condition_prometheus_query_language"]]
    return found


def charts(applied: Deployment) -> list[dict[str, Any]]:
    dashboard = json.loads(
        applied.resources["google_monitoring_dashboard.imagen"]["dashboard_json"]
    )
    return [
        data["timeSeriesQuery"]
        for tile in dashboard["mosaicLayout"]["tiles"]
        for data in tile["widget"]["xyChart"]["dataSets"]
    ]


def test_alerts_and_dashboard_read_metrics_that_exist_with_labels_that_they_have(
    applied: Deployment,
) -> None:
    found = filters(applied)
    assert len(found) >= 13
    for text, aligner in found:
        (metric,) = re.findall(r'metric\.type = "([^"]+)"', text)
        (resource,) = re.findall(r'resource\.type = "([^"]+)"', text)
        belongs, kind, labels = METRICS[metric]
        assert resource == belongs, text
        assert set(re.findall(r"(?:metric|resource)\.labels\.(\w+)", text)) <= labels, text
        assert aligner in ALIGNERS[kind], text


def test_queries_name_metrics_as_promql_does(applied: Deployment) -> None:
    """https://cloud.google.com/monitoring/promql/promql-mapping"""
    found = queries(applied)
    assert len(found) == 2
    counted = {
        re.sub(r"[^A-Za-z0-9_:]", "_", metric.replace("/", ":", 1)) + "_count": (resource, labels)
        for metric, (resource, _, labels) in METRICS.items()
        if metric.endswith("message_sizes")
    }
    for query in found:
        (name,) = re.findall(r"\w+:\w+", query)
        resource, labels = counted[name]
        given = dict(re.findall(r'(\w+)="([^"]*)"', query))
        assert given.pop("monitored_resource") == resource
        assert set(given) <= labels


def test_a_line_that_is_an_alert_is_one_that_the_code_writes(applied: Deployment) -> None:
    from imagen_ops.alerts.alert import SCHEMA

    code = "\n".join(path.read_text() for path in (ROOT / "plugins").rglob("*.py"))
    found = [
        each["filter"]
        for one in of_kind(applied.resources, "google_monitoring_alert_policy").values()
        for condition in one["conditions"]
        for each in condition["condition_matched_log"]
    ]
    assert len(found) == 4
    for text in found:
        (event,) = re.findall(rf'AND "{re.escape(SCHEMA)}:(\w+)"$', text)
        assert f'"{event}"' in code


def test_a_counter_on_the_dashboard_is_one_that_the_jobs_count(applied: Deployment) -> None:
    from beam_jobs.outcomes import Reason

    code = (ROOT / "beam_jobs" / "metrics.py").read_text()
    counters = set(re.findall(r'_add\("(\w+)"', code)) | {
        f"failures_{each.value}" for each in Reason
    }
    named = r'metric_name = (?:monitoring\.regex\.full_match\()?"([^"]+)"'
    drawn = "|".join(found for text, _ in filters(applied) for found in re.findall(named, text))
    patterns = drawn.split("|")
    assert len(patterns) >= 6
    for pattern in patterns:
        assert any(re.fullmatch(pattern, counter) for counter in counters), pattern


def test_a_dashboard_has_nothing_that_the_service_leaves_out(applied: Deployment) -> None:
    """It would differ on every plan."""
    for one in of_kind(applied.resources, "google_monitoring_dashboard").values():
        assert as_the_service_has_it("google_monitoring_dashboard", one)["dashboard_json"] == (
            json.dumps(json.loads(one["dashboard_json"]))
        )


def test_a_query_on_a_metric_without_data_is_no_error(applied: Deployment) -> None:
    policy = applied.resources["google_monitoring_alert_policy.dead_letters"]
    (condition,) = policy["conditions"][0]["condition_prometheus_query_language"]
    assert condition["disable_metric_validation"] is True


def test_who_is_told_is_told_of_every_alert(otherwise: dict[str, dict[str, Any]]) -> None:
    assert len(of_kind(otherwise, "google_monitoring_notification_channel")) == 2
    policies = of_kind(otherwise, "google_monitoring_alert_policy")
    assert len(policies) == 10
