"""Metrics, policies, and lines: what nobody watches, or what is in no log, is found."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.verification.answers import Answers
from tests.verification.conftest import Verifying, differs, holds
from verification.checks import watching
from verification.visit import Visit

POLICIES = "/v3/projects/demo-project/alertPolicies"
SERIES = "/v3/projects/demo-project/timeSeries"
ENTRIES = "/v2/entries:list"


@pytest.fixture
def monitoring(verifying: Verifying, answers: Answers) -> Answers:
    """Cloud Monitoring as the answers have it, in place of its stand-in."""
    access = verifying.visit.access
    name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"
    access._environment = {**access._environment, name: answers.url}
    return answers


def policy(*conditions: str, enabled: bool = True) -> dict[str, Any]:
    found = [{"conditionThreshold": {"filter": each}} for each in conditions]
    return {"displayName": "imagen: x", "enabled": enabled, "conditions": found}


def series(*values: tuple[str, int]) -> dict[str, Any]:
    points = [{"interval": {"endTime": at}, "value": {"int64Value": str(v)}} for at, v in values]
    return {"timeSeries": [{"points": points}]}


def test_policies_that_watch_everything_hold(verifying: Verifying, monitoring: Answers) -> None:
    monitoring.at[POLICIES] = (200, {"alertPolicies": [policy(*watching._WATCHED)]})
    assert "nobody gets a mail" in holds(verifying.ask("alert policies")).seen


@pytest.mark.parametrize("missing", ["stream_crash_loop", "job/is_failed"])
def test_what_no_policy_watches_is_found(
    verifying: Verifying, monitoring: Answers, missing: str
) -> None:
    others = [each for each in watching._WATCHED if not each.endswith(missing)]
    off = policy(*watching._WATCHED, enabled=False)
    monitoring.at[POLICIES] = (200, {"alertPolicies": [policy(*others), off]})
    differs(verifying.ask("alert policies"), missing)


def test_metrics_that_never_come_are_found(verifying: Verifying) -> None:
    differs(verifying.ask("metrics", within_s=1), "system_lag has no point")


def test_metrics_that_are_too_old_are_found(verifying: Verifying, monitoring: Answers) -> None:
    now = datetime.now(UTC).isoformat()
    monitoring.at[SERIES] = (200, series((now, 3)))
    holds(verifying.ask("metrics"))
    old = datetime.fromtimestamp(datetime.now(UTC).timestamp() - 900, UTC).isoformat()
    monitoring.at[SERIES] = (200, series((old, 3)))
    differs(verifying.ask("metrics"), "older than 300 s")


def test_prompts_that_wait_are_found_before_a_stream_would_pay_for_them(
    verifying: Verifying, monitoring: Answers
) -> None:
    monitoring.at[SERIES] = (200, series((datetime.now(UTC).isoformat(), 0)))
    holds(verifying.ask("nothing runs"))
    monitoring.at[SERIES] = (200, series((datetime.now(UTC).isoformat(), 7)))
    differs(verifying.ask("nothing runs"), "7 prompts wait")


def known_run(visit: Visit) -> None:
    visit.known["failed run"] = ("manual__1", datetime.now(UTC))


def ask_after(verifying: Verifying, name: str, within_s: float) -> Any:
    """Ask about a run that failed before, without triggering another."""
    verifying.checks[name] = dataclasses.replace(verifying.checks[name], begin=None)
    known_run(verifying.visit)
    return verifying.ask(name, within_s=within_s)


def test_a_line_of_another_run_is_no_line_of_this_one(
    verifying: Verifying, answers: Answers
) -> None:
    now = datetime.now(UTC).isoformat()
    entry = {"timestamp": now, "logName": "airflow-dag-processor", "textPayload": "manual__1"}
    answers.at[ENTRIES] = (200, {"entries": [entry]})
    assert "airflow-dag-processor" in holds(ask_after(verifying, "alert line", 20)).seen
    entry["textPayload"] = json.dumps({"run": "manual__2"})
    differs(ask_after(verifying, "alert line", 1), "no line says that manual__1 failed")


def test_failed_runs_that_are_not_counted_are_found(
    verifying: Verifying, monitoring: Answers
) -> None:
    monitoring.at[SERIES] = (200, series((datetime.now(UTC).isoformat(), 1)))
    holds(ask_after(verifying, "failed runs counted", 20))
    monitoring.at[SERIES] = (200, {})
    differs(ask_after(verifying, "failed runs counted", 1), "no failed run is counted")
