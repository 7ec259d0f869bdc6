"""Fills storage with the data of two busy weeks, built by the project's own code where it has any.

The data goes straight into the store's folder before a local cloud serves it: over HTTP this would
take minutes.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.images import recent_index
from beam_jobs.images.location import END_OF_TIME_MS, FAILURES, PREDICTIONS
from beam_jobs.outcomes import Failure, Prediction, Reason
from localcloud.resources import Names
from localcloud.storage import ObjectStore
from localcloud.vertex.pictures import canned

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))

NAMES = Names()
# As many images as a page shows. The others have records only, which is what a listing reads.
WHOLE_IMAGES = 96
IMAGE_BYTES = 1_500_000
HEALTH_CHECK_EVERY = timedelta(minutes=5)

Put = Callable[[str, bytes], object]


def fill(folder: Path, *, images: int, backfills: int, failures: int) -> None:
    """Fill the storage folder of a local cloud that is not running.

    Args:
        folder: the storage folder.
        images: the number of images.
        backfills: the number of backfill records.
        failures: the number of failures.
    """
    store = ObjectStore(folder)
    store.create_bucket(NAMES.bucket)
    put = functools.partial(store.write, NAMES.bucket)
    now = datetime.now(UTC)
    put_images(put, now, images)
    put_failures(put, now, failures)
    put_days(put, "backfills", backfill_records(now, backfills))
    put_days(put, "health", health_records(now))
    store.close()


def put_images(put: Put, now: datetime, count: int) -> None:
    """Store one prompt per second, as a stream with one worker does: image, record and line."""
    picture = canned(IMAGE_BYTES)
    for n in range(count):
        at = now - timedelta(seconds=count - n)
        digest = f"{n * 2654435761 % 2**32:08x}{n:024x}"
        stem = f"images/{digest[:2]}/{digest}"
        path = f"gs://{NAMES.bucket}/{stem}-0.png"
        outcome = Prediction(
            digest,
            "",
            digest,
            text(n),
            (path,),
            DEFAULT_MODEL,
            "stream",
            False,
            at.isoformat(),
            4_200,
        )
        if n >= count - WHOLE_IMAGES:
            put(f"{stem}-0.png", picture)
        put(f"{stem}.json", json.dumps({"prompt": text(n), "images": [path]}).encode())
        put_line(put, PREDICTIONS, at, recent_index.index_entry(outcome))


def put_failures(put: Put, now: datetime, count: int) -> None:
    """Store failures spread over the last day."""
    reasons = list(Reason)
    for n in range(count):
        at = now - timedelta(days=n / count)
        reason = reasons[n % len(reasons)]
        detail = "the model answered 429 for 600 s" * 8
        outcome = Failure(f"id-{n}", "", reason, detail, True, 7, text(n).encode(), {}, "stream")
        put_line(put, FAILURES, at, recent_index.index_entry(outcome))


def put_line(put: Put, kind: str, at: datetime, line: dict[str, Any]) -> None:
    milliseconds = END_OF_TIME_MS - int(at.timestamp() * 1000)
    content = json.dumps(line | {"at": at.isoformat(timespec="milliseconds")}) + "\n"
    put(f"images/recent/{kind}/{milliseconds:013d}-{'0' * 8}.jsonl", content.encode())


def put_days(put: Put, folder: str, records: Iterable[dict[str, Any]]) -> None:
    days: dict[str, list[str]] = {}
    for record in records:
        days.setdefault(record["at"][:10], []).append(json.dumps(record) + "\n")
    for day, lines in days.items():
        put(f"records/{folder}/ds={day}.jsonl", "".join(lines).encode())


def backfill_records(now: datetime, count: int) -> Iterable[dict[str, Any]]:
    """Yield backfill records spread over the 14 days that the page shows."""
    from imagen_ops.backfill.plan import AlreadyStored, ModelCost, Plan
    from imagen_ops.backfill.reconciliation import backfill_record, reconcile
    from imagen_ops.backfill.run import BackfillRun
    from imagen_ops.jobs.params import JobForm

    glob = f"gs://{NAMES.bucket}/prompts/ds=2026-11-01/*"
    plan = Plan(
        glob=glob,
        request_tier="standard",
        files=40,
        bytes=1_200_000,
        first_files=(),
        prompts=3000,
        distinct=3000,
        invalid=20,
        first_invalid=(f"{glob[:-1]}a.txt:7: no prompt",) * 10,
        problems=1,
        first_problems=(f"{glob[:-1]}b.txt: is empty",),
        already_stored=AlreadyStored(distinct=75, images=75, looked_up=3000, exact=True),
        models=(ModelCost(DEFAULT_MODEL, images=3000, to_pay=2925, usd=196.6),),
        prices_as_of="2026-11",
    )
    counts = {"prompts": 3020, "predictions": 2980, "reused": 75, "failures": 40}
    counts |= {"images": 2905, "bytes": 4_400_000_000, "model_calls": 2990}
    reasons = {"BLOCKED": 20, "INVALID_PROMPT": 20}
    account = reconcile({**counts, "failures_by_reason": reasons}, plan, 10_000)
    for n in range(count):
        at = now - timedelta(days=13.9 * (count - n) / count)
        run = BackfillRun(
            f"manual__{at.isoformat()}", f"{n:032d}", None, glob, JobForm("m"), 10_000
        )
        yield backfill_record(
            run, plan, at=at, state="done", job_id=f"job-{n}", reconciliation=account
        )


def health_records(now: datetime) -> Iterable[dict[str, Any]]:
    """Yield two days of health records of a stream under load."""
    from imagen_ops.google.reading import Reading
    from imagen_ops.health.assessment.decide import assess
    from imagen_ops.health.assessment.signals import Canary, Signals
    from imagen_ops.health.assessment.thresholds import Thresholds
    from imagen_ops.health.collect import CollectedSignals, health_record
    from imagen_ops.health.counting import Counted
    from imagen_ops.jobs.job import Job, JobState

    for n in range(2 * 288):
        at = now - (2 * 288 - n) * HEALTH_CHECK_EVERY
        signals = Signals(
            at=at,
            wanted=True,
            job=Job("2026-11-01_00_00_00-1", "imagen-stream", JobState.RUNNING),
            system_lag=Reading(12.0 + n % 7, at),
            watermark_age=Reading(20.0 + n % 11, at),
            backlog_age=Reading(9.0 + n % 13, at),
            backlog_size=Reading(30 + n % 17, at),
            canary=Canary(at - timedelta(seconds=9), at - timedelta(seconds=3)),
        )
        totals = {"prompts": 300 * n, "predictions": 290 * n, "images": 290 * n}
        totals |= {"failures": 10 * n, "failures_BLOCKED": 6 * n, "failures_UNAVAILABLE": 4 * n}
        verdict = assess(signals, Thresholds())
        counted = Counted("2026-11-01_00_00_00-1", totals)
        yield health_record(
            f"scheduled__{at.isoformat()}", CollectedSignals(signals, counted), verdict
        )


def text(number: int) -> str:
    return f"A lighthouse at dusk, number {number}; " + "long shadows over the breakers, " * 14
