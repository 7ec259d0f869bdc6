"""What would take a day to be there: put where the DAGs and the jobs put it."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import Canary, Signals
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.jobs.job import Job, JobState
from tests.conftest import BUCKET, eventually
from tests.e2e.conftest import Operated
from tests.plugins.imagen_ops.ui import test_backfills

JOB = "2026-11-01_00_00_00-1"
# Once for the interval before it was first seen, at no moment of anybody's choice.
RUN_BY_THEMSELVES = ("imagen_backfill", "imagen_stream_health")


def nothing(operated: Operated) -> None:
    """Take away what there is to look at, when nothing more comes by itself."""

    def over(dag_id: str) -> bool:
        runs = operated.client.run_ids(dag_id)
        return bool(runs) and all(operated.client.run_state(dag_id, run).ended for run in runs)

    for dag_id in RUN_BY_THEMSELVES:
        eventually(lambda: over(dag_id), within_s=300, what=f"the end of {dag_id}")  # noqa: B023
    storage = operated.lane.storage
    for prefix in ("records/", "images/recent/", "images/index/"):
        storage.bucket(BUCKET).delete_blobs(list(storage.list_blobs(BUCKET, prefix=prefix)))


def three_backfills(operated: Operated) -> None:
    """Records as three runs leave them; `test_backfill` has a real one on the page."""
    now = datetime.now(UTC)
    runs = [
        test_backfills.run(f"manual__{n}") | {"at": (now - timedelta(minutes=n)).isoformat()}
        for n in range(3)
    ]
    days: dict[str, list[str]] = {}
    for run in runs:
        days.setdefault(run["at"][:10], []).append(json.dumps(run))
    put_days(operated, "backfills", days)


def a_day_of_looks(operated: Operated) -> None:
    """Put a look every five minutes of the last day before the one that there is."""
    last = operated.records("health")[-1]
    now = datetime.fromisoformat(last["at"])
    days: dict[str, list[str]] = {}
    prompts, failed, refused = 0, 0, 0
    for number in range(288, 0, -1):
        at = now - timedelta(minutes=5 * number)
        busy = 1 - math.cos(2 * math.pi * number / 288) + (6 if 60 < number < 80 else 0)
        prompts, failed = prompts + round(120 * busy), failed + round(3 * busy)
        refused += round(40 * busy) if 60 < number < 80 else 0
        totals = {"prompts": prompts, "predictions": prompts - failed, "images": prompts}
        totals |= {"failures": failed, "failures_BLOCKED": failed, "quota_refusals": refused}
        lag = 12 + 10 * busy
        look = {**last, "run_id": f"before-{number}", "at": at.isoformat(), "totals": totals}
        look.pop("grown", None)
        look["job"] = {"id": JOB, "state": "RUNNING"}
        readings = {"system_lag": lag, "watermark_age": 2 * lag}
        readings |= {"backlog_age": lag**2 / 9, "backlog_size": round(40 * busy**2)}
        look |= {"readings": readings, "verdict": verdict_on(readings, at)}
        days.setdefault(f"{at:%Y-%m-%d}", []).append(json.dumps(look))
    days.setdefault(f"{now:%Y-%m-%d}", []).append(json.dumps(last))
    put_days(operated, "health", days)


def verdict_on(readings: dict[str, float], at: datetime) -> dict[str, Any]:
    """Return what a health check would have said of a job that is running."""
    signals = Signals(
        at=at,
        wanted=True,
        job=Job(JOB, "imagen-stream", JobState.RUNNING),
        canary=Canary(at - timedelta(seconds=9), at - timedelta(seconds=7.5)),
        **{name: Reading(value, at) for name, value in readings.items()},
    )
    return assess(signals, Thresholds()).to_json()


def put_days(operated: Operated, folder: str, days: dict[str, list[str]]) -> None:
    bucket = operated.lane.storage.bucket(BUCKET)
    for day, lines in days.items():
        name = f"records/{folder}/ds={day}.jsonl"
        bucket.blob(name).upload_from_string("\n".join(lines) + "\n")
