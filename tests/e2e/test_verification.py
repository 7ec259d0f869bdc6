"""What verifies a deployment, whole, by its script: against stand-ins and a real Airflow."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PROJECT, ROOT
from tests.e2e.conftest import Operated

# Minutes, for what tests/verification shows check by check.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

# What stand-ins don't have, or do otherwise than the real service, and why. An entry that ends with
# a space stands for all names that begin so.
DIFFERS = {
    "refused ": "the stand-ins refuse nothing to anybody",
    "alert policies": "the stand-in for Monitoring has no policies",
    "failed runs counted": "and no metrics of Composer's",
    "launched as asked": "the Airflow on this machine sets no account and no subnetwork",
}
NOT_ASKED = {
    "images": "no stand-in for the registry",
    "refused worker list DAGs": "Composer's bucket is not there",
    "refused worker write a DAG": "Composer's bucket is not there",
    "refused worker list snapshots": "the bucket of snapshots is not there",
    "airflow command": "no stand-in for Composer's API",
    "composer options": "no stand-in for Composer's API",
    "alert line": "no stand-in for Cloud Logging",
    "quota": "the stand-in answers each request with an image, so that a burst would be dear",
}


def is_listed(name: str, listed: dict[str, str]) -> bool:
    return any(stands_for(entry, name) for entry in listed)


def stands_for(entry: str, name: str) -> bool:
    return name == entry or (entry.endswith(" ") and name.startswith(entry))


@pytest.fixture
def emptied(operated: Operated) -> Any:
    """Leave the subscriptions, which other tests use, as they were."""
    yield
    subscriber = operated.lane.subscriber
    for name in ("prompts-sub", "predictions-sub", "dead-letters-sub", "canary-sub"):
        subscription = f"projects/{PROJECT}/subscriptions/{name}"
        request = {"subscription": subscription, "max_messages": 1000, "return_immediately": True}
        while found := subscriber.pull(request=request, timeout=60).received_messages:
            ids = [each.ack_id for each in found]
            subscriber.acknowledge(subscription=subscription, ack_ids=ids)


@pytest.mark.usefixtures("emptied")
def test_every_check_holds_on_stand_ins_or_is_a_listed_difference(
    operated: Operated, tmp_path: Path
) -> None:
    user = {"username": "admin", "password": operated.airflow.home.passwords()["admin"]}
    token = httpx.post(f"{operated.airflow.url}/auth/token", json=user, timeout=60).json()
    jobs = set(operated.jobs())
    done = subprocess.run(
        ["scripts/02_verify_deployment.sh", "--output", str(tmp_path / "verification.json")],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LOCALCLOUD": str(operated.cloud.state),
            "AIRFLOW_URL": operated.airflow.url,
            "AIRFLOW_TOKEN": token["access_token"],
        },
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    print(done.stdout)
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads((tmp_path / "verification.json").read_text())
    checks = {check["name"]: check for check in report["checks"]}
    endings: dict[str, list[str]] = {"holds": [], "differs": [], "not asked": []}
    for name, check in checks.items():
        endings[check["ending"]].append(name)
    said = {name: checks[name]["seen"] for name in endings["differs"] + endings["not asked"]}
    assert [n for n in endings["differs"] if not is_listed(n, DIFFERS)] == [], said
    assert [n for n in endings["not asked"] if not is_listed(n, NOT_ASKED)] == [], said
    for listed, names in ((DIFFERS, endings["differs"]), (NOT_ASKED, endings["not asked"])):
        unneeded = [e for e in listed if not any(stands_for(e, n) for n in names)]
        assert unneeded == [], "this is no difference any more"
    assert done.returncode == 1, "differences are told by the exit code"
    # By the checks that count, and not only by what is said of them.
    assert len(endings["holds"]) > 50
    assert {"prompts", "backfill", "prefetch", "update in place", "drain"} <= {*endings["holds"]}
    assert 0.3 < report["cost_usd"] < 2.0
    # It has cleaned up.
    assert operated.active_jobs() == []
    assert len(set(operated.jobs()) - jobs) == 5, (
        "the stream and its update, two backfills and an import"
    )
    assert checks["clean up"]["ending"] == "holds"
    left = [
        blob.name
        for blob in operated.lane.storage.list_blobs("demo-project-imagen")
        if "verify-" in blob.name and not blob.name.startswith(("images/", "jobs/", "prefetch/"))
    ]
    assert left == []
    page = (tmp_path / "verification.md").read_text()
    assert page.index("## What differs") < page.index("## What is not confirmed")
    assert "## What holds" in page
